"""A trained way beside the model that it stands for: checked against it, priced on both sides, judged on samples."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optc import targets
from optc.artifact.split_record import LOCAL, REMOTE, CutTensor, Half, Predicted, Way
from optc.driver.compile import require_static_inputs
from optc.driver.prediction import predict_model
from optc.driver.split.halves import Cut
from optc.driver.split.interface import interface, raw_tensor
from optc.driver.split.quality import Noise, noise_of
from optc.driver.split.sizes import RAW, Feeds, cut_tensor
from optc.driver.split.trained import TrainedWay
from optc.errors import ModelError, UsageError
from optc.frontends import load_model
from optc.ir.clone import clone_module
from optc.ir.core import Module
from optc.passes.split.graph import private_values
from optc.passes.split.problem import Conditions, Cost, SplitProblem, Task, Transfer, evaluate
from optc.program import TensorInfo

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}")
SPLIT = (0, 1)
"""The placement of a fitted way's two tasks: its halves."""


@dataclass(frozen=True)
class Sides:
    """Where the halves run, and what prices them; as for `plan_split`."""

    device: str
    server: str
    device_threads: int | None = None
    server_threads: int | None = None
    cost_model: str = "auto"


@dataclass(frozen=True)
class Fitted:
    """A trained way that can be compiled and compared.

    Attributes:
        given: as it was trained.
        parts: its halves as modules.
        sent: what crosses the link.
        returned: what comes back.
        problem: its halves as the two tasks of a split problem, to be placed as `SPLIT` says.
        device_bytes: weights, inputs and the most intermediate values at once, on the device.
        knows_energy: whether the device's target says what computing costs.
        noise: what it does to the outputs of the model; None where that was not measured.
        samples: what the noise was measured on.
    """

    given: TrainedWay
    parts: Cut
    sent: tuple[CutTensor, ...]
    returned: tuple[CutTensor, ...]
    problem: SplitProblem
    device_bytes: int
    knows_energy: bool
    noise: Noise | None = None
    samples: str = ""

    @property
    def name(self) -> str:
        """Of the way."""
        return self.given.name

    @property
    def drop(self) -> float | None:
        """Accuracy lost as it is stated, or else the share of samples whose answer changes; None: neither is known."""
        if self.given.drop is not None or self.noise is None:
            return self.given.drop
        return self.noise.changed

    @property
    def leaves(self) -> float:
        """Share of the requests that the device answers at the exit: as measured, or else as stated."""
        return self.given.leaves if self.noise is None else self.noise.left

    def cost(self, conditions: Conditions) -> Cost:
        """What a request costs on average, of which some leave at the exit."""
        full, goes_on = evaluate(self.problem, SPLIT, conditions), 1 - self.leaves
        computing = (full.computing[0], goes_on * full.computing[1])
        own = self.problem.tasks[0].joules * conditions.factor(0)
        seconds = computing[0] + goes_on * (full.seconds - full.computing[0])
        joules = own + goes_on * (full.joules - own)
        return Cost(seconds, joules, round(goes_on * full.bytes), computing, goes_on * full.linking)

    def way(self, device: Half | None, server: Half | None) -> Way:
        """The record's entry, with halves that were compiled or none."""
        near, far = self.problem.tasks
        coding = sum(transfer.coding for transfer in self.problem.transfers)
        joules = near.joules if self.knows_energy else None
        details: dict[str, Any] = {"encoding": ", ".join(tensor.encoding for tensor in self.sent), **self.given.details}
        if self.noise is not None:
            details |= {"snr_db": self.noise.snr_db, "changed": self.noise.changed, "samples": self.samples}
        predicted = Predicted(near.seconds[0] + coding, far.seconds[1], joules, self.device_bytes, self.leaves)
        return Way(self.name, device, server, self.sent, self.returned, predicted, self.drop, details, self.given.exit)


def fit(
    given: TrainedWay,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    sides: Sides,
    coding_seconds_per_byte: float = 0.0,
) -> Fitted:
    """Load the halves, check that they answer as the model does, and price them.

    Args:
        given: the trained way.
        inputs: of the model.
        outputs: of the model.
        sides: where the halves run.
        coding_seconds_per_byte: what the device takes to encode what it sends.

    Raises:
        ModelError: a half does not fit the model, or the other half.
        UsageError: no folder can be called like the way.
    """
    if not _NAME.fullmatch(given.name) or given.name in (LOCAL, REMOTE):
        hint = "letters, digits and _.@+-, at most 64, and neither local nor remote"
        raise UsageError(f"'{given.name[:80]}' is no name for a trained way", hint=hint)
    near, far = load_model(given.device).module, load_model(given.server).module
    for half in (near, far):
        require_static_inputs(half)
    _check(given.name, near, far, inputs, outputs)
    if given.exit is not None:
        made = {info.name: info for info in interface(near.main)[1]}
        _expect(given.name, "should give", outputs, made, "who leaves at the exit has no such output")
        if given.exit not in made or made[given.exit].dtype != "bool":
            why = "the device's half gives no truth value of that name"
            raise ModelError(f"the way '{given.name}' does not fit the model", where=f"exit '{given.exit}'", why=why)
    local = predict_model(clone_module(near), sides.device, sides.cost_model, sides.device_threads)
    remote = predict_model(clone_module(far), sides.server, sides.cost_model, sides.server_threads)
    sent = tuple(
        cut_tensor(
            value,
            value.name,
            given.encodings.get(value.name, RAW),
            given.sizes.get(value.name, value.tensor_type.bytes),
        )
        for value in far.main.inputs
    )
    returned = tuple(raw_tensor(info) for info in interface(far.main)[1])
    near_names = set(near.main.output_names)
    transfers = [
        Transfer(
            each.name,
            0 if each.name in near_names else None,
            (1,),
            each.bytes,
            coding=coding_seconds_per_byte * value.tensor_type.bytes,
        )
        for each, value in zip(sent, far.main.inputs, strict=True)
    ]
    transfers += [Transfer(each.name, 1, (), 0, wanted=True, returned_bytes=each.bytes) for each in returned]
    # The server's half never runs on the device, nor the device's on the server: their times there do not matter.
    tasks = (
        Task("device", (local.seconds, 0.0), local.joules or 0.0),
        Task("server", (0.0, remote.seconds)),
    )
    held = sum(each.constant.nbytes for op in near.main for each in op.results if each.constant is not None)
    held += sum(value.tensor_type.bytes for value in near.main.inputs)
    return Fitted(
        given,
        Cut(near, far, tuple((value.name, value) for value in far.main.inputs), ()),
        sent,
        returned,
        SplitProblem(2, tasks, tuple(transfers)),
        held + local.peak_bytes,
        bool(targets.load(sides.device).energy),
    )


def judged(fitted: Fitted, module: Module, batches: Sequence[Feeds], samples: str) -> Fitted:
    """The way with what it does to the outputs of a model."""
    # Entropy coders need the tables of their way, and change nothing.
    sent = [replace(each, encoding=RAW) if each.encoding.startswith("rans") else each for each in fitted.sent]
    (noise,) = noise_of(module, fitted.parts, [sent], batches, fitted.given.exit)
    return replace(fitted, noise=noise, samples=samples)


def check_private(fitted: Fitted, kept: Collection[str]) -> None:
    """Raise UsageError where a value that must not leave the device would be sent, or another form of it."""
    near = fitted.parts.device
    assert near is not None
    graph = near.main
    by_name = {value.name: value for value in graph.inputs}
    by_name |= {value.name: value for operation in graph for value in operation.results}
    hidden = private_values(graph, [by_name[name] for name in kept if name in by_name])
    leaving = {value: name for name, value in zip(graph.output_names, graph.outputs, strict=True)}
    sent = {each.name for each in fitted.sent}
    for value in hidden:
        if value.name in sent or leaving.get(value) in sent:
            why = f"it sends '{leaving.get(value, value.name)}', which must stay on the device"
            raise UsageError(f"the way '{fitted.name}' is not allowed", where="--private", why=why)


def _check(name: str, near: Module, far: Module, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> None:
    """Raise ModelError where the halves together are no such model."""
    (near_in, near_out), (far_in, far_out) = interface(near.main), interface(far.main)
    given = {info.name: info for info in inputs}
    made = {info.name: info for info in near_out}
    _expect(name, "reads", near_in, given, "the model has no such input")
    _expect(name, "is sent", far_in, {**given, **made}, "the device's half does not make it")
    _expect(name, "should give", outputs, {**made, **{info.name: info for info in far_out}}, "neither half makes it")


def _expect(name: str, verb: str, wanted: Sequence[TensorInfo], found: Mapping[str, TensorInfo], missing: str) -> None:
    for info in wanted:
        other = found.get(info.name)
        if other == info:
            continue
        why = missing if other is None else f"it is {_shown(info)} on one side and {_shown(other)} on the other"
        raise ModelError(f"the way '{name}' does not fit the model", where=f"it {verb} '{info.name}'", why=why)


def _shown(info: TensorInfo) -> str:
    return f"{info.dtype} {list(info.shape or ())}"
