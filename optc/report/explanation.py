"""What became of a model, as one object: its kernels and choices, and where each of the user's names went."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from optc.errors import OptcError
from optc.report.profile import Profile

_DTYPE = re.compile(r"(?:tensor<(?:[^<>]*x)?)?([a-z]+[0-9]*)\b")
_ON_CODES = frozenset({"onnx.ConvInteger", "onnx.MatMulInteger"})
_LAYERS = frozenset({"onnx.Conv", "onnx.MatMul", "onnx.Gemm"})
_CODES = frozenset({"i8", "u8"})
ONNXRUNTIME, COPY = "onnxruntime", "copy"


@dataclass(frozen=True)
class Choice:
    """One way to make a kernel, with its time on one core by itself.

    Attributes:
        text: the template, and its knobs.
        predicted: seconds by the cost model; None where it priced nothing.
        measured: seconds while tuning; None where it was not run.
    """

    text: str
    predicted: float | None
    measured: float | None

    @staticmethod
    def of(record: Mapping[str, Any]) -> Choice:
        """From a kernel of `plan.json` or its runner-up."""
        knobs = ", ".join(f"{name} {value}" for name, value in sorted(record["schedule"].items()))
        text = f"{record['template']} ({knobs})" if knobs else record["template"]
        return Choice(text, record.get("predicted_seconds"), record.get("measured_seconds"))


@dataclass(frozen=True, eq=False)
class Step:
    """One step of the program: a kernel, a region in onnxruntime, or a copy.

    Attributes:
        index: among the steps, in program order.
        template: what made it; `onnxruntime` or `copy` for what is no kernel.
        nodes: the user's nodes that it computes.
        body: its operations: `op`, `nodes`, `results`.
        reads, writes: values with `name`, `type`, and where they lie.
        precision: of most of its arithmetic.
        chosen: how the kernel was made; None for what is no kernel, or not chosen among several.
        runner_up: the next best.
        why: the choice, or what kept it from being a kernel.
        predicted: seconds in its place in the program; None where the cost model does not say.
        measured: seconds in a run of the whole; None without a profile.
        flops, bytes: what it computes, and moves in memory.
        points, timed: of schedules that there are, and that were measured.
    """

    index: int
    template: str
    nodes: tuple[str, ...]
    body: Sequence[Mapping[str, Any]]
    reads: Sequence[Mapping[str, Any]]
    writes: Sequence[Mapping[str, Any]]
    precision: str
    chosen: Choice | None
    runner_up: Choice | None
    why: str
    predicted: float | None
    measured: float | None
    flops: int
    bytes: int
    points: int = 0
    timed: int = 0

    @property
    def is_kernel(self) -> bool:
        return self.template not in (ONNXRUNTIME, COPY)

    @property
    def label(self) -> str:
        """The user's nodes; for a copy what it copies."""
        return ", ".join(self.nodes) or self.why

    @property
    def operations(self) -> list[str]:
        """The kinds of operations inside, without their domain."""
        return [each["op"].split(".")[-1] for each in self.body]

    @property
    def seconds(self) -> float | None:
        """Measured where it was, else predicted."""
        return self.predicted if self.measured is None else self.measured


@dataclass(frozen=True)
class Explanation:
    """Everything that an artifact says of its decisions.

    Attributes:
        name: of the artifact.
        target: what it is for.
        threads: that the predictions are for.
        steps: of the program, copies included.
        views: operations that share storage with what they read, and take no time.
        source: the operations of the model as it was imported.
        remarks: of the passes.
        memory: what lies where in the arena.
        precision: what calibration led to; None for a model that was compiled as it is.
        potential: for each layer in float what int8 is predicted to take.
        cost: of the manifest.
        command: what the user typed.
        profile: a measured run, if there is one.
    """

    name: str
    target: str
    threads: int
    steps: Sequence[Step]
    views: Sequence[Mapping[str, Any]]
    source: Sequence[Mapping[str, Any]]
    remarks: Sequence[Mapping[str, Any]]
    memory: Mapping[str, Any]
    precision: Mapping[str, Any] | None
    potential: Sequence[Mapping[str, Any]]
    cost: Mapping[str, Any]
    command: str
    profile: Profile | None = None
    decisions: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def predicted(self) -> float | None:
        """Seconds of a run by the cost model; None where it priced nothing."""
        return self.cost.get("predicted_seconds") if self.cost.get("basis") else None

    @property
    def measured(self) -> float | None:
        """Seconds of a run, profiled."""
        return None if self.profile is None else self.profile.latency

    @property
    def regions(self) -> list[Step]:
        """What onnxruntime computes."""
        return [step for step in self.steps if step.template == ONNXRUNTIME]

    @cached_property
    def steps_of(self) -> dict[str, list[Step]]:
        """By the user's node, the steps that compute it or a part of it."""
        found: dict[str, list[Step]] = {}
        for step in self.steps:
            for name in dict.fromkeys(part for node in step.nodes for part in parts_of(node)):
                found.setdefault(name, []).append(step)
        return found

    @cached_property
    def writer_of(self) -> dict[str, Step]:
        """By value, the step that computes it, whether it leaves the kernel or not."""
        found: dict[str, Step] = {}
        for step in self.steps:
            for value in [*(each for inner in step.body for each in inner["results"]), *step.writes]:
                found.setdefault(value["name"], step)
        return found

    def share(self, step: Step) -> float | None:
        """A step's part of the time of all steps: by the profile, else by the predictions."""
        total = sum(each.seconds or 0.0 for each in self.steps)
        return None if step.seconds is None or not total else step.seconds / total


def explanation(
    name: str,
    target: str,
    cost: Mapping[str, Any],
    command: str,
    decisions: Mapping[str, Any],
    profile: Profile | None = None,
) -> Explanation:
    """Put together what an artifact's manifest and plan say.

    Args:
        name: of the artifact.
        target, cost, command: of its manifest.
        decisions: of its plan.
        profile: of a run on this machine.

    Raises:
        OptcError: the plan is of an older optc and does not say where things went.
    """
    records = decisions.get("calls") or decisions.get("steps", ())
    if "source" not in decisions or any("body" not in each for each in records if each.get("operations")):
        raise OptcError(
            "the artifact does not say where operations went",
            where=name,
            why="an older optc wrote it",
            hint="compile the model again",
        )
    measured = {} if profile is None or "calls" in decisions else {step.index: step.seconds for step in profile.steps}
    kernels = {kernel["symbol"]: kernel for kernel in decisions.get("kernels", ())}
    return Explanation(
        name=name,
        target=target,
        threads=decisions.get("threads", 1),
        steps=[_step(i, each, kernels, measured.get(i)) for i, each in enumerate(records)],
        views=decisions.get("views", ()),
        source=decisions["source"],
        remarks=decisions.get("remarks", ()),
        memory=decisions["memory"],
        precision=decisions.get("precision"),
        potential=decisions.get("int8_potential", ()),
        cost=cost,
        command=command,
        profile=profile,
        decisions=decisions,
    )


def _step(index: int, record: Mapping[str, Any], kernels: Mapping[str, Any], measured: float | None) -> Step:
    kernel = kernels.get(record.get("symbol", ""), {})
    template = record.get("template") or record["kind"]
    other = kernel.get("runner_up")
    why = kernel.get("reason") or record.get("reason") or ""
    if template == COPY:
        why = f"copy {record['label']}" if record["label"] else "copy"
    return Step(
        index=index,
        template=template,
        nodes=tuple(record.get("nodes", ())),
        body=record.get("body", ()),
        reads=record.get("reads", ()),
        writes=record.get("writes", ()),
        precision=_precision(record, template),
        chosen=Choice.of(kernel) if kernel else None,
        runner_up=Choice.of(other) if other else None,
        why=why,
        predicted=record.get("predicted_seconds"),
        measured=measured,
        flops=record["flops"],
        bytes=record.get("bytes", 0),
        points=kernel.get("candidates", 0),
        timed=kernel.get("timed", 0),
    )


def _precision(record: Mapping[str, Any], template: str) -> str:
    """`int8` where it computes on codes, else the element type of what it computes, or of what it writes."""
    operations = set(record["operations"])
    reads = [dtype_of(value["type"]) for value in record.get("reads", ())[:1]]
    if operations & _ON_CODES or (operations & _LAYERS and set(reads) <= _CODES and reads):
        return "int8"
    found = record.get("dtype")
    if found is None and record.get("writes"):
        found = dtype_of(record["writes"][0]["type"])
    return "int8" if found in _CODES else found or template


def parts_of(node: str) -> list[str]:
    """The name of a node, and the names of those that were written as one: `a, b` stands for `a` and `b` too."""
    return list(dict.fromkeys([node, *node.split(", ")]))


def dtype_of(type_text: str) -> str:
    """The element type in a type of the IR's text: `f32` of `tensor<1x3xf32, block(1, 8)>`."""
    found = _DTYPE.match(type_text)
    return found.group(1) if found else type_text
