"""An early exit: a small classifier on features of a trained network, and when its answer is enough.

    exits = EarlyExit.of("resnet.onnx", at="relu", blocks=((32, 2), (64, 2)))
    train_exit(exits, Samples(images))                           # the body stays as it is; no labels needed
    rule = calibrate(exits, held_out, labels, bound=0.005)
    write_exit(exits, rule, "resnet.exit.onnx")                  # an ONNX `If`: the rest is skipped

The exit is distilled from the whole network, whose weights are frozen. Confidence is that of the score that Akbari et
al., "E-LANG" and "EBJR: Energy-Based Joint Reasoning for Adaptive Inference" (2021) compare: energy, the largest
softmax score, or entropy. Where the network goes on, both answers are joined: their scores are added with a learned
share, as the small and the large model of a cascade.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from optc.backends.interface import Progress, silent
from optc.driver.split.learning.latent import distillation
from optc.driver.split.learning.loop import Remembered, Samples, Schedule, train
from optc.driver.split.learning.section import Section, value_named
from optc.errors import OptcError
from optc.frontends import load_model
from optc.ir.core import Module, Value

CONFIDENCES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "energy": lambda scores: scores.logsumexp(1),
    "softmax": lambda scores: scores.softmax(1).amax(1),
    "entropy": lambda scores: (scores.softmax(1) * scores.log_softmax(1)).sum(1),
}
"""Of scores [n, classes]: [n], the larger the surer."""

SHARES = (0.0, 0.1, 0.2, 0.3, 0.5)
"""Of the exit's scores in the joint answer; calibration takes the best."""


class EarlyExit(nn.Module):
    """A frozen network and one exit.

    Args:
        module: one input, one output of scores [n, classes]; not changed.
        at: the feature map that the exit reads.
        blocks: 3x3 convolutions of the exit: channels of each, and by how much averages shrink what it reads. (There
            are faster kernels for convolutions that do not stride.)
        stem: channels and stride of a convolution before them, which halves or quarters large maps of few channels.
    """

    def __init__(
        self, module: Module, at: Value, blocks: Sequence[tuple[int, int]], stem: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        graph = module.main
        self.module, self.at = module, at
        self.body = Section(graph, graph.inputs, [at]).requires_grad_(False)
        self.rest = Section(graph, [at], graph.outputs).requires_grad_(False)
        width = int((at.tensor_type.shape or ())[1])  # type: ignore[arg-type]
        classes = int((graph.outputs[0].tensor_type.shape or ())[1])  # type: ignore[arg-type]
        parts: list[nn.Module] = []
        if stem is not None:
            parts, width = _stem(width, *stem), stem[0]
        for channels, shrink in blocks:
            parts += _block(width, channels, shrink)
            width = channels
        self.head = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))

    @classmethod
    def of(
        cls,
        model: Any,
        at: str,
        blocks: Sequence[tuple[int, int]],
        stem: tuple[int, int] | None = None,
        *,
        example_inputs: Any = None,
    ) -> EarlyExit:
        """An exit in a model of the user's; arguments as for the constructor and `Bottleneck.of`."""
        module = load_model(model, example_inputs=example_inputs).module
        return cls(module, value_named(module.main, at), blocks, stem)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The exit's scores, and the network's."""
        features = self.body(inputs)
        return self.head(features), self.rest(features)

    def train(self, mode: bool = True) -> EarlyExit:
        """The body is always in evaluation mode."""
        super().train(mode)
        self.body.eval()
        self.rest.eval()
        return self


def _stem(channels_in: int, channels: int, stride: int) -> list[nn.Module]:
    """A convolution that strides, with BatchNorm and ReLU; every place is seen by as many of its windows."""
    conv = nn.Conv2d(channels_in, channels, 2 * stride, stride, stride // 2, bias=False)
    return [conv, nn.BatchNorm2d(channels), nn.ReLU()]


def _block(channels_in: int, channels: int, shrink: int) -> list[nn.Module]:
    """A 3x3 convolution with BatchNorm and ReLU, after averages over shrink x shrink."""
    pool = [nn.AvgPool2d(shrink)] if shrink > 1 else []
    return [*pool, nn.Conv2d(channels_in, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]


def train_exit(
    model: EarlyExit,
    samples: Samples,
    schedule: Schedule,
    *,
    temperature: float = 2.0,
    label_weight: float = 0.5,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> None:
    """Distil the network into its exit; in evaluation mode when this returns.

    Most of a step is the network's. With `schedule.distinct` epochs its scores are computed once for each of them.
    """

    @torch.no_grad()
    def scores_of(inputs: Tensor) -> Tensor:
        return model.rest(model.body(inputs))

    taught = Remembered(scores_of) if schedule.distinct else scores_of

    def loss(inputs: Tensor, labels: Tensor | None) -> Tensor:
        with torch.no_grad():
            features = model.body(inputs)
        scores = model.head(features)
        value = distillation(scores, taught(inputs), temperature)
        return value if labels is None else value + label_weight * F.cross_entropy(scores.float(), labels)

    groups = [{"params": list(model.head.parameters()), "lr": schedule.rate}]
    train(model, groups, loss, samples, schedule, checkpoint=checkpoint, progress=progress, what="exit")
    model.eval()


@dataclass(frozen=True)
class ExitRule:
    """When the exit's answer is taken.

    Attributes:
        confidence: a name of `CONFIDENCES`.
        threshold: the exit answers where its confidence is at least this.
        share: of its scores in the joint answer where the network goes on.
        leaves: the share of samples that it was calibrated on that leave there.
        drop: in accuracy on them.
    """

    confidence: str
    threshold: float
    share: float
    leaves: float
    drop: float

    def answers(self, exit_scores: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The joint scores, and which samples leave early."""
        leaves = CONFIDENCES[self.confidence](exit_scores) >= self.threshold
        return torch.where(leaves[:, None], exit_scores, scores + self.share * exit_scores), leaves


def calibrate(
    exit_scores: Tensor, scores: Tensor, labels: Tensor | None, bound: float, confidence: str | None = None
) -> ExitRule:
    """The rule that lets most samples leave within an accuracy bound.

    Args:
        exit_scores: [n, classes], of samples that the exit has not learned from.
        scores: of the network.
        labels: [n]; without them, the network's own answers.
        bound: accuracy that may be lost, as a share of samples.
        confidence: a name of `CONFIDENCES`; None: the best.

    Raises:
        OptcError: there are no samples.
    """
    if not len(scores):
        raise OptcError("an exit cannot be calibrated", why="there are no samples")
    right = scores.argmax(1) if labels is None else labels
    kinds = CONFIDENCES if confidence is None else [confidence]
    rules = [_rule(exit_scores, scores, right, bound, kind, share) for kind in kinds for share in SHARES]
    return max(rules, key=lambda rule: rule.leaves)


def _rule(exit_scores: Tensor, scores: Tensor, right: Tensor, bound: float, kind: str, share: float) -> ExitRule:
    """The lowest threshold within the bound, among the confidences that occur."""
    sureness = CONFIDENCES[kind](exit_scores)
    order = sureness.argsort(descending=True)
    early = (exit_scores.argmax(1) == right)[order].double()
    late = ((scores + share * exit_scores).argmax(1) == right)[order].double()
    alone = float((scores.argmax(1) == right).double().mean())
    # Accuracy when the first k leave, k = 0 .. n.
    gained = torch.cat([torch.zeros(1, dtype=torch.float64), (early - late).cumsum(0)])
    accuracy = (late.sum() + gained) / len(right)
    allowed = (accuracy >= alone - bound - 1e-12).nonzero()
    count = int(allowed[-1]) if len(allowed) else 0
    threshold = float(sureness[order[count - 1]]) if count else float("inf")
    leaves = int((sureness >= threshold).sum())
    return ExitRule(kind, threshold, share, leaves / len(right), alone - float(accuracy[count]))


@torch.no_grad()
def all_scores(model: EarlyExit, inputs: Tensor, batch: int = 500) -> tuple[Tensor, Tensor]:
    """Scores of the exit and of the network for many inputs."""
    parts = [model(part.float()) for part in inputs.split(batch)]
    return torch.cat([early for early, _ in parts]), torch.cat([late for _, late in parts])
