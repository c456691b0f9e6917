"""What each step of an artifact takes beside what it should take: measured times joined with facts of the compile.

Computational efficiency is ideal time over real time, with the ideal time the FLOPs at the machine's peak (Lavin, "On
the Efficiency of Convolutional Neural Networks", 2024). A convolution counts as a direct one, padding included, so
that a kernel with fewer multiplications may exceed 100%.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from optc.errors import OptcError
from optc.runtime.library import StepTime
from optc.runtime.loaded import Artifact
from optc.targets.target import Target

_BUDGET_SECONDS = 1.0
_FEWEST_RUNS, _MOST_RUNS = 5, 100

T = TypeVar("T")


@dataclass(frozen=True)
class Machine:
    """What a profile measures against.

    Attributes:
        peak_flops: FLOP/s by element type (`f32` …), of all threads in use together.
        basis: where the peak comes from, for people.
        threads: of a run.
    """

    peak_flops: Mapping[str, float]
    basis: str
    threads: int

    @staticmethod
    def of(target: Target, threads: int) -> Machine:
        """A target on `threads` threads; those beyond its cores add nothing."""
        used = max(1, min(threads, target.cores))
        peaks = {dtype: peak * used for dtype, peak in target.peak_flops.items()}
        return Machine(peaks, target.figures.get("peak_flops", ""), threads)

    def peak(self, dtype: str | None) -> float:
        """FLOP/s for an element type; that of f32 where a type has none of its own."""
        return self.peak_flops.get(dtype or "f32") or self.peak_flops["f32"]


@dataclass(frozen=True)
class Step:
    """One step of the program: times in seconds, of one run.

    Attributes:
        index: its position in the program, from 0.
        label: the names of the model's nodes.
        symbol: the kernel, the fallback file, or `copy`.
        template: of the kernel; `copy` or `onnxruntime` for other steps.
        operations: what it computes, by name.
        flops: floating-point operations.
        bytes: read and written outside the step.
        calls: executions in a run: 0 for a branch that was not taken.
        seconds: measured.
        ideal_seconds: the FLOPs at the machine's peak.
        predicted_seconds: by the cost model; None where it did not price the step.
    """

    index: int
    label: str
    symbol: str
    template: str
    operations: tuple[str, ...]
    flops: int
    bytes: int
    calls: int
    seconds: float
    ideal_seconds: float
    predicted_seconds: float | None

    @property
    def efficiency(self) -> float | None:
        """Ideal over real time; None for a step without arithmetic, or that did not run."""
        return self.ideal_seconds / self.seconds if self.flops and self.seconds else None

    @property
    def flops_per_second(self) -> float:
        return self.flops / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_second(self) -> float:
        return self.bytes / self.seconds if self.seconds else 0.0

    @property
    def predicted_over_measured(self) -> float | None:
        if self.predicted_seconds is None or not self.seconds:
            return None
        return self.predicted_seconds / self.seconds

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the ratios included."""
        ratios = ("efficiency", "flops_per_second", "bytes_per_second", "predicted_over_measured")
        return {**vars(self), **{name: getattr(self, name) for name in ratios}}


@dataclass(frozen=True)
class Profile:
    """The steps of a model in program order, and the whole of it.

    Attributes:
        name: of the model.
        machine: what the efficiency refers to.
        runs: that were timed; times are means of the middle half of them.
        latency: seconds of one run from outside, while nothing is profiled.
        predicted_threads: that the predictions are for.
        steps: every step, also those that did not run.
    """

    name: str
    machine: Machine
    runs: int
    latency: float
    predicted_threads: int
    steps: tuple[Step, ...]

    @property
    def executed(self) -> tuple[Step, ...]:
        """The steps that ran."""
        return tuple(step for step in self.steps if step.calls and step.seconds)

    @property
    def total(self) -> Step:
        """All executed steps as one; its prediction leaves out what has none."""
        steps = self.executed
        predicted = [step.predicted_seconds for step in steps if step.predicted_seconds is not None]
        return Step(
            index=len(self.steps),
            label=f"{len(steps)} steps",
            symbol="",
            template="",
            operations=tuple(name for step in steps for name in step.operations),
            flops=sum(step.flops for step in steps),
            bytes=sum(step.bytes for step in steps),
            calls=sum(step.calls for step in steps),
            seconds=sum(step.seconds for step in steps),
            ideal_seconds=sum(step.ideal_seconds for step in steps),
            predicted_seconds=sum(predicted) if predicted else None,
        )

    @property
    def predicted_over_measured(self) -> float | None:
        """For the steps that the cost model priced, together."""
        priced = [step for step in self.executed if step.predicted_seconds is not None]
        predicted = sum(step.predicted_seconds or 0.0 for step in priced)
        return predicted / sum(step.seconds for step in priced) if priced else None

    @property
    def overhead(self) -> float:
        """Seconds of a run outside all steps; below zero where the clock or the machine was unsteady."""
        return self.latency - self.total.seconds

    @property
    def efficiency(self) -> float:
        """Ideal time of all steps over the latency."""
        return self.total.ideal_seconds / self.latency

    def to_dict(self) -> dict[str, Any]:
        """Plain data in program order."""
        total = self.total
        return {
            "name": self.name,
            "threads": self.machine.threads,
            "runs": self.runs,
            "peak_flops": dict(self.machine.peak_flops),
            "peak_basis": self.machine.basis,
            "latency": self.latency,
            "steps_seconds": total.seconds,
            "overhead": self.overhead,
            "efficiency": self.efficiency,
            "steps_efficiency": total.efficiency,
            "flops": total.flops,
            "bytes": total.bytes,
            "predicted_seconds": total.predicted_seconds,
            "predicted_over_measured": self.predicted_over_measured,
            "predicted_threads": self.predicted_threads,
            "steps": [step.to_dict() for step in self.steps],
        }


def join(times: Sequence[StepTime], facts: Sequence[Mapping[str, Any]], machine: Machine) -> tuple[Step, ...]:
    """Put times of one run beside the facts that the compiler recorded, step by step.

    Args:
        times: in program order.
        facts: the same steps as `plan.json` describes them.
        machine: what the ideal time refers to.

    Raises:
        OptcError: the two do not describe the same steps.
    """
    if [(item.label, item.symbol) for item in times] != [(item.get("label"), item.get("symbol")) for item in facts]:
        why = f"it describes {len(facts)} steps, and {len(times)} run" if len(facts) != len(times) else None
        raise OptcError("the artifact does not say what its steps compute", why=why, hint="compile the model again")
    try:
        return tuple(_step(index, *pair, machine) for index, pair in enumerate(zip(times, facts, strict=True)))
    except KeyError as fault:
        hint = "compile the model again"
        raise OptcError(
            "the artifact does not say what its steps compute", why=f"a step lacks {fault}", hint=hint
        ) from fault


def _step(index: int, item: StepTime, facts: Mapping[str, Any], machine: Machine) -> Step:
    return Step(
        index=index,
        label=item.label,
        symbol=item.symbol,
        template=facts["template"],
        operations=tuple(facts["operations"]),
        flops=facts["flops"],
        bytes=facts["bytes"],
        calls=item.calls,
        seconds=item.seconds,
        ideal_seconds=facts["flops"] / machine.peak(facts["dtype"]),
        predicted_seconds=facts["predicted_seconds"],
    )


def measure(artifact: Artifact, inputs: Mapping[str, Any], target: Target, runs: int | None = None) -> Profile:
    """Profile an artifact on its own threads.

    Each round times one run from outside and one from inside, so that both see the same machine. Then each kind keeps
    the middle half of its runs by their whole time, and averages: the steps' times still add up to the run's.

    Args:
        artifact: loaded.
        inputs: as for `Artifact.run`.
        target: the machine that runs it.
        runs: rounds; None for about a second of them, at least 5.

    Raises:
        OptcError: the artifact does not say what its steps compute, or a kernel fails.
    """
    machine = Machine.of(target, artifact.threads)
    artifact.run(inputs)
    rounds = runs or max(_FEWEST_RUNS, min(_MOST_RUNS, int(_BUDGET_SECONDS / _timed(artifact, inputs))))
    latencies: list[float] = []
    profiled: list[list[StepTime]] = []
    for _ in range(rounds):
        profiled.append(artifact.profile(inputs, runs=1))
        latencies.append(_timed(artifact, inputs))
    profiled = middle_half(profiled, lambda times: sum(item.seconds for item in times))
    times = [
        replace(each[0], seconds=statistics.fmean(item.seconds for item in each))
        for each in zip(*profiled, strict=True)
    ]
    return Profile(
        name=artifact.path.name,
        machine=machine,
        runs=rounds,
        latency=statistics.fmean(middle_half(latencies)),
        predicted_threads=artifact.decisions.get("threads", machine.threads),
        steps=join(times, artifact.decisions.get("steps", ()), machine),
    )


def middle_half(runs: Sequence[T], key: Callable[[T], Any] | None = None) -> list[T]:
    """The runs from the first to the third quartile by `key`, in rising order; at least one."""
    ordered = sorted(runs, key=key)  # type: ignore[type-var,arg-type]
    cut = len(ordered) // 4
    return ordered[cut : len(ordered) - cut]


def _timed(artifact: Artifact, inputs: Mapping[str, Any]) -> float:
    start = time.perf_counter()
    artifact.run(inputs)
    return time.perf_counter() - start
