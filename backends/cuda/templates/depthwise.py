"""Convolutions with one input channel a group, in registers: see `runtime/optc_depthwise.cuh`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from optc.backends.cuda.estimate import group_bytes, memory_seconds, overlapped, peak
from optc.backends.cuda.kernel import Argument, Launch
from optc.backends.cuda.printing import Printer, c_type
from optc.backends.cuda.sides import members
from optc.backends.cuda.template import CudaTemplate, Definition, Schedule
from optc.backends.tvm.fused import FusedContraction, epilogue_refusal, static_refusal
from optc.backends.tvm.group import Group
from optc.backends.tvm.lowering import scoped
from optc.backends.tvm.templates import epilogue
from optc.backends.tvm.templates.operand import accumulator_of
from optc.backends.tvm.templates.window import Window, window_of
from optc.ir.core import Operation, Value
from optc.ops.shapes import integer

if TYPE_CHECKING:
    from optc.targets.target import Target

_THREADS = 128
_MOST_TAPS = 81  # weights that a thread keeps


class Depthwise(CudaTemplate):
    """1-D and 2-D convolutions. Schedule: a thread makes `rows` by `columns` results."""

    name = "depthwise"
    priority = 30

    def refuses(self, group: Group, target: Target) -> str | None:
        conv = group.anchor
        if conv is None or conv.name not in ("onnx.Conv", "onnx.ConvInteger"):
            return "not a convolution"
        refusal = static_refusal(group)
        if refusal is not None:
            return refusal
        weight = conv.operands[1]
        assert weight is not None
        if len(conv.results[0].shape) not in (3, 4):
            return "neither 1-D nor 2-D"
        if weight.shape[1] != 1 or integer(conv, "group", 1) == 1:
            return "several input channels a group"
        if math.prod(weight.shape[2:]) > _MOST_TAPS:
            return "too many taps for registers"
        return epilogue.rounding_refusal(group) or epilogue_refusal(group)

    def space(self, group: Group, target: Target) -> list[Schedule]:
        window = _window(group)
        return [
            (("columns", columns), ("rows", rows))
            for rows in (1, 2, 4)
            for columns in (1, 2, 4, 8)
            if columns < 2 * window.columns.out and rows < 2 * window.rows.out and rows * columns <= 16
        ]

    def build(self, group: Group, schedule: Schedule, target: Target, symbol: str) -> Definition:
        return _Kernel(group, schedule, symbol).definition()

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        assert group.anchor is not None
        knobs, window = dict(schedule), _window(group)
        rows, columns = knobs["rows"], knobs["columns"]
        images, channels = group.anchor.results[0].shape[:2]
        tiles = images * channels * -(-window.rows.out // rows) * -(-window.columns.out // columns)
        data = _span(window.rows, rows) * _span(window.columns, columns)
        taps = window.rows.kernel * window.columns.kernel
        steps = 4.0 * data + 2.0 * taps + rows * columns * (taps + 8.0)  # a load takes its address and its edges
        warps = -(-tiles // 32)
        each = -(-warps // target.cores)
        hidden = min(1.0, each / 16)
        lanes = 32 * 2 / peak(target, "f32")  # seconds of one instruction of a warp on a multiprocessor
        blocks = -(-tiles // _THREADS)
        memory = memory_seconds(group_bytes(group), blocks, 4.0 * _THREADS * min(data, 8), target)
        return target.launch_seconds + overlapped(each * steps * lanes / hidden, memory)


def _window(group: Group) -> Window:
    assert group.anchor is not None
    window = window_of(group.anchor)
    assert window is not None
    return window


def _span(axis: Any, count: int) -> int:
    """Positions of the data that neighbouring results read along an axis."""
    return (count - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1


class _Kernel:
    def __init__(self, group: Group, schedule: Schedule, symbol: str) -> None:
        self.fused = FusedContraction(group)
        self.conv: Operation = self.fused.anchor
        self.window = _window(group)
        self.knobs = dict(schedule)
        self.symbol = symbol
        self.names: dict[Any, str] = {buffer: f"input{i}" for i, buffer in enumerate(self.fused.inputs)}
        self.names |= {buffer: f"output{i}" for i, buffer in enumerate(self.fused.outputs)}
        self.used: dict[Any, None] = {}
        self.overwritten: list[int] = []
        data = self.conv.operands[0]
        assert data is not None
        self.accumulator = accumulator_of(data.dtype.numpy_name)

    def definition(self) -> Definition:
        rows, columns = self.window.rows, self.window.columns
        images, channels = self.conv.results[0].shape[:2]
        functions = [self._data(), self._weight(), self._finish()]
        buffers = [buffer for buffer in self.names if buffer in self.used]
        pointers = members(buffers, self.names)
        constants = {
            "Images": images, "Channels": channels, "Height": rows.out, "Width": columns.out, "DataHeight": rows.data,
            "DataWidth": columns.data, "KernelRows": rows.kernel, "KernelColumns": columns.kernel,
            "StrideY": rows.stride, "StrideX": columns.stride, "DilationY": rows.dilation,
            "DilationX": columns.dilation, "BeforeY": rows.before, "BeforeX": columns.before,
        }  # fmt: skip
        shape = f"{self.knobs['rows']}, {self.knobs['columns']}, {_THREADS}"
        text = "\n".join([
            f"struct {self.symbol}_problem {{", *pointers,
            f"  using Accumulator = {c_type(self.accumulator)};",
            *(f"  static constexpr int k{name} = {value};" for name, value in constants.items()),
            *functions, "};",
            f"OPTC_GLOBAL void __launch_bounds__({_THREADS}) {self.symbol}"
            f"({', '.join(each.strip().rstrip(';') for each in pointers)}) {{",
            f"  optc_depthwise<{shape}>({self.symbol}_problem{{{', '.join(self.names[b] for b in buffers)}}});",
            "}", "",
        ])  # fmt: skip
        tiles = -(-rows.out // self.knobs["rows"]) * -(-columns.out // self.knobs["columns"]) * images * channels
        arguments: dict[Any, Argument] = {buffer: ("input", i) for i, buffer in enumerate(self.fused.inputs)}
        arguments |= {buffer: ("output", i) for i, buffer in enumerate(self.fused.outputs)}
        grid = (-(-tiles // _THREADS), 1, 1)
        launch = Launch(self.symbol, grid, (_THREADS, 1, 1), 0, tuple(arguments[buffer] for buffer in buffers))
        return Definition(text, (launch,), in_place=tuple((i, 0) for i in self.overwritten))

    def _printer(self) -> Printer:
        printer = Printer(2)
        for buffer, name in self.names.items():
            printer.buffer(buffer, name)
        return printer

    def _method(self, printer: Printer, head: str, result: str = "") -> str:
        self.used |= printer.used
        lines = [*printer.lines, f"    return {result};"] if result else printer.lines
        return "\n".join([f"  OPTC_DEVICE {head} const {{", *lines, "  }"])

    def _element(self, printer: Printer, value: Value, place: tuple[Any, ...], zero: Value | None, at: Any) -> str:
        """An element as it is multiplied: integers less their zero point."""
        text = f"({c_type(self.accumulator)})({printer.expression(scoped(lambda: self.fused.tensor(value)(*place)))})"
        if zero is None:
            return text
        single = all(extent == 1 for extent in zero.shape)
        taken = self.fused.tensor(zero)(*((0,) * len(zero.shape) if single else (at,)))
        return f"{text} - ({c_type(self.accumulator)})({printer.expression(taken)})"

    def _zero(self, position: int) -> Value | None:
        return self.conv.operand(position) if self.conv.name == "onnx.ConvInteger" else None

    def _index(self, printer: Printer) -> Any:
        """The channel of the result."""
        return printer.index("c", self.conv.results[0].shape[1])

    def _data(self) -> str:
        printer, data = self._printer(), self.conv.operands[0]
        assert data is not None
        images, channels = self.conv.results[0].shape[:2]
        n = printer.index("n", images)
        c = self._index(printer) // (channels // data.shape[1])
        place = self.window.logical(
            printer.index("y", self.window.rows.data), printer.index("x", self.window.columns.data)
        )
        text = self._element(printer, data, (n, c, *place), self._zero(2), c)
        return self._method(printer, "Accumulator data(int n, int c, int y, int x)", text)

    def _weight(self) -> str:
        printer, weight = self._printer(), self.conv.operands[1]
        assert weight is not None
        c = self._index(printer)
        taps = self.window.logical(
            printer.index("y", self.window.rows.kernel), printer.index("x", self.window.columns.kernel)
        )
        text = self._element(printer, weight, (c, 0, *taps), self._zero(3), c)
        return self._method(printer, "Accumulator weight(int c, int y, int x)", text)

    def _finish(self) -> str:
        printer, result = self._printer(), self.conv.results[0]
        n, c = printer.index("n", result.shape[0]), self._index(printer)
        place = self.window.logical(
            printer.index("y", self.window.rows.out), printer.index("x", self.window.columns.out)
        )
        total = printer.value("sum", self.accumulator)
        bias = None if self.conv.name == "onnx.ConvInteger" else self.fused.optional(self.conv.operand(2))
        value = total if bias is None else total + bias(c).astype(self.accumulator)
        dtype = result.dtype.numpy_name
        name = printer.define(value if str(value.ty) == dtype else value.astype(dtype), "v")
        printer.statement(self.fused.finish(printer.value(name, dtype), (n, c, *place)))
        if len(self.fused.outputs) == 1:
            streamed = dict(self.used)  # what the data and the weights are read from
            found = printer.overwritten(self.fused.inputs, self.fused.outputs[0])
            self.overwritten = [i for i in found if self.fused.inputs[i] not in streamed]
        return self._method(printer, "void finish(int n, int c, int y, int x, Accumulator sum)")
