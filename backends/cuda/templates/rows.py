"""Groups that a block can compute row by row: softmax, normalizations, reductions; in between in shared memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optc.backends.cuda import nests
from optc.backends.cuda.estimate import group_bytes, memory_seconds
from optc.backends.cuda.function import Function, decoded
from optc.backends.cuda.kernel import Argument
from optc.backends.cuda.occupancy import STATIC_SHARED
from optc.backends.cuda.template import CudaTemplate, Definition, Schedule
from optc.backends.tvm import loops
from optc.backends.tvm.emission.kernel import GroupKernel, NotInRows, storage_name
from optc.backends.tvm.group import Group
from optc.backends.tvm.lowering import Stage
from optc.backends.tvm.lowering.context import Elements
from optc.backends.tvm.lowering.recording import recording
from optc.backends.tvm.templates.generic import group_refusal
from optc.ops.declaration import Kind, declaration_of

if TYPE_CHECKING:
    from optc.targets.target import Target

Geometry = tuple[int, ...]
_SHARED = STATIC_SHARED - 8 * 1024  # what is left belongs to the partial results of reductions


class Rows(CudaTemplate):
    """One block a row. Schedule: `threads` of a block, `axes` of the result that tell rows apart."""

    name = "rows"
    priority = 0

    def refuses(self, group: Group, target: Target) -> str | None:
        refusal = group_refusal(group)
        if refusal is not None:
            return refusal
        if any(declaration_of(operation.name).kind is Kind.CONTRACTION for operation in group.body):
            return "a contraction has no rows to keep"
        found = _geometry(group)
        return found if isinstance(found, str) else None

    def space(self, group: Group, target: Target) -> list[Schedule]:
        geometry = _geometry(group)
        assert not isinstance(geometry, str)
        work = _row_work(group, geometry)
        counts = [count for count in (32, 64, 128, 256, 512) if count <= max(32, work)]
        return [(("axes", len(geometry)), ("threads", count)) for count in counts]

    def build(self, group: Group, schedule: Schedule, target: Target, symbol: str) -> Definition:
        knobs = dict(schedule)
        geometry = GroupKernel(group).geometry()[: knobs["axes"]]
        return _Row(group, geometry, knobs["threads"], symbol).definition()

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        threads = dict(schedule)["threads"]
        geometry = GroupKernel(group).geometry()[: dict(schedule)["axes"]]
        work, rows = _row_work(group, geometry), math.prod(geometry)
        used = work / (-(-work // threads) * threads)
        syncs = 2e-8 * len(GroupKernel(group).stages) * math.log2(threads)
        moved = memory_seconds(group_bytes(group) / used, rows, 4 * threads * 4, target)
        return target.launch_seconds + moved + syncs * -(-rows // (target.cores * 8))


def _geometry(group: Group) -> Geometry | str:
    """The finest rows that the stages of a group are read in, or why there are none."""
    geometry = GroupKernel(group).geometry()
    reason = "its stages have no rows in common"
    while math.prod(geometry) > 1:
        try:
            _Row(group, geometry, 32, "check").definition()
            return geometry
        except NotInRows as refusal:
            reason = str(refusal)
        geometry = geometry[:-1]
    return reason


def _row_work(group: Group, geometry: Geometry) -> int:
    """The most elements that one step over a row handles."""
    kernel = GroupKernel(group)
    rows = math.prod(geometry)
    sizes = [math.prod(stage.shape) * math.prod(stage.extents) for stage in kernel.stages]
    sizes += [math.prod(value.tensor_type.stored_shape) for value, _, _ in kernel.outputs]
    return max(1, max(sizes) // rows)


class _Row:
    """The function that computes one row."""

    def __init__(self, group: Group, geometry: Geometry, threads: int, symbol: str) -> None:
        self.kernel = GroupKernel(group)
        self.geometry = geometry
        self.threads = threads
        self.symbol = symbol
        parameters: list[tuple[Argument, Any]] = [
            (("input", i), buffer) for i, buffer in enumerate(self.kernel.inputs)
        ]
        parameters += [(("output", i), buffer) for i, (_, _, buffer) in enumerate(self.kernel.outputs)]
        self.function = Function(symbol, parameters)
        self.printer = self.function.printer
        self.partials: list[str] = []
        self.room = _SHARED

    def definition(self) -> Definition:
        rows = math.prod(self.geometry)
        self.printer.line("const int row = blockIdx.x;")
        tile = decoded(self.printer.index("row", rows), self.geometry)
        # Whoever builds expressions asks the notes' analyzer what is known of the variables.
        with recording(self.printer.analyzer):
            for number, stage in enumerate(self.kernel.stages):
                self._stage(number, stage, tile)
            for number, _ in enumerate(self.kernel.outputs):
                self._output(number, tile)
        text, launch = self.function.finish((rows, 1, 1), self.threads)
        return Definition("\n".join([*self.partials, text]), (launch,))

    def _stage(self, number: int, stage: Stage, tile: Sequence[Any]) -> None:
        printer = self.printer
        extents = [extent // self._count(axis) for axis, extent in enumerate(stage.shape)]
        origin = [_times(index, extents[axis]) for axis, index in enumerate(tile[: len(extents)])]
        origin += [0] * (len(extents) - len(origin))
        size = math.prod(extents)
        buffers = []
        for position, dtype in enumerate(stage.dtypes):
            self.room -= size * dtype.bytes
            if self.room < 0:
                raise NotInRows("the row does not fit in shared memory")
            buffer = loops.parameter((size,), storage_name(dtype), f"stage{number}_{position}")
            printer.line(f"OPTC_SHARED {nests.c_type(str(buffer.dtype))} stage{number}_{position}[{size}];")
            printer.buffer(buffer, f"stage{number}_{position}")
            buffers.append(buffer)

        def write(own: Sequence[Any], values: Elements) -> None:
            for buffer, value in zip(buffers, values, strict=True):
                nests.store(printer, buffer, value, nests.flat(own, extents))

        if stage.combiner is None:
            with printer.block(f"for (int k = threadIdx.x; k < {size}; k += {self.threads})"):
                own = decoded(printer.index("k", size), extents)
                place = [_plus(start, index) for start, index in zip(origin, own, strict=True)]
                write(own, nests.scoped_all(lambda: stage.body(place, ()), lambda each: each))
        else:
            partial = nests.Partial(f"{self.symbol}_partial{number}", stage.combiner, stage.dtypes)
            self.partials.append(partial.text)
            terms = math.prod(stage.extents)
            lanes = self.threads if size == 1 else nests.lanes_for(min(terms, max(1, self.threads // size * 2)))
            groups = self.threads // lanes
            first = f"(int)threadIdx.x / {lanes}" if groups > 1 else "0"
            nests.reduce_nest(
                printer, partial, stage, extents, origin, write,
                threads=self.threads, lanes=lanes, first=first, step=groups,
            )  # fmt: skip
        printer.line("__syncthreads();")
        stage.read = tuple(
            nests.reader(b, extents, t, origin, lambda local: self._check(local, extents, origin))
            for b, t in zip(buffers, stage.dtypes, strict=True)
        )

    def _check(self, local: Sequence[Any], extents: Sequence[int], origin: Sequence[Any]) -> None:
        """Make sure that an index stays in the row.

        Raises:
            NotInRows: it may leave it.
        """
        for index, extent, start in zip(local, extents, origin, strict=True):
            if isinstance(start, int):
                continue
            simplified = self.printer.simplified(index)
            bound = self.printer.analyzer.const_int_bound(simplified)
            if int(bound.min_value) < 0 or int(bound.max_value) >= extent:
                raise NotInRows(f"index {simplified} does not stay in its row of {extent}")

    def _output(self, number: int, tile: Sequence[Any]) -> None:
        value, tensor, buffer = self.kernel.outputs[number]
        kind, printer = value.tensor_type, self.printer
        rank, shape = len(value.shape), kind.stored_shape
        order = kind.layout.permutation or tuple(range(rank))
        extents, origin = list(shape), [0] * len(shape)
        for position, axis in enumerate(order):
            extents[position] = shape[position] // self._count(axis)
            if axis < len(tile):
                origin[position] = _times(tile[axis], extents[position])
        size = math.prod(extents)
        with printer.block(f"for (int k = threadIdx.x; k < {size}; k += {self.threads})"):
            own = decoded(printer.index("k", size), extents)
            place = [_plus(start, index) for start, index in zip(origin, own, strict=True)]
            nests.store(printer, buffer, nests.output_element(value, tensor, place), nests.flat(place, shape))

    def _count(self, axis: int) -> int:
        return self.geometry[axis] if axis < len(self.geometry) else 1


def _times(index: Any, factor: int) -> Any:
    return index if factor == 1 or (isinstance(index, int) and index == 0) else index * factor


def _plus(start: Any, index: Any) -> Any:
    if isinstance(start, int) and start == 0:
        return index
    return start if isinstance(index, int) and index == 0 else start + index
