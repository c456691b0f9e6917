"""The geometry of a convolution window, and how the columns of an output row meet the edges of the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.ir.core import Operation

if TYPE_CHECKING:
    from tvm.tirx import Stmt


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a convolution: extents and how the window moves along it."""

    data: int
    out: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    before: int = 0

    def reads(self, out: Any, tap: Any) -> Any:
        """Where output position `out` reads the data for the kernel's element `tap`; it may lie outside."""
        return out * self.stride + tap * self.dilation - self.before

    def inside(self, out: int, tap: int) -> bool:
        return 0 <= self.reads(out, tap) < self.data

    def interior(self, out: int) -> bool:
        """Whether every tap of this output position lies inside the data."""
        return self.inside(out, 0) and self.inside(out, self.kernel - 1)

    @property
    def is_point(self) -> bool:
        return self.data == self.out == self.kernel == 1

    @property
    def padded(self) -> bool:
        return not (self.interior(0) and self.interior(self.out - 1))

    def taps(self, out: Any) -> tuple[Any, Any]:
        """The first tap inside the data for an output position and how many follow, as expressions."""
        from tvm import tirx

        if not self.padded:
            return 0, self.kernel
        start, step = out * self.stride - self.before, self.dilation
        first = tirx.max(0, (step - 1 - start) // step)
        end = tirx.min(self.kernel, (self.data - start + step - 1) // step)
        return first, tirx.max(end - first, 0)


@dataclass(frozen=True)
class Window:
    """A convolution over rows and columns; a 1-D one has a single row.

    `spatial` is the number of spatial axes. Where only the first has an extent, it makes the columns: `turned`.
    """

    rows: Axis
    columns: Axis
    spatial: int
    turned: bool = False

    def logical(self, row: Any, column: Any) -> tuple[Any, ...]:
        """The spatial part of logical indices."""
        return (column, row) if self.turned else (row, column)[2 - self.spatial :]


def axes_of(conv: Operation) -> list[Axis]:
    """The spatial axes of an `onnx.Conv`, with its attributes and their defaults resolved.

    The padding before follows from `auto_pad` where given; the padding after is implied by the output's extent.
    """
    data, weight = conv.operands[0], conv.operands[1]
    assert data is not None and weight is not None
    rank = len(data.shape) - 2
    out = conv.results[0].shape[2:]
    kernel = weight.shape[2:]

    def ints(name: str, default: int, length: int) -> list[int]:
        value = conv.attributes.get(name)
        return [int(v) for v in value] if isinstance(value, tuple) and value else [default] * length  # type: ignore[arg-type]

    strides, dilations = ints("strides", 1, rank), ints("dilations", 1, rank)
    before = ints("pads", 0, 2 * rank)[:rank]
    mode = conv.attributes.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        for i in range(rank):
            reach = (out[i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1
            total = max(0, reach - data.shape[2 + i])
            before[i] = total // 2 if mode == "SAME_UPPER" else total - total // 2
    elif mode == "VALID":
        before = [0] * rank
    return [Axis(data.shape[2 + i], out[i], kernel[i], strides[i], dilations[i], before[i]) for i in range(rank)]


def window_of(conv: Operation) -> Window | None:
    """The window of a 1-D or 2-D convolution; None for other ranks."""
    axes = axes_of(conv)
    if len(axes) not in (1, 2):
        return None
    if len(axes) == 2 and axes[1].is_point:
        return Window(axes[1], axes[0], 2, turned=True)
    return Window(axes[0] if len(axes) == 2 else Axis(1, 1, 1), axes[-1], len(axes))


def row_tiles(axis: Axis, tile: int, body: Callable[[Any, int, bool], Stmt]) -> Stmt:
    """Cover one output row with tiles: `body(start, columns, interior)`; the interior tiles share one loop.

    Where the data is padded, the columns that do not fill interior tiles are shared between a tile at each end, which
    meets the edge: only these need code of their own.
    """
    left = next((j for j in range(axis.out) if axis.interior(j)), axis.out)
    right = next((j for j in range(axis.out) if axis.interior(axis.out - 1 - j)), axis.out)
    middle = max(0, axis.out - max(left, EDGE if left else 0) - max(right, EDGE if right else 0)) // tile
    spare = axis.out - middle * tile
    if not middle:
        full, rest = divmod(axis.out, tile)
        statements = [body(t * tile, tile, not (left or right)) for t in range(full)]
        return loops.sequence([*statements, *([body(full * tile, rest, not (left or right))] if rest else [])])
    before = max(left, min(spare - right, spare // 2)) if left else 0
    after = spare - before
    statements = [body(0, before, False)] if before else []
    statements.append(loops.serial(middle, lambda t: body(t * tile + before, tile, True), "tile"))
    if after:
        statements.append(body(axis.out - after, after, right == 0))
    return loops.sequence(statements)


EDGE = 3  # columns of a tile at an edge: fewer would leave multiply-add units idle


def row_steps(
    axis: Axis,
    start: Any,
    columns: int,
    interior: bool,
    body: Callable[[Any, list[int]], Stmt],
    *,
    unroll: bool = False,
) -> Stmt:
    """The taps of a tile of columns: `body(tap, columns that lie inside the data)`, with one loop where all do.

    `start` is an int unless the tile is `interior`.
    """
    every = list(range(columns))
    if interior:
        if unroll:
            return loops.sequence(body(tap, every) for tap in range(axis.kernel))
        return loops.serial(axis.kernel, lambda tap: body(tap, every), "kw")
    inside = [[j for j in every if axis.inside(start + j, tap)] for tap in range(axis.kernel)]
    statements = []
    tap = 0
    while tap < axis.kernel:
        end = tap + 1
        if inside[tap] == every and not unroll:
            while end < axis.kernel and inside[end] == every:
                end += 1
            statements.append(loops.serial(end - tap, lambda k: body(k, every), "kw", start=tap))
        elif inside[tap]:
            statements.append(body(tap, inside[tap]))
        tap = end
    return loops.sequence(statements)
