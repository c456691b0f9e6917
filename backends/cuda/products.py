"""Contractions as products of two sides: rows by columns, summed over k, for each batch.

Columns are what lies next to each other in the result: the pixels of a convolution (whose rows are channels), the
right operand's columns of a matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from optc.backends.cuda.coded import Coded, coded_operand
from optc.backends.cuda.packing import TILES_WITH_SUMS
from optc.backends.cuda.sides import Name, Read
from optc.backends.tvm import loops
from optc.backends.tvm.fused import FusedContraction
from optc.backends.tvm.group import Group
from optc.backends.tvm.packing import Packing, Step
from optc.backends.tvm.templates.gemm import broadcast_indices
from optc.backends.tvm.templates.window import axes_of
from optc.ir.core import Operation, Value
from optc.ops.shapes import integer

_SPAN = 16  # the most neighbours that one load takes: 16 bytes


@dataclass(frozen=True)
class Extents:
    """Of a product: `steps` tiles along k, the last ones of each tap filled up with zeros."""

    batch: int
    rows: int
    columns: int
    steps: int


@dataclass(frozen=True)
class Constant:
    """A side that is packed ahead of time.

    Attributes:
        index: of the group's input.
        order: for a depth of tiles, the steps that turn it into (batch, k, rows or columns).
    """

    index: int
    order: Callable[[int], tuple[Step, ...]]

    def packing(self, width: int, depth: int, *, inner_k: bool, summed: bool = False) -> Packing:
        """Tiles of `width` by `depth`, each in one piece, as [tile][batch][tile along k]; `summed`: see `packing`."""
        if summed:
            assert inner_k
            return Packing((*self.order(depth), (TILES_WITH_SUMS, (depth, width))))
        last = (3, 0, 1, 4, 2) if inner_k else (3, 0, 1, 2, 4)
        return Packing((*self.order(depth), ("block", (1, depth)), ("block", (3, width)), ("transpose", last)))


@dataclass(frozen=True)
class Side:
    """One operand.

    Attributes:
        value: what it is.
        zero: its zero point; None where that is 0.
        constant: how it is packed, when it is constant and has no zero point.
        read: for tiles of a given depth along k, and whether integers stay bytes or become 32 bits less the zero point.
        coded: how it is coded, when it is made of constant codes of a few bits.
    """

    value: Value
    zero: Value | None
    constant: Constant | None
    read: Callable[[FusedContraction, int, bool], Read]
    coded: Coded | None = None


@dataclass(frozen=True)
class Product:
    """A contraction.

    Attributes:
        extents: for a depth of tiles along k.
        rows: the side of the rows.
        columns: the side of the columns.
        indices: of the contraction's element, from variables z, r and c.
        finish: what is added to a sum, given the sum and the element's indices.
        macs: products that are summed.
    """

    extents: Callable[[int], Extents]
    rows: Side
    columns: Side
    indices: Callable[[Any, Any, Any], tuple[Any, ...]]
    finish: Callable[[FusedContraction, Any, Sequence[Any]], Any]
    macs: int


def product_of(group: Group) -> Product | str:
    """The product that a group is built around, or why there is none."""
    anchor = group.anchor
    if anchor is None:
        return "no contraction"
    make = _PRODUCTS.get(anchor.name)
    return f"{anchor.name} is no tiled product" if make is None else make(group, anchor)


def _constant(group: Group, value: Value) -> bool:
    return value.owner is group.body and value.index in group.constants and len(value.uses) == 1


def _conv(group: Group, conv: Operation) -> Product | str:
    data, weight = conv.operands[0], conv.operands[1]
    assert data is not None and weight is not None
    result = conv.results[0]
    axes, groups = axes_of(conv), integer(conv, "group", 1)
    out, inner, taps = result.shape[1] // groups, weight.shape[1], math.prod(weight.shape[2:])
    if groups > 1 and out < 4:
        return "too few channels in a group"
    images, pixels = result.shape[0], math.prod(result.shape[2:])
    bytewise = conv.name == "onnx.ConvInteger"
    data_zero, weight_zero = map(_zero, (conv.operand(2), conv.operand(3)) if bytewise else (None, None))

    def flat(depth: int) -> bool:
        """Whether taps and channels are counted as one: where single taps would be filled up by much."""
        return taps > 1 and -(-inner // depth) * depth > 1.15 * inner

    def extents(depth: int) -> Extents:
        steps = -(-inner * taps // depth) if flat(depth) else taps * -(-inner // depth)
        return Extents(groups, out, images * pixels, steps)

    def steps(depth: int) -> list[Name]:
        kernel = weight.shape[2:]
        if flat(depth):
            names = [Name("k", f"tile * {depth} + kk", inner * taps)]
            rest = f"k % {taps}"
            names.append(Name("c", f"k / {taps}", inner))
        else:
            tiles = -(-inner // depth)
            rest = f"tile / {tiles}"
            names = []
        for axis in range(len(kernel)):
            below = math.prod(kernel[axis + 1 :])
            text = f"{rest} / {below} % {kernel[axis]}" if axis else f"{rest} / {below}"
            names.append(Name(f"t{axis}", text, kernel[axis]))
        if not flat(depth):
            names.append(Name("c", f"tile % {-(-inner // depth)} * {depth} + kk", inner))
        return names

    def channels(fused: FusedContraction, depth: int, bytes: bool) -> Read:
        names = [Name("g", "z", groups), Name("r", "w", out)]

        def element(v: Any) -> Any:
            taps_at = [v[f"t{axis}"] for axis in range(len(axes))]
            channel = v["g"] * out + v["r"]
            return _less(fused, weight, (channel, v["c"], *taps_at), weight_zero, (channel,), bytes)

        guards = ["k < " + str(inner * taps)] if flat(depth) else [f"c < {inner}"]
        return Read(out, names, steps(depth), guards, element, runs=not flat(depth))

    def pixels_read(fused: FusedContraction, depth: int, bytes: bool) -> Read:
        names = [Name("g", "z", groups), Name("n", f"w / {pixels}", images)]
        moved, guards = [], ["k < " + str(inner * taps)] if flat(depth) else [f"c < {inner}"]
        for number, axis in enumerate(axes):
            below = math.prod(each.out for each in axes[number + 1 :])
            count = f" % {axis.out}" if number or images > 1 else ""
            position = f"w / {below}{count}" if below > 1 else f"w{count}"
            names.append(Name(f"o{number}", position, axis.out))
            before = f" - {axis.before}" if axis.before else ""
            moved.append(
                Name(f"i{number}", f"o{number} * {axis.stride} + t{number} * {axis.dilation}{before}", axis.data)
            )
            if axis.before:
                guards.append(f"i{number} >= 0")
            if axis.reads(axis.out - 1, axis.kernel - 1) >= axis.data:
                guards.append(f"i{number} < {axis.data}")

        def element(v: Any) -> Any:
            place = [v[f"i{axis}"] for axis in range(len(axes))]
            return _less(fused, data, (v["n"], v["g"] * inner + v["c"], *place), data_zero, (), bytes)

        point = taps == 1 and all(a.stride == 1 and a.before == 0 and a.out == a.data for a in axes)
        span = math.gcd(pixels, _SPAN) if point else 1
        if point:  # the spatial axes are one
            names = [*names[:2], Name("p", f"w % {pixels}" if images > 1 else "w", pixels)]
            moved = []
            wide = element

            def element(v: Any) -> Any:
                places, rest = {}, v["p"]
                for axis in reversed(range(1, len(axes))):
                    places[f"i{axis}"], rest = rest % axes[axis].data, rest // axes[axis].data
                return wide({**v, **places, "i0": rest})

        along = steps(depth)
        # The last name is the one that runs along k.
        ordered = [*along, *moved] if flat(depth) else [*along[:-1], *moved, along[-1]]
        fill, runs = _fill(fused, data_zero, bytes), not flat(depth)
        return Read(images * pixels, names, ordered, guards, element, span, math.gcd(inner, _SPAN), fill, runs)

    def order(depth: int) -> tuple[Step, ...]:
        if flat(depth):
            return (("reshape", (groups, out, -1)), ("transpose", (0, 2, 1)))
        filled = -(-inner // depth) * depth
        return (("reshape", (groups, out, inner, -1)), ("pad", (0, 0, filled, 0)), ("transpose", (0, 3, 2, 1)),
                ("reshape", (groups, taps * filled, out)))  # fmt: skip

    def indices(z: Any, r: Any, c: Any) -> tuple[Any, ...]:
        places: list[Any] = []
        for axis in reversed(axes):
            places.insert(0, 0 if axis.out == 1 else c % axis.out)
            c = c // axis.out if axis.out > 1 else c
        return (0 if images == 1 else c, r if groups == 1 else z * out + r, *places)

    def finish(fused: FusedContraction, total: Any, place: Sequence[Any]) -> Any:
        bias = None if bytewise else fused.optional(conv.operand(2))
        return total if bias is None else total + bias(place[1]).astype(str(total.ty))

    packed = _constant(group, weight) and weight_zero is None
    rows = Side(weight, weight_zero, Constant(weight.index, order) if packed else None, channels)
    macs = math.prod(result.shape) * inner * taps
    return Product(extents, rows, Side(data, data_zero, None, pixels_read), indices, finish, macs)


def _less(
    fused: FusedContraction, value: Value, place: Any, zero: Value | None, zero_place: Any, bytes: bool
) -> Any:
    """An element less its zero point, where it has one; integers as 32 bits, or with `bytes` as they are."""
    element = fused.tensor(value)(*place)
    if value.dtype.is_float or bytes:
        return element
    element = element.astype("int32")
    if zero is None:
        return element
    single = all(extent == 1 for extent in zero.shape)
    return element - fused.tensor(zero)(*((0,) * len(zero.shape) if single else zero_place)).astype("int32")


def _fill(fused: FusedContraction, zero: Value | None, bytes: bool) -> Any:
    """What stands for elements that are not there: the byte whose products are taken back, or 0."""
    return fused.tensor(zero)(*(0,) * len(zero.shape)) if bytes and zero is not None else None


def _zero(value: Value | None) -> Value | None:
    """A zero point, unless it is absent or known to be 0."""
    known = None if value is None else value.constant
    return None if known is not None and not known.any() else value


def _matmul(group: Group, product: Operation) -> Product | str:
    left, right = product.operands[0], product.operands[1]
    assert left is not None and right is not None
    result = product.results[0]
    if min(len(left.shape), len(right.shape)) < 2:
        return "an operand is a vector"
    across, turned = (bool(product.attributes.get(name, 0)) for name in ("transA", "transB"))
    bytewise = product.name == "onnx.MatMulInteger"
    zeros = tuple(map(_zero, (product.operand(2), product.operand(3)) if bytewise else (None, None)))
    depth_extent = left.shape[-2 if across else -1]
    lead = result.shape[:-2]
    rows, columns = result.shape[-2:]
    joined = len(right.shape) == 2 and not across and lead
    if joined:  # one matrix for the whole batch
        rows, lead = rows * math.prod(lead), ()
    batch = math.prod(lead)

    def batch_names() -> list[Name]:
        names = []
        for axis, extent in enumerate(lead):
            below = math.prod(lead[axis + 1 :])
            names.append(Name(f"b{axis}", f"z / {below} % {extent}" if axis else f"z / {below}", extent))
        return names

    def operand(value: Value, leading: Sequence[Any], tail: Sequence[Any]) -> tuple[Any, ...]:
        outer = value.shape[:-2]
        own = leading[len(leading) - len(outer) :]
        return (*(0 if extent == 1 else index for extent, index in zip(outer, own, strict=True)), *tail)

    def split_row(row: Any) -> tuple[list[Any], Any]:
        """The leading indices and the row of a row that counts them all."""
        if not joined:
            return [], row
        leading: list[Any] = []
        extents = [*result.shape[:-2], result.shape[-2]]
        for extent in reversed(extents[1:]):
            leading.insert(0, row % extent)
            row = row // extent
        return [row, *leading[:-1]], leading[-1]

    def row_read(fused: FusedContraction, depth: int, bytes: bool) -> Read:
        def element(v: Any) -> Any:
            leading, row = split_row(v["r"])
            leading = leading or [v[f"b{axis}"] for axis in range(len(lead))]
            tail = (v["k"], row) if across else (row, v["k"])
            return _less(fused, left, operand(left, leading, tail), zeros[0], (row,), bytes)

        names = [*batch_names(), Name("r", "w", rows)]
        return Read(rows, names, _k(depth, depth_extent), [f"k < {depth_extent}"], element,
                    math.gcd(rows, _SPAN), math.gcd(depth_extent, _SPAN), _fill(fused, zeros[0], bytes))  # fmt: skip

    def column_read(fused: FusedContraction, depth: int, bytes: bool) -> Read:
        def element(v: Any) -> Any:
            tail = (v["c"], v["k"]) if turned else (v["k"], v["c"])
            leading = [v[f"b{axis}"] for axis in range(len(lead))]
            return _less(fused, right, operand(right, leading, tail), zeros[1], (v["c"],), bytes)

        names = [*batch_names(), Name("c", "w", columns)]
        return Read(columns, names, _k(depth, depth_extent), [f"k < {depth_extent}"], element,
                    math.gcd(columns, _SPAN), math.gcd(depth_extent, _SPAN), _fill(fused, zeros[1], bytes))  # fmt: skip

    def indices(z: Any, r: Any, c: Any) -> tuple[Any, ...]:
        if joined:
            outer, row = split_row(r)
            return (*outer, row, c)
        leading: list[Any] = []
        for extent in reversed(lead):
            leading.insert(0, z % extent)
            z = z // extent
        return (*leading, r, c)

    alpha, beta = (float(product.attributes.get(name, 1.0)) for name in ("alpha", "beta"))  # type: ignore[arg-type]

    def finish(fused: FusedContraction, total: Any, place: Sequence[Any]) -> Any:
        kind = str(total.ty)
        value = total if alpha == 1.0 else total * loops.constant(alpha, kind)
        added = None if bytewise else fused.optional(product.operand(2))
        if added is None:
            return value
        term = added(*broadcast_indices(added.shape, tuple(place))).astype(kind)
        return value + (term if beta == 1.0 else term * loops.constant(beta, kind))

    constant = None
    if len(right.shape) == 2 and batch == 1 and _constant(group, right) and zeros[1] is None:
        first: tuple[Step, ...] = (("transpose", (1, 0)),) if turned else ()
        constant = Constant(right.index, lambda depth: (*first, ("reshape", (1, depth_extent, columns))))

    def extents(depth: int) -> Extents:
        return Extents(batch, rows, columns, -(-depth_extent // depth))

    macs = math.prod(result.shape) * depth_extent
    coded = coded_operand(group, right, turned=turned) if len(right.shape) == 2 and batch == 1 else None
    sides = Side(left, zeros[0], None, row_read), Side(right, zeros[1], constant, column_read, coded)
    return Product(extents, *sides, indices, finish, macs)


def _k(depth: int, extent: int) -> list[Name]:
    return [Name("k", f"tile * {depth} + kk", extent)]


_PRODUCTS: dict[str, Callable[[Group, Operation], Product | str]] = {
    "onnx.Conv": _conv,
    "onnx.ConvInteger": _conv,
    "onnx.MatMul": _matmul,
    "onnx.Gemm": _matmul,
    "onnx.MatMulInteger": _matmul,
}
