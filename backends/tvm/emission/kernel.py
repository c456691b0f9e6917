"""A whole group as one kernel: rows that keep their intermediate results at hand, or one nest after another.

A *row geometry* cuts the leading logical axes of every stage and output into equally many tiles. When every stage is
read only at the tile that is being computed, one loop over the tiles can run all stages and all outputs in turn, and an
intermediate result needs no more room than a tile (softmax over the last axis: a row; global pooling in NCHW8c: eight
channels). Without rows each stage is computed as a whole and stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import TYPE_CHECKING, Any

from optc.backends.tvm import loops
from optc.backends.tvm.codegen import load_tvm
from optc.backends.tvm.emission.blocks import Emitter
from optc.backends.tvm.emission.cover import Store, item_bytes, product
from optc.backends.tvm.group import Group
from optc.backends.tvm.lowering import LoweringContext, Stage, choose, lower_operations, scoped, scoped_all
from optc.backends.tvm.lowering.context import Elements, immediate
from optc.backends.tvm.lowering.recording import current_analyzer, read
from optc.backends.tvm.template import KernelDefinition
from optc.backends.tvm.tensor import LogicalTensor, logical_indices, stored_indices
from optc.ir.core import Value
from optc.ir.dtypes import DType

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimExpr, Stmt

Geometry = tuple[int, ...]
"""Tiles along each leading logical axis; empty: everything is one tile."""

STACK_BYTES = 16 * 1024  # of intermediate results on a thread's stack; more than that goes to scratch parameters


class NotInRows(Exception):
    """A stage is read outside the tile that is being computed."""


class GroupKernel:
    """The parameters, stages and outputs of a group's kernel, ready to be emitted in any geometry.

    Attributes:
        stages: intermediate results in order.
        outputs: each output value with its elements and its buffer.
    """

    def __init__(self, group: Group) -> None:
        load_tvm()
        body = group.body
        self.sources = body.inputs
        self.inputs = [_flat(value, f"in{value.index}") for value in body.inputs]
        context = LoweringContext()
        environment = {v: read_input(v, b) for v, b in zip(body.inputs, self.inputs, strict=True)}
        lower_operations(context, body, environment)
        self.stages: list[Stage] = context.stages
        self.outputs = [(v, environment[v], _flat(v, f"out{i}")) for i, v in enumerate(body.outputs)]
        self._scratch: list[Buffer] = []

    def geometry(self) -> Geometry:
        """The finest tiles whose last axis, along which memory runs, stays whole; empty when there is none."""
        value = self.outputs[0][0]
        rank = len(value.shape)
        ranks = {len(v.shape) for v, _, _ in self.outputs} | {len(stage.shape) for stage in self.stages}
        counts = []
        for axis in range(min(ranks, default=0)):
            count = 0
            for output, _, _ in self.outputs:
                count = gcd(count, _outer_extent(output, axis))
            for stage in self.stages:
                count = gcd(count, stage.shape[axis])
            for source in self.sources:
                if len(source.shape) == rank and source.shape[axis] == value.shape[axis]:
                    count = gcd(count, _outer_extent(source, axis) if _is_whole(source, axis) else count)
            last = axis == rank - 1 and not any(a == axis for a, _ in value.tensor_type.layout.blocks)
            counts.append(1 if last else count)
        while counts and counts[-1] == 1:
            counts.pop()
        return tuple(counts)

    def emit(self, geometry: Geometry, emitter: Emitter, *, threads: bool) -> KernelDefinition:
        """The kernel.

        Args:
            geometry: of the rows.
            emitter: settings of the loop nests.
            threads: whether loops may run in parallel.

        Raises:
            NotInRows: the geometry does not fit the way the stages are read.
        """
        from tvm import tirx

        self._scratch = []
        total = product(geometry)
        if total == 1:
            whole = Emitter(emitter.vector_bytes, (), threads, emitter.lanes_scale, emitter.accumulators)
            body = self._row((), (), whole, on_stack=not threads)
        else:
            body = self._rows(geometry, emitter, threads)
        parameters = [*self.inputs, *(buffer for _, _, buffer in self.outputs), *self._scratch]
        function = tirx.PrimFunc(parameters, body).with_attr("tirx.noalias", True)
        sizes = tuple(int(b.shape[0]) * item_bytes(str(b.dtype)) for b in self._scratch)
        return KernelDefinition(function, scratch_bytes=sizes)

    def _rows(self, geometry: Geometry, emitter: Emitter, threads: bool) -> Stmt:
        from tvm import tirx

        if threads:
            total = product(geometry)
            row = tirx.Var("row", loops.INDEX)
            rest: Any = row
            tile: list[Any] = []
            for count in reversed(geometry):
                tile.insert(0, 0 if count == 1 else rest % count if len(tile) + 1 < len(geometry) else rest)
                rest = rest // count if count > 1 else rest
            inner = self._row(geometry, tuple(tile), emitter.inside(((row, total),)), on_stack=True, row=row)
            return tirx.For(row, loops.constant(0), loops.constant(total), tirx.ForKind.PARALLEL, inner)
        variables = [(tirx.Var(f"row{i}", loops.INDEX), count) for i, count in enumerate(geometry)]
        live = tuple((var, count) for var, count in variables if count > 1)
        tile_indices = tuple(var if count > 1 else 0 for var, count in variables)
        body = self._row(geometry, tile_indices, emitter.inside(live), on_stack=True)
        for var, count in reversed(live):
            body = tirx.For(var, loops.constant(0), loops.constant(count), tirx.ForKind.SERIAL, body)
        return body

    def _row(
        self, geometry: Geometry, tile: Sequence[Any], emitter: Emitter, *, on_stack: bool, row: Any = None
    ) -> Stmt:
        """All stages and outputs of one tile."""
        parts: list[Stmt] = []
        room = STACK_BYTES if on_stack else 0
        for stage in self.stages:
            extents = [extent // _count(geometry, axis) for axis, extent in enumerate(stage.shape)]
            origin = [_times(index, extents[axis]) for axis, index in enumerate(tile[: len(extents)])]
            origin += [0] * (len(extents) - len(origin))
            size = product(extents)
            buffers = []
            for position, dtype in enumerate(stage.dtypes):
                needed = size * dtype.bytes
                if needed <= room:
                    buffer, allocation = loops.local(size, storage_name(dtype), f"{stage.name}{position}")
                    parts.append(allocation)
                    room -= needed
                    buffers.append((buffer, 0))
                else:
                    rows = product(geometry) if row is not None else 1
                    buffer = loops.parameter(
                        (size * rows,), storage_name(dtype), f"{stage.name}_scratch{len(self._scratch)}"
                    )
                    self._scratch.append(buffer)
                    buffers.append((buffer, 0 if row is None else row * size))
            parts.append(_stage_nest(stage, buffers, extents, origin, emitter))
            reader = _TileReader(extents, origin, emitter)
            stage.read = tuple(reader.reading(b, base, t) for (b, base), t in zip(buffers, stage.dtypes, strict=True))
        parts += [self._output_nest(*output, geometry, tile, emitter) for output in self.outputs]
        return loops.sequence(parts)

    def _output_nest(
        self,
        value: Value,
        tensor: LogicalTensor,
        buffer: Buffer,
        geometry: Geometry,
        tile: Sequence[Any],
        emitter: Emitter,
    ) -> Stmt:
        """Store one tile of an output, along the axes as they are stored."""
        kind = value.tensor_type
        rank, layout = len(value.shape), kind.layout
        stored = kind.stored_shape
        order = layout.permutation or tuple(range(rank))
        padded = [axis for axis, factor in layout.blocks if value.shape[axis] % factor]
        extents = list(stored)
        origin: list[Any] = [0] * len(stored)
        for position, axis in enumerate(order):
            extents[position] = stored[position] // _count(geometry, axis)
            if axis < len(tile):
                origin[position] = _times(tile[axis], extents[position])

        factors = self._splits(value, extents)
        divided = [part for extent, factor in zip(extents, factors, strict=True) for part in _parts(extent, factor)]

        def build(divided_indices: Sequence[Any]) -> list[Store]:
            indices = _rejoined(divided_indices, factors)
            place = tuple(_add(o, i) for o, i in zip(origin, indices, strict=True))
            logical = logical_indices(layout, rank, place)

            def inside() -> PrimExpr:
                return tensor(*logical)

            def guarded() -> PrimExpr:
                from tvm import tirx

                if not padded:
                    return inside()
                within = [tirx.convert(logical[axis]) < value.shape[axis] for axis in padded]
                return choose(tirx.all(*within), inside, lambda: immediate(0, value.dtype))

            return [Store(buffer, _flat_offset(place, stored), scoped(guarded))]

        return emitter.map(divided, build)

    def _splits(self, value: Value, extents: Sequence[int]) -> list[int]:
        """The factor by which each stored axis of a plain output is split, since an input is blocked along it."""
        factors = [1] * len(extents)
        if value.tensor_type.layout.blocks or value.tensor_type.layout.permutation:
            return factors
        for source in self.sources:
            if len(source.shape) == len(value.shape):
                for axis, factor in source.tensor_type.layout.blocks:
                    if source.shape[axis] == value.shape[axis] and extents[axis] % factor == 0:
                        factors[axis] = factor
        return factors


def _parts(extent: int, factor: int) -> tuple[int, ...]:
    return (extent,) if factor == 1 else (extent // factor, factor)


def _rejoined(indices: Sequence[Any], factors: Sequence[int]) -> list[Any]:
    rest = iter(indices)
    return [next(rest) if factor == 1 else _add(_times(next(rest), factor), next(rest)) for factor in factors]


def _stage_nest(
    stage: Stage, buffers: Sequence[tuple[Buffer, Any]], extents: Sequence[int], origin: Sequence[Any], emitter: Emitter
) -> Stmt:
    def place(indices: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(_add(o, i) for o, i in zip(origin, indices, strict=True))

    def stores(indices: Sequence[Any], values: Elements) -> list[Store]:
        offset = _flat_offset(indices, extents)
        return [Store(b, _add(base, offset), v) for (b, base), v in zip(buffers, values, strict=True)]

    if stage.combiner is None:
        return emitter.map(extents, lambda i: stores(i, scoped_all(lambda: stage.body(place(i), ()), lambda v: v)))
    return emitter.reduce(
        extents,
        stage.extents,
        lambda own, over: stage.body(place(own), over),
        stage.combiner,
        [dtype.numpy_name for dtype in stage.dtypes],
        stores,
    )


class _TileReader:
    """Reads the tile of a stage that lies in a buffer, and checks that nothing else is read."""

    def __init__(self, extents: Sequence[int], origin: Sequence[Any], emitter: Emitter) -> None:
        self.extents = extents
        self.origin = origin
        self.whole = all(isinstance(o, int) for o in origin)

    def reading(self, buffer: Buffer, base: Any, dtype: DType) -> Any:
        def element(*indices: Any) -> PrimExpr:
            local = [_minus(i, o) for i, o in zip(indices, self.origin, strict=True)]
            if not self.whole:
                self._check(local)
            local = [0 if extent == 1 else index for index, extent in zip(local, self.extents, strict=True)]
            offset = joined(_add(base, _flat_offset(local, self.extents)))
            return loaded(read(buffer, offset, dtype.bytes), dtype)

        return element

    def _check(self, local: Sequence[Any]) -> None:
        from tvm import tirx

        analyzer = current_analyzer()
        if analyzer is None:
            return
        for index, extent, start in zip(local, self.extents, self.origin, strict=True):
            if isinstance(start, int):
                continue
            simplified = analyzer.simplify(tirx.convert(index))
            bound = analyzer.const_int_bound(simplified)
            inside = int(bound.min_value) >= 0 and int(bound.max_value) < extent
            if _mentions(simplified, start) or not inside:
                raise NotInRows(f"index {simplified} does not stay in its tile of {extent}")


def _mentions(expression: Any, start: Any) -> bool:
    """Whether an index still depends on where the tile starts."""
    from tvm import sym

    variables = _variables(start)
    if not variables:
        return False
    found = list(sym.detect_linear_equation(expression, variables))
    if not found:
        return True
    analyzer = sym.Analyzer()
    return any(not analyzer.can_prove_equal(coefficient, 0) for coefficient in found[:-1])


def _variables(expression: Any) -> list[Any]:
    """The loop variables of a tile's origin, which is built from them by `*`, `//` and `%` with constants."""
    from tvm import tirx

    if isinstance(expression, tirx.Var):
        return [expression]
    if isinstance(expression, int | tirx.IntImm):
        return []
    return [var for child in (expression.a, expression.b) for var in _variables(child)]


def read_input(value: Value, buffer: Buffer) -> LogicalTensor:
    """An input of the group, read from its flat buffer."""
    kind = value.tensor_type
    stored = kind.stored_shape

    def element(*indices: Any) -> PrimExpr:
        place = stored_indices(kind.layout, indices)
        offset = joined(_flat_offset([0 if n == 1 else i for i, n in zip(place, stored, strict=True)], stored))
        return loaded(read(buffer, offset, value.dtype.bytes), value.dtype)

    return LogicalTensor(value.shape, value.dtype, element)


def storage_name(dtype: DType) -> str:
    """TIR's type for elements in memory: bools are bytes, bfloat16 the upper half of an f32."""
    return {"bool": "uint8", "bf16": "uint16"}.get(dtype.name, dtype.numpy_name)


def loaded(element: PrimExpr, dtype: DType) -> PrimExpr:
    """An element from memory as the type that expressions use."""
    from tvm import tirx

    if dtype.name == "bf16":
        return tirx.reinterpret("float32", tirx.shift_left(element.astype("uint32"), tirx.const(16, "uint32")))
    return tirx.Cast("bool", element) if dtype.name == "bool" else element


def _flat(value: Value, name: str) -> Buffer:
    return loops.parameter((product(value.tensor_type.stored_shape),), storage_name(value.dtype), name)


def _flat_offset(indices: Sequence[Any], extents: Sequence[int]) -> Any:
    from tvm import tirx

    offset: Any = 0
    for index, extent in zip(indices, extents, strict=True):
        offset = _add(_times(offset, extent), index)
    return tirx.convert(offset)


def joined(offset: PrimExpr) -> PrimExpr:
    """An offset with `x // n * n + x % n` as `x`: neighbours along merged axes are seen to be neighbours in memory."""
    from tvm import sym

    return sym.Analyzer().simplify(offset) if _has_remainder(offset) else offset


def _has_remainder(offset: Any) -> bool:
    from tvm import tirx

    if isinstance(offset, tirx.FloorMod):
        return True
    return any(_has_remainder(getattr(offset, side)) for side in ("a", "b") if hasattr(offset, side))


def _is_whole(value: Value, axis: int) -> bool:
    return all(
        value.shape[axis] % factor == 0 for blocked, factor in value.tensor_type.layout.blocks if blocked == axis
    )


def _outer_extent(value: Value, axis: int) -> int:
    extent = value.shape[axis]
    for blocked, factor in value.tensor_type.layout.blocks:
        if blocked == axis:
            extent = -(-extent // factor) if extent % factor == 0 else 1
    return extent


def _count(geometry: Geometry, axis: int) -> int:
    return geometry[axis] if axis < len(geometry) else 1


def _times(index: Any, factor: int) -> Any:
    return index if factor == 1 or (isinstance(index, int) and index == 0) else index * factor


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, int) and left == 0:
        return right
    return left if isinstance(right, int) and right == 0 else left + right


def _minus(left: Any, right: Any) -> Any:
    return left if isinstance(right, int) and right == 0 else left - right
