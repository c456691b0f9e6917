"""The cubins on a real GPU, through the driver's own interface; skipped where there is none."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from cuda_kit import Case, arrays_for, check, conv, integer_conv, jetson, matmul, needs_nvcc

from optc.backends.cuda.backend import compile_groups
from optc.backends.cuda.kernel import CudaKernel
from optc.backends.cuda.toolkit import find_toolkit
from optc.ir import dtypes

MAJOR, MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_…

BUILT = {
    "conv": lambda: conv((1, 16, 20, 20), (24, 16, 3, 3), pad=1, residual=True),
    "depthwise": lambda: conv((1, 8, 19, 21), (8, 1, 3, 3), pad=1, groups=8),
    "half": lambda: conv((1, 32, 20, 20), (24, 32, 3, 3), pad=1, dtype=dtypes.FLOAT16),
    "bytes": lambda: integer_conv((1, 32, 20, 20), (24, 32, 3, 3), pad=1, zero=7),
    "matmul": lambda: matmul((2, 33, 64), (64, 48)),
}


class Device:
    """The first GPU: runs kernels on arrays that are copied there and back."""

    def __init__(self, driver: ctypes.CDLL) -> None:
        self._driver = driver
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        capability = []
        for attribute in (MAJOR, MINOR):
            number = ctypes.c_int()
            self._call("cuDeviceGetAttribute", ctypes.byref(number), attribute, device)
            capability.append(number.value)
        self.arch = f"sm_{capability[0]}{capability[1]}"

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._driver, name)(*arguments)
        assert status == 0, f"{name} gave {status}"

    def _copied(self, array: np.ndarray) -> ctypes.c_void_p:
        pointer = ctypes.c_void_p()
        self._call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(max(array.nbytes, 1)))
        self._call("cuMemcpyHtoD_v2", pointer, ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes))
        return pointer

    def run(self, case: Case) -> list[np.ndarray]:
        outputs, module = case.outputs(), ctypes.c_void_p()
        scratch = [np.zeros(size, np.uint8) for size in case.kernel.scratch_bytes]
        held = {"input": case.stored, "output": outputs, "scratch": scratch}
        pointers = {kind: [self._copied(array) for array in arrays] for kind, arrays in held.items()}
        self._call("cuModuleLoadData", ctypes.byref(module), case.kernel.object_code)
        for launch in case.kernel.launches:
            function = ctypes.c_void_p()
            self._call("cuModuleGetFunction", ctypes.byref(function), module, launch.function.encode())
            own = [pointers[kind][position] for kind, position in launch.arguments]
            parameters = (ctypes.c_void_p * len(own))(*(ctypes.addressof(pointer) for pointer in own))
            shape = (*launch.grid, *launch.block, launch.dynamic_shared_bytes)
            self._call("cuLaunchKernel", function, *shape, None, parameters, None)
        self._call("cuCtxSynchronize")
        for pointer, array in zip(pointers["output"], outputs, strict=True):
            self._call("cuMemcpyDtoH_v2", ctypes.c_void_p(array.ctypes.data), pointer, ctypes.c_size_t(array.nbytes))
        for pointer in (each for kind in pointers.values() for each in kind):
            self._call("cuMemFree_v2", pointer)
        self._call("cuModuleUnload", module)
        return outputs


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        pytest.skip(f"no GPU driver: {error}")
    if driver.cuInit(0) != 0:
        pytest.skip("the GPU driver finds no GPU")
    yield Device(driver)


@pytest.mark.gpu
@needs_nvcc
@pytest.mark.parametrize("name", BUILT)
def test_a_gpu_gives_the_numbers_of_the_reference(name: str, device: Device) -> None:
    if device.arch not in find_toolkit().architectures:
        pytest.skip(f"this CUDA does not compile for {device.arch}")
    builder, value = BUILT[name]()
    group = builder.group(value)
    (kernel,) = compile_groups([group], replace(jetson(), llvm={"kind": "cuda", "arch": device.arch}))
    assert isinstance(kernel, CudaKernel), kernel
    case = Case(name, group, kernel, arrays_for(builder, group))
    check(case, device.run(case))
