"""The code of a block: which rows of each stage a tile makes, and where they are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.fused import FusedContraction, input_buffers, output_buffers
from optc.backends.tvm.group import Group
from optc.backends.tvm.stages import Stage, stages_of
from optc.backends.tvm.template import KernelDefinition, Schedule, Template
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.operand import Operand
from optc.backends.tvm.templates.rows import Geometry, Packed, RowNest, RowTemplate
from optc.backends.tvm.templates.window import Axis

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimFunc, Stmt

    from optc.targets.target import Target

Rows = tuple[Any, Any]  # the first row, and the one after the last


def row_template(stage: Stage, target: Target) -> RowTemplate | str:
    """The template that makes a stage row by row, or why none does."""
    reasons = []
    for template in Template.registry.values():
        if isinstance(template, RowTemplate):
            refusal = template.refuses(stage.group, target)
            if refusal is None:
                return template
            reasons.append(f"{template.name}: {refusal}")
    return "; ".join(reasons)


def template_of(stage: Stage, target: Target) -> RowTemplate:
    """`row_template`, of a stage that has one."""
    found = row_template(stage, target)
    assert isinstance(found, RowTemplate), found
    return found


def split_schedule(schedule: Schedule) -> list[Schedule]:
    """The points of the stages, whose parameters are named `stage.name`."""
    found: dict[int, list[tuple[str, int]]] = {}
    for name, value in schedule:
        number, dot, own = name.partition(".")
        if dot:
            found.setdefault(int(number), []).append((own, value))
    return [tuple(sorted(found[number])) for number in sorted(found)]


@dataclass(frozen=True)
class Chain:
    """The stages of a group that is one."""

    stages: tuple[Stage, ...]
    templates: tuple[RowTemplate, ...]

    @staticmethod
    def of(group: Group, target: Target) -> Chain:
        stages = stages_of(group)
        assert not isinstance(stages, str), stages
        return Chain(stages, tuple(template_of(stage, target) for stage in stages))

    def geometries(self, points: Sequence[Schedule]) -> list[Geometry]:
        """Of each stage at its point."""
        return [
            template.geometry(stage.group, point)
            for template, stage, point in zip(self.templates, self.stages, points, strict=True)
        ]

    def rings(self, points: Sequence[Schedule], rows: int) -> list[tuple[int, ...]]:
        """For each stage but the last: the shape in which one thread keeps the rows that a tile needs of it."""
        geometries = self.geometries(points)
        spans = _spans(geometries, rows)
        shapes = []
        for stage, geometry, span in zip(self.stages[:-1], geometries, spans, strict=False):
            stored = stage.group.body.outputs[0].tensor_type.stored_shape
            held = (*stored[len(geometry.lead) : geometry.axis], span * geometry.height)
            shapes.append((*held, *stored[geometry.axis + 1 :]))
        return shapes


def _spans(geometries: Sequence[Geometry], rows: int) -> list[int]:
    """For each stage the most rows (in pieces) that a tile of `rows` of the last one needs of it."""
    spans = [min(rows, geometries[-1].rows.out)]
    for geometry in reversed(geometries[1:]):
        axis = geometry.rows
        spans.insert(0, min(axis.data, (spans[0] - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1))
    return spans


@dataclass
class _Place:
    """Where the rows of a stage lie in a thread's ring; set anew for each piece of code that is made.

    Attributes:
        row: from a row of the stage's result to the one of the ring.
    """

    geometry: Geometry
    thread: Any
    row: Any = None

    def __call__(self, indices: Sequence[Any]) -> tuple[Any, ...]:
        lead, axis = len(self.geometry.lead), self.geometry.axis
        return (self.thread, *indices[lead:axis], self.row(indices[axis]), *indices[axis + 1 :])


class BlockKernel:
    """Builds the kernel of one group at one point."""

    def __init__(self, group: Group, schedule: Schedule, target: Target, seconds: float) -> None:
        self.group = group
        self.target = target
        self.seconds = seconds
        self.chain = Chain.of(group, target)
        self.points = split_schedule(schedule)
        self.geometries = self.chain.geometries(self.points)
        self.rows = dict(schedule)["rows"]
        self.spans = _spans(self.geometries, self.rows)
        last = self.geometries[-1]
        pieces = math.prod(last.lead)
        threads = target.cores if tiles.worth_threads(seconds, target) else 1
        self.chunks = max(1, min(last.rows.out, threads // math.gcd(threads, pieces)))
        self.tasks = pieces * self.chunks
        self.threads = min(threads, self.tasks)
        self.packed = self._packed()
        self.inputs = input_buffers(group, {position: each.shape for position, each in self.packed.items()})
        self.outputs = output_buffers(group)
        shapes = self.chain.rings(self.points, self.rows)
        self.rings = [
            loops.parameter((self.threads, *shape), stage.group.body.outputs[0].dtype.numpy_name, f"rows{number}")
            for number, (stage, shape) in enumerate(zip(self.chain.stages[:-1], shapes, strict=True))
        ]
        self.ring_bytes = tuple(
            stage.group.body.outputs[0].dtype.bytes * self.threads * math.prod(shape)
            for stage, shape in zip(self.chain.stages[:-1], shapes, strict=True)
        )

    def _packed(self) -> dict[int, Packed]:
        found: dict[int, Packed] = {}
        for stage, template, point in zip(self.chain.stages, self.chain.templates, self.points, strict=True):
            for position, packed in template.packed(stage.group, point, self.target).items():
                source = stage.sources[position]
                assert source is not None
                found[source] = packed
        return found

    def definition(self) -> KernelDefinition:
        """The kernel, whose scratch is what the first stage's prologue fills, and the rings of all threads."""
        operands: list[Operand] = []

        def thread(number: Any) -> Stmt:
            made, nests, places = self._stages(number)
            operands[:] = made

            def task(turn: Any) -> Stmt:
                from tvm import tirx

                current = turn * self.threads + number
                statement = self._task(current, nests, places)
                return tirx.IfThenElse(current < self.tasks, statement) if self.tasks % self.threads else statement

            return loops.serial(-(-self.tasks // self.threads), task, "turn")

        if self.threads > 1:
            nest = loops.parallel(self.threads, thread)
        else:
            nest = thread(loops.constant(0))
        filling = [statement for operand in operands for statement in operand.fill(self.target, self.seconds)]
        scratches = [scratch for operand in operands for scratch in operand.scratches]
        extents = [extent for operand in operands for extent in operand.scratch_bytes]
        return KernelDefinition(
            self._function(loops.sequence([*filling, nest]), scratches),
            {position: each.packing for position, each in self.packed.items()},
            (*extents, *self.ring_bytes),
        )

    def _function(self, body: Stmt, scratches: Sequence[Buffer]) -> PrimFunc:
        from tvm import tirx

        return tirx.PrimFunc([*self.inputs, *self.outputs, *scratches, *self.rings], body)

    def _stages(self, thread: Any) -> tuple[list[Operand], list[RowNest], list[_Place]]:
        """The data and the pieces of every stage, and the places of what lies between them, for one thread."""
        places = [_Place(geometry, thread) for geometry in self.geometries[:-1]]
        views = [loops.View(ring, place) for ring, place in zip(self.rings, places, strict=True)]
        operands, nests = [], []
        for number, (stage, template) in enumerate(zip(self.chain.stages, self.chain.templates, strict=True)):
            read = [views[number - 1] if source is None else self.inputs[source] for source in stage.sources]
            written = [views[number]] if number < len(views) else self.outputs
            fused = FusedContraction(stage.group, buffers=[*read, *written])
            operands.append(template.operand(fused, self.target))
            nests.append(template.nest(fused, operands[-1], self.points[number], self.target))
        return operands, nests, places

    def _task(self, number: Any, nests: Sequence[RowNest], places: Sequence[_Place]) -> Stmt:
        """The tiles of one chunk of rows, from top to bottom."""
        chunk, piece = number % self.chunks, number // self.chunks
        height = self.geometries[-1].rows.out
        first = chunk * height // self.chunks if self.chunks > 1 else loops.constant(0)
        end = (chunk + 1) * height // self.chunks if self.chunks > 1 else loops.constant(height)
        lead: list[Any] = []
        for extent in reversed(self.geometries[-1].lead):
            lead.insert(0, piece % extent if extent > 1 else 0)
            piece = piece // extent

        def tile(turn: Any) -> Stmt:
            from tvm import tirx

            start = first + turn * self.rows
            stop = tirx.min(start + self.rows, end)
            statements = []
            for number, place in enumerate(places):
                alike = all(is_identity(after.rows) for after in self.geometries[number + 1 :])
                place.row = _ring_row(place.geometry, self.spans[number], start if alike else None)
            for nest, (low, high) in zip(nests, self._rows_to_make(turn, start, stop), strict=True):
                statements.append(_all_pieces(nest, tuple(lead), low, high))
            return loops.sequence(statements)

        return loops.serial((end - first + (self.rows - 1)) // self.rows, tile, "tile")

    def _rows_to_make(self, turn: Any, start: Any, stop: Any) -> list[Rows]:
        """For each stage the rows that a tile adds to those which the tiles before it made."""
        from tvm import tirx

        made: list[Rows] = [(start, stop)]
        top, bottom, before = start, stop, start  # rows that are needed, and where those made before end
        for geometry in reversed(self.geometries[1:]):
            axis = geometry.rows
            if is_identity(axis):
                made.insert(0, made[0])
                continue
            top = tirx.max(axis.reads(top, 0), 0)
            bottom, before = (_clamped(axis.reads(end - 1, axis.kernel - 1) + 1, axis.data) for end in (bottom, before))
            made.insert(0, (tirx.Select(turn == 0, top, tirx.max(top, before)), bottom))
        return made


def is_identity(axis: Axis) -> bool:
    """Whether each row is made of the row of the data in the same place alone."""
    return axis.kernel == axis.stride == 1 and not axis.before and axis.data == axis.out


def _clamped(row: Any, rows: int) -> Any:
    from tvm import tirx

    return tirx.max(0, tirx.min(row, rows))


def _ring_row(geometry: Geometry, span: int, base: Any) -> Any:
    """From a row of a stage's result to its place among `span` pieces of rows, the first of which may be `base`."""
    from tvm import tirx

    if span >= geometry.rows.out:
        return lambda row: row
    if base is not None:
        return lambda row: row - base * geometry.height
    return lambda row: tirx.truncmod(row, loops.constant(span * geometry.height))


def _all_pieces(nest: RowNest, lead: tuple[Any, ...], low: Any, high: Any) -> Stmt:
    """All channels of some rows."""
    from tvm import tirx

    count = tirx.max(high - low, 0)
    if nest.channels_outer:
        return loops.serial(
            nest.channels,
            lambda channel: loops.serial(count, lambda row: nest.piece(lead, channel, row), "row", start=low),
            "channel",
        )
    return loops.serial(
        count,
        lambda row: loops.serial(nest.channels, lambda channel: nest.piece(lead, channel, row), "channel"),
        "row",
        start=low,
    )
