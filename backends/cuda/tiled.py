"""The code of a product in tiles: the structs of its sides, what follows from each sum, and the launches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optc.backends.cuda import nests
from optc.backends.cuda.coded import coded_side
from optc.backends.cuda.function import Function
from optc.backends.cuda.kernel import Argument, Launch
from optc.backends.cuda.printing import Printer, c_type
from optc.backends.cuda.products import Extents, Product, Side
from optc.backends.cuda.sides import SideText, members, panel_side, read_side
from optc.backends.cuda.template import Definition
from optc.backends.tvm import loops
from optc.backends.tvm.fused import FusedContraction
from optc.backends.tvm.group import Group
from optc.backends.tvm.packing import Packing
from optc.backends.tvm.templates.operand import accumulator_of


@dataclass(frozen=True)
class Tiling:
    """How a product is cut.

    Attributes:
        rows: of a block's tile.
        columns: likewise.
        depth: of a step along k.
        parts: blocks that share the sum of one tile, each of which leaves its part in scratch memory.
        threads: of a block.
        math: the C++ type that multiplies tiles.
        row_element: TIR's type of the rows that it multiplies.
        column_element: likewise of the columns.
        inner_k: whether it wants k innermost in shared memory.
    """

    rows: int
    columns: int
    depth: int
    parts: int
    threads: int
    math: str
    row_element: str
    column_element: str
    inner_k: bool

    @property
    def bytes(self) -> bool:
        """Whether integers are multiplied as bytes: what the zero point of one side adds is taken from the sums."""
        return self.row_element.endswith("int8")


class TiledProduct:
    """Writes the code of one group."""

    def __init__(self, group: Group, product: Product, tiling: Tiling, symbol: str) -> None:
        self.product, self.tiling, self.symbol = product, tiling, symbol
        self.extents: Extents = product.extents(tiling.depth)
        self.packings: dict[int, Packing] = {}
        shapes: dict[int, Sequence[int]] = {}
        self.packed: dict[int, int] = {}  # where the sums of a packed input begin
        for side, other, width, extent in (
            (product.rows, product.columns, tiling.rows, self.extents.rows),
            (product.columns, product.rows, tiling.columns, self.extents.columns),
        ):
            if side.coded is not None:
                self.packings[side.coded.index] = side.coded.packing(width, tiling.depth)
                shapes[side.coded.index] = (side.coded.bytes(width, tiling.depth),)
            elif side.constant is not None:
                summed = tiling.bytes and other.zero is not None
                packing = side.constant.packing(width, tiling.depth, inner_k=tiling.inner_k, summed=summed)
                wide = self.extents.batch * -(-extent // width) * width
                size = wide * self.extents.steps * tiling.depth
                self.packings[side.constant.index] = packing
                self.packed[side.constant.index] = size
                shapes[side.constant.index] = (size + 4 * wide if summed else size,)
        self.fused = FusedContraction(group, shapes)
        assert group.anchor is not None
        self.result = group.anchor.results[0]
        self.accumulator = accumulator_of(_data_type(group))
        self.names: dict[Any, str] = {buffer: f"input{i}" for i, buffer in enumerate(self.fused.inputs)}
        self.names |= {buffer: f"output{i}" for i, buffer in enumerate(self.fused.outputs)}
        self.arguments: dict[Any, Argument] = {buffer: ("input", i) for i, buffer in enumerate(self.fused.inputs)}
        self.arguments |= {buffer: ("output", i) for i, buffer in enumerate(self.fused.outputs)}
        self.overwritten: list[int] = []
        self.scratch: list[int] = []
        if tiling.parts > 1:
            count = tiling.parts * self.extents.batch * self.extents.rows * self.extents.columns
            self.partial = loops.parameter((count,), self.accumulator, "scratch0")
            self.names[self.partial] = "scratch0"
            self.arguments[self.partial] = ("scratch", 0)
            self.scratch.append(count * (8 if self.accumulator == "float64" else 4))

    def definition(self) -> Definition:
        """The code and how it is launched."""
        tiling = self.tiling
        rows = self._side("rows", self.product.rows, tiling.rows, tiling.row_element)
        columns = self._side("columns", self.product.columns, tiling.columns, tiling.column_element)
        problem, used = self._problem()
        function, launch = self._function(rows, columns, used)
        texts, launches = [rows.text, columns.text, problem, function], [launch]
        if tiling.parts > 1:
            text, launch = self._sum_of_parts()
            texts.append(text)
            launches.append(launch)
        streamed = [*rows.buffers, *columns.buffers]
        pairs = tuple((i, 0) for i in self.overwritten if self.fused.inputs[i] not in streamed)
        return Definition("\n".join(texts), tuple(launches), self.packings, tuple(self.scratch), pairs)

    def _side(self, name: str, side: Side, width: int, element: str) -> SideText:
        tiling = self.tiling
        if side.coded is not None:
            return coded_side(
                f"{self.symbol}_{name}", side.coded, self.fused, self.names, element, width, tiling.depth
            )
        if side.constant is not None:
            buffer = self.fused.inputs[side.constant.index]
            return panel_side(
                f"{self.symbol}_{name}", buffer, self.names[buffer], element,
                batch=self.extents.batch, tiles=self.extents.steps, size=tiling.depth * width,
                run=tiling.depth if tiling.inner_k else width,
            )  # fmt: skip
        inputs = {buffer: self.names[buffer] for buffer in self.fused.inputs}
        read = side.read(self.fused, tiling.depth, tiling.bytes)
        struct = f"{self.symbol}_{name}"
        return read_side(struct, read, inputs, element, width, tiling.depth, inner_k=tiling.inner_k)

    def _problem(self) -> tuple[str, list[Any]]:
        """The struct that says what follows from a sum, and the parameters that it needs."""
        printer = Printer(2)
        if self.tiling.parts > 1:
            rows, columns = self.extents.rows, self.extents.columns
            lines = [f"    scratch0[((blockIdx.y * {self.extents.batch} + z) * {rows} + r) * {columns} + c] = sum;"]
            used = [self.partial]
        else:
            self._finish(printer)
            lines, used = printer.lines, [buffer for buffer in self.names if buffer in printer.used]
        extents = self.extents
        text = "\n".join([
            f"struct {self.symbol}_problem {{",
            f"  using Row = {self.symbol}_rows;",
            f"  using Column = {self.symbol}_columns;",
            f"  using Accumulator = {c_type(self.accumulator)};",
            f"  using Math = {self.tiling.math};",
            f"  static constexpr int kRows = {extents.rows}, kColumns = {extents.columns}, kTiles = {extents.steps};",
            f"  static constexpr int kParts = {self.tiling.parts};",
            "  Row row;",
            "  Column column;",
            *members(used, self.names),
            "  OPTC_DEVICE void finish(int z, int r, int c, Accumulator sum) const {", *lines, "  }",
            "};", "",
        ])  # fmt: skip
        return text, used

    def _finish(self, printer: Printer) -> None:
        """Print the stores that follow from `sum` at `z`, `r`, `c`."""
        from tvm import tirx

        for buffer, name in self.names.items():
            printer.buffer(buffer, name)
        extents = self.extents
        z = printer.index("z", extents.batch) if extents.batch > 1 else tirx.const(0, "int32")
        r, c = printer.index("r", extents.rows), printer.index("c", extents.columns)
        place = tuple(map(printer.simplified, self.product.indices(z, r, c)))
        total = printer.value(self._corrected(printer), self.accumulator)
        value = self.product.finish(self.fused, total, place)
        if str(value.ty) != self.result.dtype.numpy_name:
            value = value.astype(self.result.dtype.numpy_name)
        name = printer.define(value, "v")
        printer.statement(self.fused.finish(printer.value(name, self.result.dtype.numpy_name), place))
        if len(self.fused.outputs) == 1:
            self.overwritten = printer.overwritten(self.fused.inputs, self.fused.outputs[0])

    def _corrected(self, printer: Printer) -> str:
        """The sum, less what the zero point of one side adds to it: that many times the sum of the other side."""
        for side, other, name, extent, width in (
            (self.product.rows, self.product.columns, "c", self.extents.columns, self.tiling.columns),
            (self.product.columns, self.product.rows, "r", self.extents.rows, self.tiling.rows),
        ):
            if not self.tiling.bytes or side.zero is None:
                continue
            assert other.constant is not None
            buffer = self.fused.inputs[other.constant.index]
            printer.used[buffer] = None
            zero = printer.expression(self.fused.tensor(side.zero)(*(0,) * len(side.zero.shape)))
            sums = f"reinterpret_cast<const int*>({self.names[buffer]} + {self.packed[other.constant.index]})"
            place = f"z * {-(-extent // width) * width} + {name}"
            printer.line(f"const int corrected = sum - (int)({zero}) * {sums}[{place}];")
            return "corrected"
        return "sum"

    def _function(self, rows: SideText, columns: SideText, used: Sequence[Any]) -> tuple[str, Launch]:
        tiling, extents = self.tiling, self.extents
        buffers = list(dict.fromkeys([*rows.buffers, *columns.buffers, *used]))
        parameters = ", ".join(each.strip().rstrip(";") for each in members(buffers, self.names))
        values = [f"{{{_names(rows.buffers, self.names)}}}", f"{{{_names(columns.buffers, self.names)}}}"]
        values += [self.names[buffer] for buffer in used]
        text = "\n".join([
            f"OPTC_GLOBAL void __launch_bounds__({tiling.threads}) {self.symbol}({parameters}) {{",
            f"  const {self.symbol}_problem problem{{{', '.join(values)}}};",
            "  optc_tile(problem);", "}", "",
        ])  # fmt: skip
        blocks = -(-extents.rows // tiling.rows) * -(-extents.columns // tiling.columns)
        arguments = tuple(self.arguments[buffer] for buffer in buffers)
        launch = Launch(self.symbol, (blocks, tiling.parts, extents.batch), (tiling.threads, 1, 1), 0, arguments)
        return text, launch

    def _sum_of_parts(self) -> tuple[str, Launch]:
        """The function that adds up the parts of each sum."""
        extents = self.extents
        size = extents.batch * extents.rows * extents.columns
        parameters = [(argument, buffer) for buffer, argument in self.arguments.items()]
        function = Function(f"{self.symbol}_sum", parameters)
        printer = function.printer
        printer.line(f"const int i = blockIdx.x * {nests.THREADS} + threadIdx.x;")
        printer.line(f"if (i >= {size}) return;")
        printer.line(f"const int c = i % {extents.columns}, r = i / {extents.columns} % {extents.rows};")
        printer.line(f"const int z = i / {extents.columns * extents.rows};")
        printer.line(f"{c_type(self.accumulator)} sum = scratch0[i];")
        printer.line(f"for (int part = 1; part < {self.tiling.parts}; ++part) sum += scratch0[part * {size} + i];")
        printer.used[self.partial] = None
        self._finish(printer)
        return function.finish((-(-size // nests.THREADS), 1, 1), nests.THREADS)


def _names(buffers: Sequence[Any], names: Mapping[Any, str]) -> str:
    return ", ".join(names[buffer] for buffer in buffers)


def _data_type(group: Group) -> str:
    assert group.anchor is not None and group.anchor.operands[0] is not None
    return group.anchor.operands[0].dtype.numpy_name


def _bytes(element: str) -> int:
    return int("".join(filter(str.isdigit, element))) // 8


def shared_bytes(tiling: Tiling) -> int:
    """Static shared memory of a block: both halves of both sides."""
    size = _bytes(tiling.row_element)
    pad = 16 // size
    if tiling.inner_k:
        return 2 * size * (tiling.depth + pad) * (tiling.rows + tiling.columns)
    return 2 * size * tiling.depth * (tiling.rows + tiling.columns + 2 * pad)


def blocks_of(tiling: Tiling, extents: Extents) -> int:
    """How many blocks the product takes."""
    tiles = -(-extents.rows // tiling.rows) * -(-extents.columns // tiling.columns)
    return tiles * extents.batch * tiling.parts


def padded_work(tiling: Tiling, extents: Extents) -> int:
    """Multiply-adds of one block, those on zeros included."""
    return tiling.rows * tiling.columns * tiling.depth * math.ceil(extents.steps / tiling.parts)
