"""Let a result take the place of an operand that dies with it, where the kernel allows that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from optc.ir.core import Value
from optc.passes.memory.storage import Place, Storage


@dataclass(frozen=True)
class Use:
    """One step.

    Attributes:
        values: that it reads or writes; one that it reads twice stands there twice.
        pairs: (operand, result): the kernel may be called with both at one address.
    """

    values: tuple[Value, ...]
    pairs: tuple[tuple[Value, Value], ...] = ()


def overwrite_dying(storage: Storage, steps: Sequence[Use], outputs: Iterable[Value]) -> list[tuple[Value, Value]]:
    """Place results on operands that nothing reads later, so that never more bytes are live than before.

    Both must fill their storage: then the two lifetimes become one of the same size. What has to lie inside a larger
    value, as an operand of a Concat does, or in the caller's buffer, as an output does, takes the operand there, unless
    that makes the larger value live earlier.

    Args:
        storage: is changed.
        steps: in execution order.
        outputs: what the caller gets.

    Returns:
        the pairs that now share a place.
    """
    first: dict[Value, int] = {}
    last: dict[Value, int] = {}

    def touch(root: Value, time: int) -> None:
        first[root] = min(first.get(root, time), time)
        last[root] = max(last.get(root, time), time)

    for time, step in enumerate(steps):
        for value in step.values:
            touch(storage.place(value).root, time)
    outside = {storage.place(value).root for value in outputs}
    found = []
    for time, step in enumerate(steps):
        for operand, result in step.pairs:
            source, target = storage.place(operand), storage.place(result)
            if source.root is target.root or last[source.root] > time or source.root in outside:
                continue
            if source.root.producer is None or source.root.is_constant or not _fills(operand, source):
                continue
            held = Counter(storage.place(value).root for value in step.values)
            if held[source.root] > 1 or held[target.root] > 1:
                continue
            begin, end = first[source.root], last[target.root]
            if target.root not in outside and _fills(result, target) and first[target.root] == time:
                storage.put(target.root, source.root, source.offset)
                touch(source.root, end)
            elif target.root in outside or first[target.root] <= begin:
                storage.put(source.root, target.root, target.offset)
                touch(target.root, begin)
            else:
                continue
            found.append((operand, result))
    return found


def _fills(value: Value, place: Place) -> bool:
    return place.offset == 0 and value.tensor_type.bytes == place.root.tensor_type.bytes
