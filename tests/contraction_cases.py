"""Build groups around one contraction, run their kernels, and compare with onnxruntime."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime

from optc.backends.tvm.codegen import compile_kernels
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import KernelDefinition, Schedule, Template, template_for
from optc.ir import dtypes
from optc.ir.core import Attribute, Graph, Operation, Value
from optc.ir.dtypes import DType
from optc.ir.types import PLAIN, Layout, TensorType
from optc.ops.declaration import declaration_of
from optc.ops.onnx_export import to_onnx_model
from optc.targets import Target

PARALLEL_STUB = r"""
#include <stdint.h>
typedef struct { void* sync; int32_t tasks; } optc_environment;
typedef int (*optc_task)(int, optc_environment*, void*);
static int launch(optc_task task, void* data, int wanted) {
  (void)wanted;
  optc_environment environment = {0, THREADS};
  for (int number = 0; number < THREADS; ++number) {
    int failed = task(number, &environment, data);
    if (failed) return failed;
  }
  return 0;
}
int (*__TVMBackendParallelLaunch)(optc_task, void*, int) = launch;
"""


def blocked(factor: int) -> Layout:
    """Channels (axis 1) in blocks of `factor`; plain for 1."""
    return Layout(blocks=((1, factor),)) if factor > 1 else PLAIN


class GroupBuilder:
    """A group's body written operation by operation; constants become constant inputs of the group."""

    def __init__(self) -> None:
        self.graph = Graph("group")
        self.arrays: dict[int, np.ndarray] = {}

    def input(self, shape: Sequence[int], layout: Layout = PLAIN, dtype: DType = dtypes.FLOAT32) -> Value:
        return self.graph.add_input(f"x{len(self.graph.inputs)}", TensorType(dtype, tuple(shape), layout))

    def constant(self, array: np.ndarray) -> Value:
        value = self.input(array.shape, dtype=dtypes.from_numpy(array.dtype))
        self.arrays[value.index] = array
        return value

    def scalar(self, number: float) -> Value:
        return self.graph.constant(np.array(number, np.float32), before=None)

    def op(self, name: str, *operands: Value | None, **attributes: Attribute) -> Value:
        unknown = TensorType(dtypes.FLOAT32, None)
        operation = Operation(name, operands, (unknown,), attributes, result_names=(f"r{len(self.graph)}",))
        operation.results[0].type = declaration_of(name).infer(operation)[0]
        return self.graph.append(operation).result

    def group(self, *outputs: Value, layouts: Sequence[Layout] = ()) -> Group:
        for output, layout in zip(outputs, layouts, strict=False):
            output.type = output.tensor_type.with_layout(layout)
        self.graph.set_outputs(outputs, [f"y{i}" for i in range(len(outputs))])
        return Group(self.graph, frozenset(self.arrays))


def store(array: np.ndarray, type: TensorType) -> np.ndarray:
    """A logical array in its stored layout; the rounding is filled with garbage that must not matter."""
    layout = type.layout
    for axis, factor in layout.blocks:
        extra = -array.shape[axis] % factor
        widths = [(0, extra if i == axis else 0) for i in range(array.ndim)]
        array = np.pad(array, widths, constant_values=7)
        array = array.reshape(*array.shape[:axis], -1, factor, *array.shape[axis + 1 :])
        array = np.moveaxis(array, axis + 1, -1)
    if layout.permutation:
        array = array.transpose(*layout.permutation, *range(len(layout.permutation), array.ndim))
    return np.ascontiguousarray(array)


def load(stored: np.ndarray, type: TensorType) -> np.ndarray:
    """The logical array of a stored one."""
    layout = type.layout
    array = stored
    if layout.permutation:
        order = np.argsort(layout.permutation)
        array = array.transpose(*order, *range(len(order), array.ndim))
    for axis, factor in reversed(layout.blocks):
        array = np.moveaxis(array, -1, axis + 1)
        array = array.reshape(*array.shape[:axis], array.shape[axis] * factor, *array.shape[axis + 2 :])
    return array[tuple(slice(0, extent) for extent in type.static_shape)]


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy that starts at a multiple of 64 bytes."""
    raw = np.zeros(array.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    copy = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@dataclass
class Case:
    """A group with its constants, and the point of a template's space to test (default: the first)."""

    builder: GroupBuilder
    group: Group
    template: str | None = None
    choose: Callable[[list[Schedule]], Schedule] = field(default=lambda points: points[0])

    def definition(self, target: Target) -> KernelDefinition:
        template = Template.registry[self.template] if self.template else template_for(self.group, target)
        assert isinstance(template, Template), template
        refusal = template.refuses(self.group, target)
        assert refusal is None, refusal
        return template.build(self.group, self.choose(template.space(self.group, target)), target)


class Compiled:
    """Kernels of several groups in one library."""

    def __init__(self, definitions: Sequence[KernelDefinition], target: Target, folder: Path, threads: int = 1) -> None:
        self.definitions = list(definitions)
        folder = Path(tempfile.mkdtemp(dir=folder))  # a library that replaced a loaded one would not be loaded
        kernels = {f"kernel{i}": definition.function for i, definition in enumerate(definitions)}
        (folder / "kernels.o").write_bytes(compile_kernels(kernels, target))
        (folder / "stub.c").write_text(PARALLEL_STUB.replace("THREADS", str(threads)))
        library = folder / "kernels.so"
        command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(library)]
        subprocess.run([*command, str(folder / "kernels.o"), str(folder / "stub.c"), "-lm"], check=True)
        self.library = ctypes.CDLL(str(library))

    def arguments(self, number: int, group: Group, arrays: Sequence[np.ndarray]) -> tuple[list[np.ndarray], int]:
        """The stored buffers of a call and where the outputs start; outputs and scratch are filled with NaN."""
        definition = self.definitions[number]
        buffers = []
        for value, array in zip(group.body.inputs, arrays, strict=True):
            packing = definition.packings.get(value.index)
            buffers.append(aligned(packing.pack(array) if packing else store(array, value.tensor_type)))
        first = len(buffers)
        for value in group.body.outputs:
            empty = np.zeros(value.tensor_type.stored_shape, value.dtype.numpy)
            buffers.append(aligned(np.full_like(empty, np.nan) if value.dtype.is_float else empty))
        buffers += [aligned(np.full(-(-extent // 4), np.nan, np.float32)) for extent in definition.scratch_bytes]
        return buffers, first

    def run(self, number: int, group: Group, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The logical outputs of one kernel; every stored element must be finite."""
        buffers, first = self.arguments(number, group, arrays)
        pointers = [ctypes.c_void_p(buffer.ctypes.data) for buffer in buffers]
        assert getattr(self.library, f"kernel{number}")(*pointers) == 0
        outputs = []
        for value, buffer in zip(group.body.outputs, buffers[first:], strict=False):
            assert np.isfinite(buffer).all(), f"rounding or result of {value.name} is not finite"
            outputs.append(load(buffer, value.tensor_type))
        return outputs


def session_of(group: Group) -> onnxruntime.InferenceSession:
    """The group in onnxruntime, on one thread; constants are inputs there."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = to_onnx_model(group.body).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def random_arrays(case: Case, seed: int) -> list[np.ndarray]:
    """Values for all inputs: the case's constants, random numbers for the others."""
    random = np.random.default_rng(seed)
    arrays = []
    for value in case.group.body.inputs:
        if value.index in case.builder.arrays:
            arrays.append(case.builder.arrays[value.index])
        elif value.dtype.is_float:
            arrays.append(random.standard_normal(value.shape).astype(value.dtype.numpy))
        else:
            limits = np.iinfo(value.dtype.numpy)
            low, high = max(limits.min, -100), min(limits.max, 100)
            arrays.append(random.integers(low, high, value.shape).astype(value.dtype.numpy))
    return arrays


def check(cases: Sequence[Case], target: Target, folder: Path, tolerance: float = 2e-4, threads: int = 1) -> None:
    """Compile all cases into one library and compare each with onnxruntime."""
    compiled = Compiled([case.definition(target) for case in cases], target, folder, threads)
    for number, case in enumerate(cases):
        arrays = random_arrays(case, number)
        session = session_of(case.group)
        feeds = {value.name: array for value, array in zip(case.group.body.inputs, arrays, strict=True)}
        expected = session.run(None, {each.name: feeds[each.name] for each in session.get_inputs()})
        for got, want in zip(compiled.run(number, case.group, arrays), expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * max(1.0, np.abs(want).max()))
