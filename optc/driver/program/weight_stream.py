"""Weights that do not fit into memory: which of them stay, and when a run reads the others from the artifact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from optc.backends.host.platform import POSIX, platform_of
from optc.backends.host.stream import Piece, StreamedPiece, WeightStream
from optc.costmodel.interface import Estimate
from optc.driver.options import CompileOptions
from optc.driver.program.assembly import Assembly, aligned
from optc.errors import LimitError, UsageError
from optc.passes.memory.stream_places import PlacedStream, fullest_step, least_memory, place_stream
from optc.passes.memory.streaming import Weight
from optc.program import ALIGNMENT, Branch, CopyStep, KernelCall, Location, Program, names_of, timed_steps
from optc.targets.target import Target

OPTION = "--weight-memory"


@dataclass(frozen=True)
class StreamedWeights:
    """A plan as the runtime, the artifact's decisions and its manifest state it."""

    stream: WeightStream
    plan: dict[str, Any]
    cost: dict[str, Any]


def check_weight_memory(target: Target, options: CompileOptions) -> None:
    """Check what can be known before anything is compiled.

    Raises:
        UsageError: the target cannot read weights while it runs, or another option needs all of them in memory.
    """
    if options.weight_memory is None:
        if options.storage is not None:
            raise UsageError("no weights are read while the model runs", where="--storage", hint=f"give {OPTION} too")
        return
    if platform_of(target) is not POSIX or target.llvm.get("kind") != "llvm":
        raise UsageError(
            "weights are read while the model runs only on processors under Linux or macOS",
            where=f"{OPTION} with --target {target.name}",
        )
    if options.guard_weights:
        raise UsageError(
            "weights that are not all in memory cannot be guarded",
            where=f"{OPTION} with --guard-weights",
            hint="leave out one of the two",
        )
    if options.emit:
        raise UsageError(
            "a library with the weights inside has no file to read them from",
            where=f"{OPTION} with --emit",
            hint="leave out one of the two",
        )
    if options.storage == 0:
        raise UsageError("the storage has no speed", where="--storage", hint="--storage 40M")


def plan_weights(
    assembly: Assembly, estimates: Sequence[Estimate], target: Target, options: CompileOptions
) -> StreamedWeights | None:
    """The plan for the memory that the options allow; None where they allow any, or there are no weights.

    Args:
        assembly: of the program.
        estimates: one for each kernel call, in the order of the program text.
        target: what computes.
        options: of the compile.

    Raises:
        UsageError: not every run makes the same calls.
        LimitError: a step needs more weights at once than the memory holds.
    """
    program = assembly.program
    if options.weight_memory is None:
        return None
    _check_straight(program)
    if not program.weights_bytes:
        return None
    names = [names_of(step)[0] for step in timed_steps(program)]
    regions = _regions(program)
    weights = [Weight(str(each.start), each.end - each.start, each.first, each.last) for each in regions]
    compute = _seconds(program, estimates, target)
    rate = float(options.storage or target.memory_bandwidth)
    budget = options.weight_memory // ALIGNMENT * ALIGNMENT
    least = least_memory(weights)
    if least > budget:
        step = fullest_step(len(compute), weights)
        used = sum(each.size for each in weights if each.step <= step <= each.last)
        raise LimitError(
            f"{options.weight_memory} bytes cannot hold the weights that are needed at once",
            where=OPTION,
            why=f"most are in use in {names[step]} ({used} bytes)",
            hint=f"{OPTION} {least} works",
        )
    placed = place_stream(compute, weights, budget, rate)
    return StreamedWeights(_stream(regions, placed), _plan(names, weights, placed), _cost(weights, placed, rate))


def _check_straight(program: Program) -> None:
    for step in program.steps:
        if isinstance(step, KernelCall | CopyStep):
            continue
        what = "takes one of two ways" if isinstance(step, Branch) else f"runs in onnxruntime: {step.reason}"
        raise UsageError(
            "weights are read while the model runs only where every run makes the same native calls",
            where=f"{OPTION}, {step.label}",
            why=f"this part {what}",
        )


def _locations(step: object) -> Iterator[Location]:
    if isinstance(step, KernelCall):
        yield from step.arguments
    elif isinstance(step, CopyStep):
        yield step.source


@dataclass
class _Region:
    """Bytes of the weights file that come and go together, and the first and the last step that use them."""

    start: int
    end: int
    first: int
    last: int


def _regions(program: Program) -> list[_Region]:
    """What overlaps is one, and so is what lies side by side and is used by the same steps."""
    uses: dict[tuple[int, int], list[int]] = {}
    for number, step in enumerate(timed_steps(program)):
        for place in _locations(step):
            if place.space == "weights" and place.bytes:
                start = place.offset // ALIGNMENT * ALIGNMENT
                uses.setdefault((start, aligned(place.offset + place.bytes)), []).append(number)
    regions: list[_Region] = []
    for (start, end), steps in sorted(uses.items()):
        new = _Region(start, end, min(steps), max(steps))
        before = regions[-1] if regions else None
        if before is None or new.start > before.end:
            regions.append(new)
        elif new.start < before.end or (new.first, new.last) == (before.first, before.last):
            before.end = max(before.end, new.end)
            before.first, before.last = min(before.first, new.first), max(before.last, new.last)
        else:
            regions.append(new)
    return regions


def _seconds(program: Program, estimates: Sequence[Estimate], target: Target) -> list[float]:
    kernels = iter(estimates)
    return [
        next(kernels).seconds
        if isinstance(step, KernelCall)
        else 2 * next(_locations(step)).bytes / target.memory_bandwidth
        for step in timed_steps(program)
    ]


def _stream(regions: Sequence[_Region], placed: PlacedStream) -> WeightStream:
    locked: list[Piece] = []
    for number in placed.locked:
        region = regions[number]
        piece = Piece(region.start, placed.places[number], region.end - region.start)
        before = locked[-1] if locked else None
        if before and (before.source + before.bytes, before.place + before.bytes) == (piece.source, piece.place):
            locked[-1] = Piece(before.source, before.place, before.bytes + piece.bytes)
        else:
            locked.append(piece)
    loads = []
    for load in placed.loads:
        region = regions[load.weight]
        size = region.end - region.start
        loads.append(
            StreamedPiece(region.start, placed.places[load.weight], size, region.first, load.after, load.earlier)
        )
    return WeightStream(placed.bytes, locked, loads)


def _plan(names: Sequence[str], weights: Sequence[Weight], placed: PlacedStream) -> dict[str, Any]:
    """Each load with the step that needs it, and the one whose end makes room for it, maybe of the run before."""
    return {
        "locked": [[int(weights[number].name), weights[number].size] for number in placed.locked],
        "loads": [
            {
                "offset": int(weights[load.weight].name),
                "bytes": weights[load.weight].size,
                "place": placed.places[load.weight],
                "step": names[weights[load.weight].step],
                "after": names[load.after],
                "run_before": load.earlier,
            }
            for load in placed.loads
        ],
    }


def _cost(weights: Sequence[Weight], placed: PlacedStream, rate: float) -> dict[str, Any]:
    return {
        "memory_bytes": placed.bytes,
        "locked_bytes": sum(weights[number].size for number in placed.locked),
        "streamed_bytes": sum(weights[load.weight].size for load in placed.loads),
        "predicted_seconds": placed.seconds,
        "stall_seconds": placed.stalls,
        "storage_bytes_per_second": rate,
    }
