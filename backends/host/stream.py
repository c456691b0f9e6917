"""Weights that a run reads from storage: the runtime's table of loads, and the addresses that kernels see."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from optc.errors import InternalError
from optc.program import Branch, CopyStep, FallbackCall, KernelCall, Location, Program, Step


@dataclass(frozen=True)
class Piece:
    """Bytes of the weights file and their place in memory."""

    source: int
    place: int
    bytes: int


@dataclass(frozen=True)
class StreamedPiece(Piece):
    """One that is loaded in each run.

    Attributes:
        step: the first that needs it.
        after: the step whose end makes room for it.
        earlier: that step is one of the run before.
    """

    step: int
    after: int
    earlier: bool


@dataclass(frozen=True)
class WeightStream:
    """How a program's weights come into memory.

    Attributes:
        bytes: of that memory.
        locked: pieces that are read when the model is opened, and stay.
        loads: pieces that are read in each run, in this order; by the step that needs them first.
    """

    bytes: int
    locked: Sequence[Piece]
    loads: Sequence[StreamedPiece]

    def source(self) -> str:
        """The table in C, called `stream`."""
        rows = [f"{{{each.source}, {each.place}, {each.bytes}, 0, 0}}" for each in self.locked]
        rows += [
            f"{{{each.source}, {each.place}, {each.bytes}, {each.after}, {int(each.earlier)}}}" for each in self.loads
        ]
        table = "static const optc_load stream_loads[] = {\n" + "".join(f"    {row},\n" for row in rows) + "};"
        fields = f"{{{self.bytes}, {len(self.locked)}, {len(rows)}, stream_loads}}"
        return f"{table}\n\nstatic const optc_stream_table stream = {fields};"

    def awaited(self) -> Mapping[int, int]:
        """By step: how many loads of the run must be done before it; only where it is more than for the step before."""
        return {each.step: number + 1 for number, each in enumerate(self.loads)}

    def awaiting_ends(self) -> frozenset[int]:
        """Steps whose end a load waits for."""
        return frozenset(each.after for each in self.loads)

    def placed(self, program: Program) -> Program:
        """The program with the places in memory as its offsets of weights.

        Raises:
            InternalError: a step needs weights that no piece holds, or the program has branches or regions.
        """
        pieces = sorted([*self.locked, *self.loads], key=lambda piece: piece.source)
        starts = [piece.source for piece in pieces]

        def moved(location: Location) -> Location:
            if location.space != "weights":
                return location
            if not location.bytes:
                return replace(location, offset=0)
            index = bisect_right(starts, location.offset) - 1
            within = location.offset - starts[index] if index >= 0 else 0
            if index < 0 or within + location.bytes > pieces[index].bytes:
                raise InternalError(f"no load brings the weights at {location.offset}")
            return replace(location, offset=pieces[index].place + within)

        def step(each: Step) -> Step:
            if isinstance(each, Branch | FallbackCall):
                raise InternalError("weights are streamed only where every run makes the same calls")
            if isinstance(each, KernelCall):
                return replace(each, arguments=tuple(map(moved, each.arguments)))
            assert isinstance(each, CopyStep)
            return CopyStep(moved(each.source), moved(each.destination))

        return replace(program, weights_bytes=self.bytes, steps=tuple(map(step, program.steps)))
