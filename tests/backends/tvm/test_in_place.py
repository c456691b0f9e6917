"""What may be overwritten is proven from the loops: an access in another place or order refuses the pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from optc.backends.tvm import loops
from optc.backends.tvm.in_place import in_place_pairs

EXTENT = 48


def function_of(body: Callable[[Any, Any, Any], Any]) -> Any:
    """A kernel of two operands and a result, each of EXTENT floats."""
    from tvm import tirx

    buffers = [loops.parameter((EXTENT,), "float32", name) for name in ("a", "b", "out")]
    return tirx.PrimFunc(buffers, body(*buffers))


def plain(a: Any, b: Any, out: Any) -> Any:
    return loops.serial(EXTENT, lambda i: loops.store(out, a[i] + b[i], (i,)))


def tiles(a: Any, b: Any, out: Any) -> Any:
    def tile(row: Any) -> Any:
        return loops.vectorized(16, lambda lane: loops.store(out, a[row * 16 + lane] + b[0], (row * 16 + lane,)))

    return loops.parallel(EXTENT // 16, tile)


def with_guard(a: Any, b: Any, out: Any) -> Any:
    from tvm import tirx

    def tile(row: Any) -> Any:
        def element(i: Any) -> Any:
            place = row * 20 + i
            return tirx.IfThenElse(place < EXTENT, loops.store(out, a[place] * b[place], (place,)), None)

        return loops.serial(20, element)

    return loops.serial(3, tile)


def split_and_joined(a: Any, b: Any, out: Any) -> Any:
    """One place, written in two ways."""
    return loops.serial(EXTENT, lambda i: loops.store(out, a[i // 7 * 7 + i % 7] + b[i // 7 * 7 + i % 5], (i,)))


def neighbour(a: Any, b: Any, out: Any) -> Any:
    return loops.serial(EXTENT, lambda i: loops.store(out, a[EXTENT - 1 - i] + b[i], (i,)))


def twice(a: Any, b: Any, out: Any) -> Any:
    """The last tile begins early, so that some elements are stored twice."""

    def tile(start: int) -> Any:
        return loops.serial(20, lambda i: loops.store(out, a[start + i] + b[i], (start + i,)))

    return loops.sequence([tile(0), tile(20), tile(EXTENT - 20)])


def accumulating(a: Any, b: Any, out: Any) -> Any:
    fill = loops.serial(EXTENT, lambda i: loops.store(out, b[i], (i,)))
    return loops.sequence([fill, loops.serial(EXTENT, lambda i: loops.store(out, out[i] + a[i], (i,)))])


def deciding(a: Any, b: Any, out: Any) -> Any:
    from tvm import tirx

    def element(i: Any) -> Any:
        return tirx.IfThenElse(
            a[0] > loops.constant(0, "float32"), loops.store(out, a[i], (i,)), loops.store(out, b[i], (i,))
        )

    return loops.serial(EXTENT, element)


def by_pointer(a: Any, b: Any, out: Any) -> Any:
    """What is read through an address does not show."""
    from tvm import tirx

    def element(i: Any) -> Any:
        return loops.store(out, a[i] + tirx.call_intrin("float32", "tirx.address_of", b[i]), (i,))

    return loops.serial(EXTENT, element)


@pytest.mark.parametrize(
    ("body", "pairs"),
    [
        (plain, ((0, 0), (1, 0))),
        (tiles, ((0, 0),)),
        (with_guard, ((0, 0), (1, 0))),
        (split_and_joined, ((0, 0),)),
        (neighbour, ((1, 0),)),
        (twice, ()),
        (accumulating, ()),
        (deciding, ()),
        (by_pointer, ()),
    ],
)
def test_pairs(body: Callable[[Any, Any, Any], Any], pairs: tuple[tuple[int, int], ...]) -> None:
    loops.load_tvm()
    assert in_place_pairs(function_of(body), 2, 1) == pairs


def test_another_type_or_shape_is_never_overwritten() -> None:
    loops.load_tvm()
    from tvm import tirx

    a = loops.parameter((EXTENT,), "int32", "a")
    b = loops.parameter((EXTENT, 1), "float32", "b")
    out = loops.parameter((EXTENT,), "float32", "out")
    body = loops.serial(EXTENT, lambda i: loops.store(out, b[i, 0] + a[i].astype("float32"), (i,)))
    assert in_place_pairs(tirx.PrimFunc([a, b, out], body), 2, 1) == ()
