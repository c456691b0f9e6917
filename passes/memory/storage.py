"""Let values that are parts of others lie inside them, so that joining and dividing tensors moves nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from optc.costmodel.interface import Candidate, CostModel
from optc.ir.core import Graph, Operation, Value
from optc.ops.views import Part, parts
from optc.passes.memory.plan import ALIGNMENT
from optc.targets.target import Target


@dataclass(frozen=True)
class Place:
    """A range of the storage of `root`, which begins at the byte `offset`."""

    root: Value
    offset: int


@dataclass(frozen=True)
class Copy:
    """The bytes of `part`, which is the source or the destination as a whole, have to move after all."""

    part: Value
    source: Value
    source_offset: int
    destination: Value
    destination_offset: int

    @property
    def bytes(self) -> int:
        return self.part.tensor_type.bytes


@dataclass
class Storage:
    """Which value's storage each value lies in, and what the operations that share storage still have to copy.

    Attributes:
        copies: by operation; empty for one whose operands and results all lie in one storage.
    """

    copies: dict[Operation, tuple[Copy, ...]] = field(default_factory=dict)
    _places: dict[Value, Place] = field(default_factory=dict)

    def place(self, value: Value) -> Place:
        """Where a value lies; at the start of its own storage unless something else was decided."""
        offset = 0
        while (place := self._places.get(value)) is not None:
            value, offset = place.root, offset + place.offset
        return Place(value, offset)

    def put(self, value: Value, root: Value, offset: int) -> None:
        """Let a value that has its own storage lie in that of another one from now on."""
        self._places[value] = Place(root, offset)


def share_storage(operations: Iterable[Operation]) -> Storage:
    """Place parts inside their wholes wherever the values allow it.

    A result that is part of an operand always can lie inside it. An operand that is part of the result can where all
    of the storage that it lies in already fits there: nothing else of the result may fall into that range. So the two
    halves of a Split that are joined again with more lie where they lay, and a chain of Concats that each append to
    the last shares the buffer of the longest. Values at offsets that are not aligned, model inputs and constants, and
    what is wanted at two places are copied.

    Args:
        operations: those that have `parts` and are to be executed without a kernel, in execution order.
    """
    storage = Storage()
    for operation in operations:
        found = parts(operation)
        copies = []
        for each in found:
            if each.part.producer is operation:
                if storage.place(each.whole).offset + each.offset & ALIGNMENT - 1:
                    copies.append(Copy(each.part, each.whole, each.offset, each.part, 0))
                else:
                    storage.put(each.part, each.whole, each.offset)
            elif not _embed(storage, each, found):
                copies.append(Copy(each.part, each.part, 0, each.whole, each.offset))
        storage.copies[operation] = tuple(copies)
    return storage


def _embed(storage: Storage, part: Part, siblings: Sequence[Part]) -> bool:
    """Put the storage that an operand lies in inside the result's where possible; whether the operand lies right."""
    place = storage.place(part.part)
    if place.root is part.whole:
        return place.offset == part.offset
    root, begin = place.root, part.offset - place.offset
    if root.producer is None or root.is_constant or begin % ALIGNMENT:
        return False
    end = begin + root.tensor_type.bytes
    if begin < 0 or end > part.whole.tensor_type.bytes:
        return False
    for other in siblings:
        lies = storage.place(other.part)
        overlaps = other.offset < end and begin < other.offset + other.part.tensor_type.bytes
        if overlaps and lies != Place(root, other.offset - begin):
            return False
    storage.put(root, part.whole, begin)
    return True


def copy_seconds(copied: Sequence[Value], model: CostModel, target: Target) -> list[float]:
    """What a copy of each value's bytes costs."""
    copies = []
    for value in copied:
        source = Graph("copy").add_input(value.name, value.type)
        copies.append(Operation("onnx.Identity", (source,), (value.type,)))
    candidates = [Candidate((each,), tuple(each.present_operands), each.results) for each in copies]
    return [estimate.seconds for estimate in model.predict(candidates, target)]
