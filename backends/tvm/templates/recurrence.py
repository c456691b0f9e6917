"""The steps of an LSTM or GRU in one kernel: the state stays in the first cache, the weights are read once a step.

The weights lie in panels of as many columns as the registers accumulate, so that a step reads them from first to last.
Samples of a batch that share a panel are taken together; groups of them may run on different cores.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.group import Group
from optc.backends.tvm.lowering import scoped
from optc.backends.tvm.math.functions import sigmoid, tanh
from optc.backends.tvm.packing import Packing
from optc.backends.tvm.template import KernelDefinition, Schedule, Template
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.alone import Alone, alone_refusal, operation_of
from optc.ops.recurrence import BIAS, LENGTHS, MEMORY, PROJECTED, RECURRENCE, STATE, WEIGHTS, cell_of
from optc.ops.shapes import integer

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimExpr, Stmt

    from optc.targets.target import Target

_F32 = "float32"
_MOST_TOGETHER = 4  # samples that share a panel of weights
_MOST_VECTORS = 8
_ACTIVATIONS = {"lstm": 5, "gru": 3}  # of each element of the state in a step
_ACTIVATION_STEPS = 12.0  # multiply-adds' worth of one vector of sigmoids or hyperbolic tangents


class Recurrence(Template):
    """`optc.recurrence` alone, in f32.

    Schedule: `width` columns of the weights a panel.
    """

    name = "recurrence"
    priority = 20

    def refuses(self, group: Group, target: Target) -> str | None:
        return alone_refusal(group, RECURRENCE)

    def space(self, group: Group, target: Target) -> list[Schedule]:
        steps = _Extents(group)
        points: list[Schedule] = [(("width", width),) for width in _widths(steps, tiles.lanes_of(target))]
        return sorted(points, key=lambda point: self.estimate(group, point, target))

    def build(self, group: Group, schedule: Schedule, target: Target) -> KernelDefinition:
        extents, width = _Extents(group), dict(schedule)["width"]
        weights = extents.operation.operands[WEIGHTS]
        assert weights is not None
        packings, shapes = {}, {}
        if weights.owner is group.body and weights.index in group.constants:
            packings[weights.index] = Packing((("panels", (width,)),))
            shapes[weights.index] = (extents.hidden * extents.columns,)
        threads = tiles.worth_threads(self.estimate(group, schedule, target), target)
        kernel = _Kernel(group, extents, width, target, shapes)
        return KernelDefinition(kernel.code(threads), packings)

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        """Multiply-adds by register tiles, the weights from the cache that holds them, and the activations."""
        extents, lanes, width = _Extents(group), tiles.lanes_of(target), dict(schedule)["width"]
        multiply_add = 2 * lanes / target.peak_flops.get("f32", 2.0e9)
        vectors = len(tiles.vectors_of(width, lanes))
        each = max(vectors * extents.together, tiles.LATENCY, (vectors + extents.together) * tiles.LOAD)
        tile_steps = extents.hidden * each + tiles.TILE_OVERHEAD
        work = -(-extents.columns // width) * tile_steps
        work += _ACTIVATIONS[extents.cell] * _ACTIVATION_STEPS * -(-extents.hidden // lanes) * extents.together
        held = 4 * extents.hidden * extents.columns
        seconds = work * multiply_add + tiles.traffic(target, held, held)
        return extents.steps * (extents.batch // extents.together) * seconds


class _Extents:
    """Of the recurrence of a group; `together`: samples that are taken together, which divide the batch."""

    def __init__(self, group: Group) -> None:
        self.operation = operation_of(group)
        projected, state = (self.operation.operands[position] for position in (PROJECTED, STATE))
        assert projected is not None and state is not None
        self.steps, self.batch, self.columns = projected.shape
        self.hidden = state.shape[1]
        self.uneven = self.operation.operand(LENGTHS) is not None
        most = 1 if self.uneven else _MOST_TOGETHER
        self.together = next(count for count in range(most, 0, -1) if self.batch % count == 0)
        self.cell = cell_of(self.operation)
        self.late = self.operation.operand(BIAS) is not None
        # Where the reset gate goes before the product, the candidate's columns need the gates first.
        self.split = 2 * self.hidden if self.cell == "gru" and not self.late else self.columns


def _widths(extents: _Extents, lanes: int) -> list[int]:
    """Panels that do not cross the split; at least one."""
    most = min(extents.split, _MOST_VECTORS * lanes)
    whole = [width for width in range(lanes, most + 1, lanes) if extents.split % width == 0]
    if extents.split == extents.columns:
        whole += [width for width in (lanes, 2 * lanes, 4 * lanes, 8 * lanes) if width <= extents.columns]
    return sorted({*whole, max(width for width in range(1, most + 1) if extents.split % width == 0)})


class _Kernel(Alone):
    """The code of one schedule."""

    def __init__(self, group: Group, extents: _Extents, width: int, target: Target, packed: dict[int, Any]) -> None:
        super().__init__(group, packed)
        self.extents, self.width = extents, width
        self.lanes = tiles.lanes_of(target)
        # C knows no vectors that an array could be made of.
        self.alignment = self.lanes if target.llvm.get("kind", "llvm") == "llvm" else 1
        self.packed = bool(packed)
        self.reverse = bool(integer(extents.operation, "reverse"))

    def code(self, threads: bool) -> Any:
        """Groups of samples one after another, or on several cores."""
        count = self.extents.batch // self.extents.together
        return self.function(
            loops.outer((count,), lambda i: self._samples(i[0] * self.extents.together), threads=threads)
        )

    def _weight(self, row: Any, start: Any, column: Any, width: int) -> PrimExpr:
        """Of the panel that begins at column `start`."""
        if self.packed:
            return self.read(WEIGHTS, start * self.extents.hidden + row * width + column)
        return self.read(WEIGHTS, row, start + column)

    def _samples(self, first: Any) -> Stmt:
        """All steps of the samples from `first`."""
        from tvm import tirx

        extents, made = self.extents, []

        def array(columns: int, name: str) -> Buffer:
            buffer, statements = loops.array(extents.together * columns, _F32, name, self.alignment)
            made.extend(statements)
            return buffer

        self.gates = array(extents.columns, "gates")
        self.state, self.other = array(extents.hidden, "state"), array(extents.hidden, "other")

        def load(row: int, column: Any) -> Stmt:
            place = row * extents.hidden + column
            statements = [loops.store(self.state, self.read(STATE, first + row, column), [place])]
            if extents.cell == "lstm":
                statements.append(loops.store(self.other, self.read(MEMORY, first + row, column), [place]))
            return loops.sequence(statements)

        steps: Any = extents.steps
        if extents.uneven:
            length = self.read(LENGTHS, first).astype(loops.INDEX)
            steps = tirx.max(tirx.min(length, loops.constant(extents.steps)), loops.constant(0))

        def step(number: Any) -> Stmt:
            at = steps - 1 - number if self.reverse else number
            products = [self._products(at, first, 0, extents.split, self.state)]
            if extents.split < extents.columns:
                products.append(self._each(partial(self._reset, at, first)))
                products.append(self._products(at, first, extents.split, extents.columns, self.other))
            cell = self._lstm if extents.cell == "lstm" else self._gru
            return loops.sequence([*products, self._each(partial(cell, at, first))])

        def last(row: int, column: Any) -> Stmt:
            place = row * extents.hidden + column
            kept = [(self.result(1), self.state), (self.result(2), self.other)]
            return loops.sequence(
                loops.store(out, buffer[place], [first + row, column]) for out, buffer in kept if out is not None
            )

        statements = [*made, self._each(load), loops.serial(steps, step, "step"), self._each(last)]
        if extents.uneven and (whole := self.result(0)) is not None:
            statements.append(
                loops.serial(
                    extents.steps - steps,
                    lambda number: self._each(
                        lambda row, column: loops.store(
                            whole, loops.constant(0, _F32), [steps + number, first + row, column]
                        )
                    ),
                    "missing",
                )
            )
        return loops.sequence(statements)

    def _each(self, body: Callable[[int, Any], Stmt]) -> Stmt:
        """`body(sample, element of the state)` for all of them, in vectors."""
        whole, rest = divmod(self.extents.hidden, self.lanes)

        def element(row: int, at: Any, lane: Any) -> Stmt:
            return body(row, at + lane)

        statements = []
        for row in range(self.extents.together):

            def vector(number: Any, row: int = row) -> Stmt:
                return loops.vectorized(self.lanes, partial(element, row, number * self.lanes))

            if whole:
                statements.append(loops.serial(whole, vector, "vector"))
            done = whole * self.lanes
            for lanes in tiles.vectors_of(rest, self.lanes):
                statements.append(loops.vectorized(lanes, partial(element, row, done)))
                done += lanes
        return loops.sequence(statements)

    def _products(self, at: Any, first: Any, begin: int, end: int, source: Buffer) -> Stmt:
        """Columns `begin … end` of the gates: a state times its weights, and what the input gives."""
        extents = self.extents

        def tile(start: Any, width: int) -> Stmt:
            register = tiles.RegisterTile(extents.together, tiles.vectors_of(width, self.lanes), _F32)

            def reduction(add: tiles.Step) -> Stmt:
                def multiply(row: Any) -> Stmt:
                    return add(
                        lambda sample, offset, lane: source[sample * extents.hidden + row]
                        * self._weight(row, start, offset + lane, width)
                    )

                return loops.serial(extents.hidden, multiply, "row")

            def finish(sample: Any, offset: int, lane: Any, total: PrimExpr) -> Stmt:
                return loops.store(self.gates, total, [sample * extents.columns + start + offset + lane])

            return register.emit(reduction, finish, lambda *_: None, width, self.lanes)

        full, rest = divmod(end - begin, self.width)
        statements = [loops.serial(full, lambda number: tile(begin + number * self.width, self.width), "panel")]
        if rest:
            statements.append(tile(begin + full * self.width, rest))
        return loops.sequence(statements)

    def _gate(self, at: Any, first: Any, row: int, gate: int, column: Any) -> PrimExpr:
        """What a gate is given: the product with the state, and the input's."""
        place = gate * self.extents.hidden + column
        return self.gates[row * self.extents.columns + place] + self.read(PROJECTED, at, first + row, place)

    def _reset(self, at: Any, first: Any, row: int, column: Any) -> Stmt:
        """The state as far as the reset gate lets it through."""
        place = row * self.extents.hidden + column
        return loops.store(
            self.other, scoped(lambda: sigmoid(self._gate(at, first, row, 1, column)) * self.state[place]), [place]
        )

    def _keep(self, at: Any, first: Any, row: int, column: Any, state: Callable[[], PrimExpr]) -> list[Stmt]:
        place = row * self.extents.hidden + column
        statements = [loops.store(self.state, scoped(state), [place])]
        whole = self.result(0)
        if whole is not None:
            statements.append(loops.store(whole, self.state[place], [at, first + row, column]))
        return statements

    def _lstm(self, at: Any, first: Any, row: int, column: Any) -> Stmt:
        gate = partial(self._gate, at, first, row)
        place = row * self.extents.hidden + column

        def memory() -> PrimExpr:
            kept = sigmoid(gate(2, column)) * self.other[place]
            return kept + sigmoid(gate(0, column)) * tanh(gate(3, column))

        def state() -> PrimExpr:
            return sigmoid(gate(1, column)) * tanh(self.other[place])

        return loops.sequence(
            [loops.store(self.other, scoped(memory), [place]), *self._keep(at, first, row, column, state)]
        )

    def _gru(self, at: Any, first: Any, row: int, column: Any) -> Stmt:
        gate = partial(self._gate, at, first, row)
        extents = self.extents
        place = row * extents.hidden + column

        def inner() -> PrimExpr:
            if not extents.late:
                return gate(2, column)
            product = self.gates[row * extents.columns + 2 * extents.hidden + column]
            given = self.read(PROJECTED, at, first + row, 2 * extents.hidden + column)
            return given + sigmoid(gate(1, column)) * (product + self.read(BIAS, column))

        def state() -> PrimExpr:
            candidate = self.other[place]
            return candidate + sigmoid(gate(0, column)) * (self.state[place] - candidate)

        return loops.sequence(
            [
                loops.store(self.other, scoped(lambda: tanh(inner())), [place]),
                *self._keep(at, first, row, column, state),
            ]
        )
