"""A way that says on the device "nothing here", and then sends nothing: a small head on features of the device's half.

    model = Prefilter.of(way, "net.onnx", at="relu_2", nothing=[0])
    train_prefilter(model, Samples(images), Schedule(10))                    # the way and the network stay as they are
    rule = calibrate_prefilter(*prefilter_scores(model, held_out), labels, bound=0.005, nothing=[0])
    write_trained(filtered(model, rule), "filtered/")                        # optc split --bottleneck filtered/

As in Matsubara and Levorato, "Neural Compression and Filtering for Edge-assisted Real-time Object Detection in
Challenged Networks" (2020), the head reads what the device computes anyway. It is distilled from the whole network.
Where the classes that mean "nothing" are as likely as the rule asks (without such classes: where any class is), the
head's scores are the answer, the rest of the device's half is skipped, and no byte crosses the link.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from optc.backends.interface import Progress, silent
from optc.driver.quantization.running import Runner
from optc.driver.split.learning.latent import distillation
from optc.driver.split.learning.loop import Samples, Schedule, train
from optc.driver.split.learning.section import Section, value_named
from optc.driver.split.learning.writing import LEFT_EARLY, Writer, _floats, _model
from optc.driver.split.trained import TrainedWay
from optc.errors import ModelError, OptcError
from optc.frontends import load_model
from optc.ir.core import Module

_LIKELY = 0.5
"""What "nothing" has to be at least, however rarely the rest of the network says otherwise."""


class Prefilter(nn.Module):
    """A way with a head on its device's half.

    Args:
        way: with one input and one value that is sent, for one sample; not changed.
        network: the model that the way stands for: one output of scores [n, classes].
        at: a feature map of the way's device half, which the head reads.
        channels: of the head's convolution.
        shrink: by how much averages shrink what it reads.
    """

    def __init__(self, way: TrainedWay, network: Module, at: str, channels: int = 16, shrink: int = 2) -> None:
        super().__init__()
        near = load_model(way.device).module
        graph = near.main
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            why = f"it has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
            raise ModelError("the device's half takes no prefilter", where=f"way '{way.name}'", why=why)
        self.way, self.near, self.network = way, near, network
        self.at = value_named(graph, at)
        self.body = Section(graph, graph.inputs, [self.at]).requires_grad_(False)
        self.rest = Section(graph, [self.at], graph.outputs).requires_grad_(False)
        self.teacher = Section(network.main, network.main.inputs, network.main.outputs).requires_grad_(False)
        width = self.at.tensor_type.static_shape[1]
        self.head = nn.Sequential(
            *([nn.AvgPool2d(shrink)] if shrink > 1 else []),
            nn.Conv2d(width, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, self.classes),
        )

    @classmethod
    def of(cls, way: TrainedWay, model: Any, at: str, **shape: int) -> Prefilter:
        """A prefilter for a way of a model of the user's; other arguments as for the constructor."""
        return cls(way, load_model(model).module, at, **shape)

    @property
    def classes(self) -> int:
        """Scores of the network."""
        return self.network.main.outputs[0].tensor_type.static_shape[-1]

    def forward(self, inputs: Tensor) -> Tensor:
        """The head's scores."""
        scores: Tensor = self.head(self.body(inputs))
        return scores

    def train(self, mode: bool = True) -> Prefilter:
        """Only the head learns."""
        super().train(mode)
        for fixed in (self.body, self.rest, self.teacher):
            fixed.eval()
        return self


def train_prefilter(
    model: Prefilter, samples: Samples, schedule: Schedule, *, temperature: float = 2.0, progress: Progress = silent
) -> None:
    """Distil the network into the head; in evaluation mode when this returns."""

    def loss(inputs: Tensor, labels: Tensor | None) -> Tensor:
        with torch.no_grad():
            teacher = model.teacher(inputs)
        return distillation(model(inputs), teacher, temperature)

    groups = [{"params": list(model.head.parameters()), "lr": schedule.rate}]
    train(model, groups, loss, samples, schedule, progress=progress, what="prefilter")
    model.eval()


@dataclass(frozen=True)
class Rule:
    """When nothing is sent.

    Attributes:
        nothing: classes that mean so; none: any class may be sure enough.
        threshold: how likely they have to be.
        leaves: the share of the samples that it was calibrated on that leave.
        drop: in accuracy on them, beside what the way itself loses.
    """

    nothing: tuple[int, ...]
    threshold: float
    leaves: float
    drop: float

    def sureness(self, scores: Tensor) -> Tensor:
        """How likely "nothing" is: scores [n, classes] to [n]."""
        shares = scores.softmax(1)
        return shares[:, list(self.nothing)].sum(1) if self.nothing else shares.amax(1)


def calibrate_prefilter(
    early: Tensor, late: Tensor, labels: Tensor | None, bound: float, nothing: Sequence[int] = ()
) -> Rule:
    """The rule that lets most samples leave within an accuracy bound.

    Args:
        early: the head's scores [n, classes], of samples that it has not learned from.
        late: the way's own.
        labels: int64 [n]; without them, the way's own answers.
        bound: accuracy that may be lost, as a share of the samples.
        nothing: classes that mean that there is nothing to be sent.

    Raises:
        OptcError: there are no samples.
    """
    if not len(early):
        raise OptcError("a prefilter cannot be calibrated", why="there are no samples")
    right = late.argmax(1) if labels is None else labels
    sureness = Rule(tuple(nothing), 0.0, 0.0, 0.0).sureness(early)
    lost = (late.argmax(1) == right).double() - (early.argmax(1) == right).double()
    order = sureness.argsort(descending=True)
    drops = torch.cat([torch.zeros(1, dtype=torch.float64), lost[order].cumsum(0)]) / len(right)
    # Samples that are equally sure leave together.
    ends = torch.cat([torch.tensor([True]), sureness[order][:-1] > sureness[order][1:], torch.tensor([True])])
    likely = int((sureness >= _LIKELY).sum()) if nothing else len(right)
    count = int(((drops <= bound + 1e-12) & ends)[: likely + 1].nonzero()[-1])
    threshold = float(sureness[order[count - 1]]) if count else float("inf")
    return Rule(tuple(nothing), threshold, count / len(right), float(drops[count]))


@torch.no_grad()
def prefilter_scores(model: Prefilter, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The scores of the head, and those of the way where a request goes on, for many inputs."""
    near, far = Runner(model.near), Runner(load_model(model.way.server).module)
    given, sent = model.near.main.inputs[0].name, model.near.main.output_names[0]
    late = [far.run({sent: near.run({given: one.float()[None].numpy()})[0]})[0][0] for one in inputs]
    return model(inputs.float()), torch.from_numpy(np.stack(late))


def filtered(model: Prefilter, rule: Rule, name: str = "filtered") -> TrainedWay:
    """The way with its prefilter: its device's half stops where the rule says so."""
    way = model.way
    drop = None if way.drop is None else max(way.drop + rule.drop, 0.0)
    details = {**way.details, "nothing": list(rule.nothing), "threshold": rule.threshold}
    device = _device_half(model, rule)
    return replace(way, name=name, device=device, exit=LEFT_EARLY, leaves=rule.leaves, drop=drop, details=details)


def _device_half(model: Prefilter, rule: Rule) -> onnx.ModelProto:
    graph = model.near.main
    source, sent = graph.inputs[0], graph.outputs[0]
    name, output = graph.output_names[0], model.network.main.output_names[0]
    main = Writer()
    main.taken |= {source.name, name, output, LEFT_EARLY}
    (features,) = main.section(model.body, [source.name])
    scores = main.layers(model.head, features, "prefilter")
    main.nodes.append(helper.make_node("Identity", [scores], [output], name=output))
    sureness = sureness_of(main, scores, rule)
    threshold = main.constant(np.array([rule.threshold], np.float32), "prefilter.threshold")
    enough = main.node("GreaterOrEqual", [sureness, threshold], "prefilter.enough")
    main.nodes.append(helper.make_node("Identity", [enough], [LEFT_EARLY], name=LEFT_EARLY))

    stop, go = Writer(main), Writer(main)
    shape = sent.tensor_type.static_shape
    blank = np.zeros(shape, sent.tensor_type.dtype.numpy_name)
    kind = helper.np_dtype_to_tensor_dtype(blank.dtype)
    stopped = stop.node("Identity", [main.constant(blank, "prefilter.blank")], "prefilter.nothing")
    (made,) = go.section(model.rest, [features])
    branches = {
        "then_branch": helper.make_graph(stop.nodes, "stop", [], [helper.make_tensor_value_info(stopped, kind, shape)]),
        "else_branch": helper.make_graph(go.nodes, "go_on", [], [helper.make_tensor_value_info(made, kind, shape)]),
    }
    main.nodes.append(helper.make_node("If", [enough], [name], name=name, **branches))
    given = _floats(source.name, source.tensor_type.static_shape)
    gives = [
        helper.make_tensor_value_info(name, kind, shape),
        _floats(output, (1, model.classes)),
        helper.make_tensor_value_info(LEFT_EARLY, TensorProto.BOOL, [1]),
    ]
    return _model(main.graph(f"{model.near.name}_filtered", [given], gives))


def sureness_of(writer: Writer, scores: str, rule: Rule) -> str:
    """`Rule.sureness` in ONNX."""
    axes = writer.constant(np.array([1]), "prefilter.axes")
    shares = writer.node("Softmax", [scores], "prefilter.shares", axis=1)
    if not rule.nothing:
        return writer.node("ReduceMax", [shares, axes], "prefilter.largest", keepdims=0)
    classes = writer.constant(np.array(rule.nothing), "prefilter.classes")
    chosen = writer.node("Gather", [shares, classes], "prefilter.chosen", axis=1)
    return writer.node("ReduceSum", [chosen, axes], "prefilter.sure", keepdims=0)
