"""Routing by importance: the channels that matter most stay on the device with a small head, the others are sent.

    model = Routed.of("net.onnx", at="relu_2", samples=images[:256], local=4)
    train_routed(model, Samples(images), Schedule(10))               # no labels needed
    write_trained(routed_way(model, images[:256]), "routed/")        # optc split --bottleneck routed/

As in Huang and Gao, "Real-time Neural Network Inference on Extremely Weak Devices: Agile Offloading with Explainable
AI" (AgileNN, 2022): importance is that of integrated gradients, training makes it more uneven, and both answers are
joined with a learned share. What crosses the link matters little, so it stands coarse codes. With a rule the device
keeps its own answer where that is sure enough, and sends nothing.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from torch import Tensor, nn

from optc.artifact.split_record import CutTensor
from optc.backends.interface import Progress, silent
from optc.driver.split.learning.latent import distillation
from optc.driver.split.learning.loop import Samples, Schedule, train
from optc.driver.split.learning.prefilter import Rule, sureness_of
from optc.driver.split.learning.section import Section, value_named
from optc.driver.split.learning.writing import LEFT_EARLY, Writer, _floats, _model
from optc.driver.split.trained import TrainedWay
from optc.errors import UsageError
from optc.frontends import load_model
from optc.ir.core import Module, Value

ROUTED, LOCAL_SCORES = "routed", "local_scores"
"""What the values that cross the link are called in both halves."""

_STEPS = 8  # of integrated gradients


class Routed(nn.Module):
    """A network whose features part at one value.

    Args:
        module: one input, one output of scores [n, classes]; not changed.
        at: the feature map that is parted.
        samples: inputs that importance is measured on.
        local: channels that stay on the device.
        hidden: channels of the head that reads them.
    """

    def __init__(self, module: Module, at: Value, samples: Tensor, local: int, hidden: int = 16) -> None:
        super().__init__()
        graph = module.main
        self.module, self.at = module, at
        self.front = Section(graph, graph.inputs, [at])
        self.rest = Section(graph, [at], graph.outputs)
        self.teacher_front = copy.deepcopy(self.front).requires_grad_(False)
        self.teacher_rest = copy.deepcopy(self.rest).requires_grad_(False)
        channels = int((at.tensor_type.shape or (0, 0))[1])  # type: ignore[arg-type]
        if not 0 < local < channels:
            raise UsageError(f"{local} of {channels} channels cannot stay while others are sent", where=at.name)
        order = importance(self, samples).argsort(descending=True)
        self.chosen, self.others = order[:local].sort().values, order[local:].sort().values
        classes = int((graph.outputs[0].tensor_type.shape or ())[-1])  # type: ignore[arg-type]
        self.head = nn.Sequential(
            nn.Conv2d(local, hidden, 3, 1, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(hidden, classes),
        )
        self.balance = nn.Parameter(torch.zeros(()))

    @classmethod
    def of(cls, model: Any, at: str, samples: Tensor, local: int, **shape: int) -> Routed:
        """A routed version of a model of the user's; arguments as for the constructor."""
        module = load_model(model).module
        return cls(module, value_named(module.main, at), samples, local, **shape)

    @property
    def share(self) -> Tensor:
        """Of the device's scores in the joint answer."""
        return self.balance.sigmoid()

    def remote(self, features: Tensor) -> Tensor:
        """The server's scores, which do not know the channels that stay."""
        return self.rest(features.index_fill(1, self.chosen, 0.0))

    def both(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The scores of the device, and the joint ones."""
        local = self.head(features[:, self.chosen])
        return local, self.share * local + (1 - self.share) * self.remote(features)

    def forward(self, inputs: Tensor) -> Tensor:
        """The joint scores."""
        return self.both(self.front(inputs))[1]


def importance(model: Routed, inputs: Tensor) -> Tensor:
    """The share of each channel in what the network's largest scores rest on [channels], by integrated gradients."""
    features = model.teacher_front(inputs.float()).detach()
    top = model.teacher_rest(features).argmax(1)
    total = torch.zeros_like(features)
    for step in range(_STEPS):
        # The middles of equal parts of the way from no features to these.
        point = (features * (step + 0.5) / _STEPS).requires_grad_()
        model.teacher_rest(point).gather(1, top[:, None]).sum().backward()
        assert point.grad is not None
        total += point.grad / _STEPS
    found = (total * features).abs().sum((0, 2, 3))
    return found / found.sum().clamp_min(1e-12)


def unevenness(model: Routed, features: Tensor) -> Tensor:
    """The share of the channels that stay in what the largest scores rest on [n], to be trained: gradient x feature."""
    scores = model.rest(features)
    (slopes,) = torch.autograd.grad(scores.amax(1).sum(), features, create_graph=True)
    weights = (slopes * features).abs().sum((2, 3))
    return weights[:, model.chosen].sum(1) / weights.sum(1).clamp_min(1e-12)


def train_routed(
    model: Routed,
    samples: Samples,
    schedule: Schedule,
    *,
    goal: float = 0.8,
    weight: float = 0.3,
    temperature: float = 2.0,
    progress: Progress = silent,
) -> None:
    """Distil the network into its two parts; in evaluation mode when this returns.

    Args:
        model: changed in place.
        samples: what is learned from.
        schedule: how long and how fast.
        goal: the share of importance that the channels that stay should have.
        weight: of that in the loss.
    """

    def loss(inputs: Tensor, labels: Tensor | None) -> Tensor:
        with torch.no_grad():
            teacher = model.teacher_rest(model.teacher_front(inputs))
        features = model.front(inputs)
        local, joint = model.both(features)
        missing = F.relu(goal - unevenness(model, features)).mean()
        answers = distillation(joint, teacher, temperature) + distillation(local, teacher, temperature)
        return answers + weight * missing

    groups = [
        {"params": [*model.head.parameters(), model.balance], "lr": schedule.rate},
        {"params": [*model.front.parameters(), *model.rest.parameters()], "lr": schedule.trained_rate},
    ]
    train(model, groups, loss, samples, schedule, progress=progress, what="routing")
    model.eval()


@torch.no_grad()
def routed_scores(model: Routed, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The device's scores and the joint ones, for `calibrate_prefilter`."""
    return model.both(model.front(inputs.float()))


def routed_way(
    model: Routed,
    inputs: Tensor,
    name: str = "routed",
    *,
    encoding: str = "q4",
    rule: Rule | None = None,
    drop: float | None = None,
) -> TrainedWay:
    """A way for `optc split`, for one sample a request.

    Args:
        model: trained.
        inputs: samples that bytes are measured on.
        name: of the way.
        encoding: of the channels that are sent.
        rule: when the device's own answer is enough; None: never.
        drop: accuracy that it is known to lose, as a share.
    """
    from optc.runtime.split.codec import Place, open_codec

    shape = _extents(model, len(model.others))
    codec = open_codec(Place(CutTensor(ROUTED, "float32", shape, encoding, 0)))
    with torch.no_grad():
        sent = model.front(inputs.float())[:, model.others].numpy()
    size = -(-sum(memoryview(codec.encode(one[None])).nbytes for one in sent) // len(sent))
    return TrainedWay(
        name,
        _device_half(model, rule),
        _server_half(model),
        encodings={ROUTED: encoding},
        sizes={ROUTED: size},
        drop=drop,
        details={"local": model.chosen.tolist(), "share": float(model.share)},
        exit=None if rule is None else LEFT_EARLY,
        leaves=0.0 if rule is None else rule.leaves,
    )


def _extents(model: Routed, channels: int) -> tuple[int, ...]:
    shape: Any = model.at.tensor_type.shape
    return (1, channels, *(int(extent) for extent in shape[2:]))


def _device_half(model: Routed, rule: Rule | None) -> onnx.ModelProto:
    graph = model.module.main
    source, output = graph.inputs[0], graph.output_names[0]
    writer = Writer()
    writer.taken |= {source.name, output, ROUTED, LOCAL_SCORES, LEFT_EARLY}
    (features,) = writer.section(model.front, [source.name])
    kept = writer.node("Gather", [features, writer.constant(model.chosen.numpy(), "chosen")], "kept", axis=1)
    scores = writer.layers(model.head, kept, "head")
    writer.nodes.append(helper.make_node("Identity", [scores], [LOCAL_SCORES], name=LOCAL_SCORES))
    others = writer.constant(model.others.numpy(), "others")
    writer.nodes.append(helper.make_node("Gather", [features, others], [ROUTED], name=ROUTED, axis=1))
    gives = [_floats(ROUTED, _extents(model, len(model.others))), _floats(LOCAL_SCORES, _classes(model))]
    if rule is not None:
        threshold = writer.constant(np.array([rule.threshold], np.float32), "threshold")
        sureness = sureness_of(writer, scores, rule)
        writer.nodes.append(helper.make_node("GreaterOrEqual", [sureness, threshold], [LEFT_EARLY], name=LEFT_EARLY))
        writer.nodes.append(helper.make_node("Identity", [scores], [output], name=output))
        gives += [_floats(output, _classes(model)), helper.make_tensor_value_info(LEFT_EARLY, TensorProto.BOOL, [1])]
    shape: Any = source.tensor_type.shape
    given = _floats(source.name, [1, *(int(extent) for extent in shape[1:])])
    return _model(writer.graph(f"{model.module.name}.device", [given], gives))


def _server_half(model: Routed) -> onnx.ModelProto:
    output = model.module.main.output_names[0]
    writer = Writer()
    writer.taken |= {output, ROUTED, LOCAL_SCORES}
    blank = writer.constant(np.zeros(_extents(model, len(model.chosen)), np.float32), "blank")
    parted = writer.node("Concat", [blank, ROUTED], "parted", axis=1)
    places = torch.cat([model.chosen, model.others]).argsort().numpy()
    features = writer.node("Gather", [parted, writer.constant(places, "places")], "features", axis=1)
    (scores,) = writer.section(model.rest, [features])
    share = float(model.share)
    parts = [
        writer.node("Mul", [each, writer.constant(np.array(part, np.float32), f"{label}.share")], f"{label}.part")
        for each, part, label in ((LOCAL_SCORES, share, "local"), (scores, 1 - share, "remote"))
    ]
    writer.nodes.append(helper.make_node("Add", parts, [output], name=output))
    given = [_floats(ROUTED, _extents(model, len(model.others))), _floats(LOCAL_SCORES, _classes(model))]
    return _model(writer.graph(f"{model.module.name}.server", given, [_floats(output, _classes(model))]))


def _classes(model: Routed) -> tuple[int, int]:
    shape: Any = model.module.main.outputs[0].tensor_type.shape
    return 1, int(shape[-1])
