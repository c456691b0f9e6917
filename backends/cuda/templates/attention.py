"""Attention as one kernel: see `runtime/optc_attention.cuh`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optc.backends.cuda.estimate import group_bytes, overlapped, peak
from optc.backends.cuda.kernel import Argument, Launch
from optc.backends.cuda.occupancy import CAPABILITIES, STATIC_SHARED, residency
from optc.backends.cuda.printing import Printer
from optc.backends.cuda.sides import members
from optc.backends.cuda.template import CudaTemplate, Definition, Schedule
from optc.backends.cuda.workload import architecture
from optc.backends.tvm.fused import FusedContraction, epilogue_refusal
from optc.backends.tvm.group import Group
from optc.backends.tvm.lowering import scoped
from optc.backends.tvm.templates import epilogue
from optc.backends.tvm.templates.attention_kernel import Extents, attention_refusal, operand_of
from optc.ops.attention import KEY, MASK, QUERY, VALUE, scale_of
from optc.ops.shapes import integer

if TYPE_CHECKING:
    from optc.targets.target import Target

THREADS = 128
_REGISTERS = 128  # of a thread, about
MOST_BLOCKS = 65_535  # of a grid along y


class Attention(CudaTemplate):
    """`onnx.Attention` of f32 operands (batch, heads, sequence, depth), with any mask.

    Schedule: `lanes` threads share `rows` queries; `keys` are scored at a time.
    """

    name = "attention"
    priority = 20

    def refuses(self, group: Group, target: Target) -> str | None:
        refusal = attention_refusal(group)
        if refusal is not None:
            return refusal
        assert group.anchor is not None
        extents = Extents.of(group.anchor)
        if extents.batch * extents.heads > MOST_BLOCKS:
            return f"it has more than {MOST_BLOCKS} heads in all"
        if not self.space(group, target):
            return "its heads are too wide for shared memory"
        return epilogue.rounding_refusal(group) or epilogue_refusal(group)

    def space(self, group: Group, target: Target) -> list[Schedule]:
        assert group.anchor is not None
        extents = Extents.of(group.anchor)
        return [
            (("keys", keys), ("lanes", lanes), ("rows", rows))
            for lanes in (4, 8, 16)
            for rows in (1, 2, 4)
            for keys in (16, 32, 64)
            if keys // lanes <= 8
            and keys % lanes == 0
            and rows * _columns(extents, lanes) <= 64
            and _shared_bytes(extents, rows, lanes, keys) <= STATIC_SHARED
        ]

    def build(self, group: Group, schedule: Schedule, target: Target, symbol: str) -> Definition:
        return _Kernel(group, schedule, symbol).definition()

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        assert group.anchor is not None
        knobs, extents = dict(schedule), Extents.of(group.anchor)
        rows, lanes, keys = knobs["rows"], knobs["lanes"], knobs["keys"]
        queries = THREADS // lanes * rows
        blocks = -(-extents.queries // queries) * extents.batch * extents.heads
        padded_keys = -(-extents.keys // keys) * keys
        scored = keys // lanes
        # Four products a load of four numbers: of rows + scored vectors for the scores, of one for each four columns.
        score = extents.depth * (1 + (rows + scored) / (4 * rows * scored) * 4)
        gather = _columns(extents, lanes) * lanes * (1 + 1 / rows)
        work = 2 * queries * padded_keys * (score + gather + 24)
        each = -(-blocks // target.cores)
        shared = _shared_bytes(extents, rows, lanes, keys)
        fits = residency(CAPABILITIES[architecture(target)], THREADS, _REGISTERS, shared)
        resident = max(1, min(each, fits.blocks))
        hidden = min(1.0, resident * THREADS / 32 / 8)
        compute = each * work / (peak(target, "f32") * hidden)
        return target.launch_seconds + overlapped(compute, group_bytes(group) / target.memory_bandwidth_all)


def _columns(extents: Extents, lanes: int) -> int:
    """Columns of the values that one thread sums."""
    return (extents.width + 4 * lanes - 1) // (4 * lanes) * 4


def _shared_bytes(extents: Extents, rows: int, lanes: int, keys: int) -> int:
    queries, depth = THREADS // lanes * rows, -(-extents.depth // 4) * 4
    width = _columns(extents, lanes) * lanes
    return 4 * ((queries + keys) * (depth + 4) + keys * (width + 4) + queries * (keys + 4))


class _Kernel:
    def __init__(self, group: Group, schedule: Schedule, symbol: str) -> None:
        self.fused = FusedContraction(group)
        self.attention = self.fused.anchor
        self.extents = Extents.of(self.attention)
        self.knobs = dict(schedule)
        self.symbol = symbol
        self.names: dict[Any, str] = {buffer: f"input{i}" for i, buffer in enumerate(self.fused.inputs)}
        self.names |= {buffer: f"output{i}" for i, buffer in enumerate(self.fused.outputs)}
        self.used: dict[Any, None] = {}

    def definition(self) -> Definition:
        extents, knobs = self.extents, self.knobs
        functions = [
            self._operand("query", QUERY, extents.queries, extents.depth, 1),
            self._operand("key", KEY, extents.keys, extents.depth, extents.shared),
            self._operand("value", VALUE, extents.keys, extents.width, extents.shared),
            self._masked(),
            self._finish(),
        ]
        buffers = [buffer for buffer in self.names if buffer in self.used]
        pointers = members(buffers, self.names)
        parameters = ", ".join(each.strip().rstrip(";") for each in pointers)
        values = ", ".join(self.names[buffer] for buffer in buffers)
        shape = f"{knobs['rows']}, {knobs['lanes']}, {knobs['keys']}, {THREADS}"
        text = "\n".join([
            f"struct {self.symbol}_problem {{", *pointers,
            f"  static constexpr int kQueries = {extents.queries}, kKeys = {extents.keys};",
            f"  static constexpr int kDepth = {extents.depth}, kWidth = {extents.width};",
            *functions, "};",
            f"OPTC_GLOBAL void __launch_bounds__({THREADS}) {self.symbol}({parameters}) {{",
            f"  optc_attention<{shape}>({self.symbol}_problem{{{values}}});", "}", "",
        ])  # fmt: skip
        queries = THREADS // knobs["lanes"] * knobs["rows"]
        arguments: dict[Any, Argument] = {buffer: ("input", i) for i, buffer in enumerate(self.fused.inputs)}
        arguments |= {buffer: ("output", i) for i, buffer in enumerate(self.fused.outputs)}
        grid = (-(-extents.queries // queries), extents.batch * extents.heads, 1)
        launch = Launch(self.symbol, grid, (THREADS, 1, 1), 0, tuple(arguments[buffer] for buffer in buffers))
        return Definition(text, (launch,))

    def _printer(self) -> Printer:
        printer = Printer(2)
        for buffer, name in self.names.items():
            printer.buffer(buffer, name)
        return printer

    def _text(self, printer: Printer, head: str, result: str | None) -> str:
        self.used |= printer.used
        lines = printer.lines + ([] if result is None else [f"    return {result};"])
        return "\n".join([f"  OPTC_DEVICE {head} const {{", *lines, "  }"])

    def _head(self, printer: Printer, shared: int = 1) -> tuple[Any, Any]:
        """The batch and the head of `z`."""
        from tvm import tirx

        extents = self.extents
        z = printer.index("z", extents.batch * extents.heads)
        batch = z // extents.heads if extents.batch > 1 else tirx.const(0, "int32")
        head = z % extents.heads if extents.batch > 1 else z
        return batch, head // shared if shared > 1 else head

    def _operand(self, name: str, position: int, rows: int, columns: int, shared: int) -> str:
        printer = self._printer()
        i, d = printer.index("i", rows), printer.index("d", columns)
        batch, head = self._head(printer, shared)
        tensor = self.fused.tensor(operand_of(self.attention, position))
        element = printer.expression(scoped(lambda: tensor(batch, head, i, d)))
        if name == "query":
            element = f"{element} * {scale_of(self.attention)!r}f"
        return self._text(printer, f"float {name}(int z, int i, int d)", element)

    def _masked(self) -> str:
        printer, extents = self._printer(), self.extents
        i, j = printer.index("i", extents.queries), printer.index("j", extents.keys)
        batch, head = self._head(printer)
        mask = self.attention.operand(MASK)
        result = "score"
        if mask is not None:
            tensor = self.fused.tensor(mask)
            place = (batch, head, i, j)[4 - len(tensor.shape) :]
            indices = tuple(0 if extent == 1 else index for extent, index in zip(tensor.shape, place, strict=True))
            element = printer.expression(scoped(lambda: tensor(*indices)))
            result = f"({element} ? score : -optc_infinity())" if mask.dtype.name == "bool" else f"score + {element}"
        if integer(self.attention, "is_causal"):
            result = f"(j <= i ? {result} : -optc_infinity())"
        return self._text(printer, "float masked(int z, int i, int j, float score)", result)

    def _finish(self) -> str:
        printer, extents = self._printer(), self.extents
        i, d = printer.index("i", extents.queries), printer.index("d", extents.width)
        batch, head = self._head(printer)
        printer.statement(self.fused.finish(printer.value("sum", "float32"), (batch, head, i, d)))
        return self._text(printer, "void finish(int z, int i, int d, float sum)", None)
