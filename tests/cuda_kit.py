"""CUDA kernels of groups, run by the emulator or by a GPU, and compared with the reference evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from contraction_cases import GroupBuilder

from optc.backends.cuda import templates as _templates  # noqa: F401  (registers the templates)
from optc.backends.cuda.compilation import Candidate, candidates_of, uncompiled
from optc.backends.cuda.emulator.build import Emulator
from optc.backends.cuda.kernel import CudaKernel
from optc.backends.cuda.template import CudaTemplate
from optc.backends.cuda.toolkit import find_toolkit
from optc.backends.tvm.group import Group
from optc.errors import OptcError
from optc.ir import dtypes
from optc.ir.core import Value
from optc.ir.dtypes import DType
from optc.ops.evaluate import evaluate_graph
from optc.ops.packed import pack_codes
from optc.targets import Target, load

FAST = ("-O0",)


def jetson() -> Target:
    return load("jetson-orin")


def compiler_missing() -> str | None:
    """Why no CUDA is compiled here; None where there is a compiler."""
    try:
        find_toolkit()
    except OptcError as error:
        return error.what
    return None


needs_nvcc = pytest.mark.skipif(compiler_missing() is not None, reason=f"nvcc: {compiler_missing()}")


@dataclass(frozen=True)
class Case:
    """A group, its kernel by one template, and its inputs as logical arrays."""

    name: str
    group: Group
    kernel: CudaKernel
    inputs: list[np.ndarray]

    @property
    def stored(self) -> list[np.ndarray]:
        """The inputs as the kernel reads them."""
        pack = self.kernel.pack
        arrays = [pack[i][1](array) if i in pack else array for i, array in enumerate(self.inputs)]
        return [np.ascontiguousarray(array.reshape(array.shape or (1,))) for array in arrays]

    def outputs(self) -> list[np.ndarray]:
        """Arrays for the outputs, filled with what no kernel leaves there."""
        values = [value.tensor_type for value in self.group.body.outputs]
        return [np.full(kind.stored_shape or (1,), 77, kind.dtype.numpy) for kind in values]

    def expected(self) -> list[np.ndarray]:
        return evaluate_graph(self.group.body, self.inputs)


def arrays_for(builder: GroupBuilder, group: Group, seed: int = 0) -> list[np.ndarray]:
    """Its constants, and random numbers."""
    random = np.random.default_rng(seed)
    arrays = []
    for value in group.body.inputs:
        dtype = value.dtype.numpy
        if value.index in builder.arrays:
            arrays.append(builder.arrays[value.index])
        elif value.dtype.is_float:
            arrays.append(random.standard_normal(value.shape).astype(dtype))
        else:
            limits = np.iinfo(dtype)
            arrays.append(random.integers(max(limits.min, -128), min(limits.max, 255) + 1, value.shape).astype(dtype))
    return arrays


def cases_of(name: str, builder: GroupBuilder, output: Value, template: str, picks: Sequence[str]) -> list[Case]:
    """A group's kernels at some points of a template's space: the `best` by prediction, the `first`, the `last`.

    `shared` is the first whose sums are made by several blocks.
    """
    group, target = builder.group(output), jetson()
    maker = CudaTemplate.registry[template]
    refusal = maker.refuses(group, target)
    assert refusal is None, f"{name}: {refusal}"
    space = maker.space(group, target)
    points = {
        "best": min(space, key=lambda point: maker.estimate(group, point, target)),
        "first": space[0],
        "last": space[-1],
    }
    shared = [point for point in space if dict(point).get("parts", 1) > 1]
    points |= dict(zip(("shared",), shared, strict=False))
    inputs = arrays_for(builder, group)
    found = []
    for pick in picks:
        symbol = f"{name}_{template}_{pick}"
        kernel = uncompiled(symbol, group, Candidate(maker, points[pick], 0.0), target)
        found.append(Case(symbol, group, kernel, inputs))
    return found


def best_kernel(symbol: str, group: Group) -> CudaKernel | str:
    """The kernel that a compile would choose if nothing spilled, or why there is none."""
    target = jetson()
    found = CudaTemplate.accepting(group, target)
    if isinstance(found, str):
        return found
    return uncompiled(symbol, group, candidates_of(group, found, target)[0], target)


def best_case(name: str, builder: GroupBuilder, output: Value) -> Case:
    """A group by its `best_kernel`, with random numbers."""
    group = builder.group(output)
    kernel = best_kernel(name, group)
    assert isinstance(kernel, CudaKernel), kernel
    return Case(name, group, kernel, arrays_for(builder, group))


def emulate(cases: Sequence[Case]) -> dict[str, list[np.ndarray]]:
    """The outputs of each case by the emulator, by name: the same in whatever order threads run between barriers."""
    emulator = Emulator([case.kernel for case in cases], options=FAST)
    results = {case.name: case.outputs() for case in cases}
    for case in cases:
        emulator.run(case.kernel, case.stored, results[case.name])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPTC_EMULATION_REVERSED", "1")
        for case in cases:
            again = case.outputs()
            emulator.run(case.kernel, case.stored, again)
            for first, second in zip(results[case.name], again, strict=True):
                np.testing.assert_array_equal(first, second, err_msg=f"{case.name} depends on the order of threads")
    return results


def check(case: Case, found: Sequence[np.ndarray]) -> None:
    """Compare with the reference: integers exactly, floats relative to the largest number."""
    for actual, wanted in zip(found, case.expected(), strict=True):
        if wanted.dtype.kind in "biu":
            np.testing.assert_array_equal(actual.reshape(wanted.shape), wanted, err_msg=case.name)
            continue
        half = wanted.dtype == np.float16
        scale = max(1.0, float(np.abs(wanted.astype(np.float64)).max()))
        difference = np.abs(actual.reshape(wanted.shape).astype(np.float64) - wanted.astype(np.float64)).max()
        assert difference <= (2e-3 if half else 1e-5) * scale, f"{case.name}: {difference / scale:.1e}"


def conv(
    data: Sequence[int],
    filters: Sequence[int],
    *,
    stride: int = 1,
    pad: int = 0,
    groups: int = 1,
    dilation: int = 1,
    dtype: DType = dtypes.FLOAT32,
    residual: bool = False,
) -> tuple[GroupBuilder, Value]:
    """A convolution with a bias, perhaps a residual, and ReLU."""
    random, builder = np.random.default_rng(len(data) + filters[0]), GroupBuilder()
    source = builder.input(data, dtype=dtype)
    weight = builder.constant(random.standard_normal(filters).astype(dtype.numpy))
    bias = builder.constant(random.standard_normal(filters[0]).astype(dtype.numpy))
    rank = len(filters) - 2
    value = builder.op(
        "onnx.Conv", source, weight, bias, strides=(stride,) * rank, pads=(pad,) * 2 * rank, group=groups,
        dilations=(dilation,) * rank, kernel_shape=tuple(filters[2:]),
    )  # fmt: skip
    if residual:
        value = builder.op("onnx.Add", value, builder.input(value.shape, dtype=dtype))
    return builder, builder.op("onnx.Relu", value)


def integer_conv(
    data: Sequence[int],
    filters: Sequence[int],
    *,
    stride: int = 1,
    pad: int = 0,
    groups: int = 1,
    zero: int | None = None,
    dtype: DType = dtypes.UINT8,
) -> tuple[GroupBuilder, Value]:
    """A convolution of bytes with signed bytes; the data may have a zero point."""
    random, builder = np.random.default_rng(sum(data)), GroupBuilder()
    source = builder.input(data, dtype=dtype)
    weight = builder.constant(random.integers(-128, 128, filters).astype(np.int8))
    point = None if zero is None else builder.constant(np.array(zero, dtype.numpy))
    value = builder.op(
        "onnx.ConvInteger", source, weight, point, strides=(stride, stride), pads=(pad,) * 4, group=groups,
        kernel_shape=tuple(filters[2:]),
    )  # fmt: skip
    return builder, value


def matmul(
    left: Sequence[int],
    right: Sequence[int],
    *,
    constant: bool = True,
    dtype: DType = dtypes.FLOAT32,
    zero: int | None = None,
) -> tuple[GroupBuilder, Value]:
    """A matrix product, of integers where `dtype` is one: then the right operand is of signed bytes."""
    random, builder = np.random.default_rng(sum(left)), GroupBuilder()
    source = builder.input(left, dtype=dtype)
    integer = not dtype.is_float
    kind = dtypes.INT8 if integer else dtype
    array = (random.integers(-128, 128, right) if integer else random.standard_normal(right)).astype(kind.numpy)
    other = builder.constant(array) if constant else builder.input(right, dtype=kind)
    if not integer:
        return builder, builder.op("onnx.MatMul", source, other)
    point = None if zero is None else builder.constant(np.array(zero, dtype.numpy))
    return builder, builder.op("onnx.MatMulInteger", source, other, point)


def coded_matmul(
    rows: int,
    depth: int,
    columns: int,
    bits: int,
    *,
    signed: bool = True,
    turned: bool = False,
    zero: bool = False,
    block: int = 0,
    dtype: DType = dtypes.FLOAT32,
) -> tuple[GroupBuilder, Value]:
    """A matrix product with weights of a few bits, packed; with 8 bits they are plain bytes."""
    random, builder = np.random.default_rng(bits), GroupBuilder()
    shape = (columns, depth) if turned else (depth, columns)
    least, kind = (-(2 ** (bits - 1)), np.int8) if signed else (0, np.uint8)
    codes = random.integers(least, least + 2**bits, shape).astype(kind)
    source = builder.input((rows, depth), dtype=dtype)
    if bits == 8:
        stored = builder.constant(codes)
    else:
        packed = builder.constant(pack_codes(codes, bits))
        stored = builder.op("optc.unpack", packed, bits=bits, shape=shape, signed=int(signed))
    axis = (1 if turned else 0) if block else (0 if turned else 1)
    entries = list(shape)
    entries[axis] = -(-entries[axis] // block) if block else entries[axis]
    scale = builder.constant(random.random(entries if block else entries[axis]).astype(dtype.numpy))
    zeros = random.integers(least, least + 2**bits, scale.shape).astype(kind)
    point = builder.constant(zeros) if zero else None
    attributes = {"axis": axis} | ({"block_size": block} if block else {})
    weight = builder.op("onnx.DequantizeLinear", stored, scale, point, **attributes)
    if turned:
        return builder, builder.op("onnx.Gemm", source, weight, transB=1)
    return builder, builder.op("onnx.MatMul", source, weight)


def gemm(rows: int, depth: int, columns: int, *, turned: bool) -> tuple[GroupBuilder, Value]:
    """`onnx.Gemm` with all that it may have."""
    random, builder = np.random.default_rng(rows), GroupBuilder()
    source = builder.input((rows, depth))
    shape = (columns, depth) if turned else (depth, columns)
    weight = builder.constant(random.standard_normal(shape).astype(np.float32))
    bias = builder.constant(random.standard_normal(columns).astype(np.float32))
    value = builder.op("onnx.Gemm", source, weight, bias, transB=int(turned), alpha=0.5, beta=2.0)
    return builder, builder.op("onnx.Sigmoid", value)
