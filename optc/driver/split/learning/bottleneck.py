"""A model with a bottleneck: the device's half ends in a narrow encoder, the server's begins with a decoder.

    model = Bottleneck.of("resnet.onnx", cut="relu_2", resume="relu_4", channels=12)
    train_bottleneck(model, Samples(images, augment=flips))        # no labels needed
    compress(model, Samples(images), weight=0.01)                  # fewer bytes
    write_halves(model, "build/")

Training is that of Matsubara et al., "BottleFit" (2022): what replaces the layers between `cut` and `resume` first
learns to give what they gave, then everything is distilled from the model as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from optc.backends.interface import Progress, silent
from optc.driver.split.learning.latent import (
    FactorizedPrior,
    decoder,
    distillation,
    encoder,
    rounded,
    width_mask,
)
from optc.driver.split.learning.loop import Samples, Schedule, train
from optc.driver.split.learning.section import Section, value_named
from optc.driver.split.learning.transform import inverse, transform
from optc.errors import ModelError
from optc.frontends import load_model
from optc.ir.core import Module, Value

Ends = tuple[Callable[[int, int, int, int], nn.Module], Callable[[int, int, int, int], nn.Module]]

KINDS: Mapping[str, Ends] = {"convolutions": (encoder, decoder), "transform": (transform, inverse)}
"""Encoder (channels of `cut`, hidden, channels of the codes, halvings) and decoder (channels of the codes, hidden,
channels of `resume`, doublings) by name."""


class Bottleneck(nn.Module):
    """The student, and the model that it learns from.

    Args:
        module: one input and one output; not changed.
        cut: the value that the encoder reads.
        resume: the value that the decoder gives; what lies between is dropped.
        channels: of the codes that cross the link.
        hidden: channels inside the decoder.
        encoder_hidden: channels inside the encoder; by default those inside the decoder, at most twice those of `cut`.
        halvings: how often the encoder halves height and width of `cut`.
        levels: codes lie in -levels/2 .. levels/2 - 1.
        widths: the numbers of leading channels that may cross the link; one model for all of them.
        kind: of encoder and decoder, a name of `KINDS`.
        fixed_front: leave the layers before `cut` as they are: training is cheaper, and a device that has the whole
            model needs no other weights but the encoder's.
    """

    def __init__(
        self,
        module: Module,
        cut: Value,
        resume: Value,
        *,
        channels: int = 12,
        hidden: int = 64,
        encoder_hidden: int | None = None,
        halvings: int = 1,
        levels: int = 256,
        widths: tuple[int, ...] = (),
        kind: str = "convolutions",
        fixed_front: bool = False,
    ) -> None:
        super().__init__()
        graph = module.main
        self.module, self.cut, self.resume = module, cut, resume
        self.channels, self.levels, self.widths = channels, levels, widths or (channels,)
        source, target = _feature_map(cut), _feature_map(resume)
        code_extent = source[1] >> halvings
        doublings = (target[1] // max(1, code_extent)).bit_length() - 1
        if not code_extent or code_extent << halvings != source[1] or code_extent << doublings != target[1]:
            raise ModelError(
                "the encoder and the decoder do not fit together",
                where=f"'{cut.name}' and '{resume.name}'",
                why=f"{source[1]} rows are halved {halvings} times, and {target[1]} are to come of them",
            )
        self.fixed_front = fixed_front
        self.front = Section(graph, graph.inputs, [cut]).requires_grad_(not fixed_front)
        make_encoder, make_decoder = KINDS[kind]
        self.encoder = make_encoder(source[0], encoder_hidden or min(hidden, 2 * source[0]), channels, halvings)
        self.decoder = make_decoder(channels, hidden, target[0], doublings)
        self.tail = Section(graph, [resume], graph.outputs)
        self.prior = FactorizedPrior(channels)
        given = [cut] if fixed_front else graph.inputs  # what a fixed front gives need not be computed twice
        self.teacher_front = Section(graph, given, [resume]).requires_grad_(False)
        self.teacher_tail = Section(graph, [resume], graph.outputs).requires_grad_(False)

    @classmethod
    def of(
        cls, model: Any, cut: str, resume: str | None = None, *, example_inputs: Any = None, **shape: Any
    ) -> Bottleneck:
        """A bottleneck in a model of the user's.

        Args:
            model: an ONNX file, a `torch.nn.Module` (with `example_inputs`) or a `torch.export.ExportedProgram`.
            cut, resume: names of values; without `resume` nothing is dropped.
            shape: as for the constructor.
        """
        module = load_model(model, example_inputs=example_inputs).module
        at = value_named(module.main, cut)
        return cls(module, at, value_named(module.main, resume) if resume else at, **shape)

    def features(self, inputs: Tensor) -> Tensor:
        """What the encoder reads."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.fixed_front):
            return self.front(inputs)

    def latent(self, inputs: Tensor) -> Tensor:
        """What the encoder gives, before rounding."""
        return self.encoder(self.features(inputs))

    @torch.no_grad()
    def taught_features(self, inputs: Tensor, features: Tensor | None = None) -> Tensor:
        """What the model that it learns from has at `resume`; `features` of the same inputs, where they are known."""
        if self.fixed_front:
            inputs = self.features(inputs) if features is None else features
        return self.teacher_front(inputs)

    @torch.no_grad()
    def taught(self, inputs: Tensor, features: Tensor | None = None) -> Tensor:
        """The output of the model that it learns from; arguments as for `taught_features`."""
        return self.teacher_tail(self.taught_features(inputs, features))

    def codes(self, latent: Tensor) -> Tensor:
        """Rounded to the levels that there are."""
        return rounded(latent, -(self.levels // 2), (self.levels - 1) // 2)

    def decoded(self, codes: Tensor) -> Tensor:
        """The output for codes."""
        return self.tail(self.decoder(codes))

    def masked(self, codes: Tensor) -> Tensor:
        """In training with several widths, each sample has one of them."""
        if not self.training or len(self.widths) < 2:
            return codes
        return codes * width_mask(len(codes), self.channels, self.widths)[:, :, None, None]

    def forward(self, inputs: Tensor, width: int | None = None) -> Tensor:
        """The output for inputs, through the codes of the first `width` channels."""
        codes = self.codes(self.latent(inputs))
        if width is not None:
            codes = torch.cat([codes[:, :width], torch.zeros_like(codes[:, width:])], 1)
        return self.decoded(self.masked(codes))

    def groups(self, schedule: Schedule, *, whole: bool = True) -> list[dict[str, Any]]:
        """Parameter groups for an optimizer; not `whole`: what is new only."""
        new = [*self.encoder.parameters(), *self.decoder.parameters()]
        parts = [] if not whole else [self.tail] if self.fixed_front else [self.front, self.tail]
        trained = [each for part in parts for each in part.parameters()]
        return [{"params": new, "lr": schedule.rate}, {"params": trained, "lr": schedule.trained_rate}]

    def prior_group(self) -> dict[str, Any]:
        """The entropy model's parameters; it has little to learn, quickly."""
        return {"params": list(self.prior.parameters()), "lr": 2e-2, "weight_decay": 0.0}


def _feature_map(value: Value) -> tuple[int, int]:
    """Channels and rows of a value [n, channels, rows, columns]."""
    shape = value.tensor_type.shape or ()
    if len(shape) != 4 or not all(isinstance(extent, int) for extent in shape[1:]):
        raise ModelError(
            f"'{value.name}' is no feature map",
            why=f"its type is {value.type}; a bottleneck needs [n, channels, rows, columns]",
        )
    return int(shape[1]), int(shape[2])  # type: ignore[arg-type]


@dataclass(frozen=True)
class BottleFit:
    """The two stages.

    Attributes:
        match: the features, what is new only.
        distil: the scores, everything.
        temperature: of distillation.
        label_weight: of the cross entropy with labels, where there are some.
    """

    match: Schedule = field(default_factory=lambda: Schedule(epochs=1))
    distil: Schedule = field(default_factory=lambda: Schedule(epochs=8))
    temperature: float = 2.0
    label_weight: float = 0.3


def train_bottleneck(
    model: Bottleneck,
    samples: Samples,
    recipe: BottleFit | None = None,
    *,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> None:
    """Both stages of BottleFit.

    Args:
        model: changed in place; in evaluation mode when this returns.
        samples: what is learned from; labels are optional.
        recipe: how.
        checkpoint: a file to continue from, written after each epoch (`.match` is appended to it for the first stage).
        progress: called with (what, done, total, detail).
    """
    recipe = recipe or BottleFit()

    def match(inputs: Tensor, labels: Tensor | None) -> Tensor:
        with torch.no_grad():
            features = model.features(inputs)
        return feature_loss(model, model.encoder(features), model.taught_features(inputs, features))

    if recipe.match.epochs:
        groups = model.groups(recipe.match, whole=False)
        first = None if checkpoint is None else checkpoint.with_name(f"{checkpoint.name}.match")
        train(model, groups, match, samples, recipe.match, checkpoint=first, progress=progress, what="features")

    def distil(inputs: Tensor, labels: Tensor | None) -> Tensor:
        features = model.features(inputs)
        scores = model.decoded(model.masked(model.codes(model.encoder(features))))
        return task_loss(scores, model.taught(inputs, features), labels, recipe)

    if recipe.distil.epochs:
        groups = model.groups(recipe.distil)
        train(model, groups, distil, samples, recipe.distil, checkpoint=checkpoint, progress=progress, what="scores")
    model.eval()


def feature_loss(model: Bottleneck, latent: Tensor, wanted: Tensor) -> Tensor:
    """How far what the decoder gives is from what the dropped layers gave, as a share of the latter's variance."""
    found = model.decoder(model.masked(model.codes(latent)))
    return F.mse_loss(found.float(), wanted.float()) / wanted.float().var()


def task_loss(scores: Tensor, teacher: Tensor, labels: Tensor | None, recipe: BottleFit) -> Tensor:
    """Distillation, and the labels where there are some."""
    loss = distillation(scores, teacher, recipe.temperature)
    if labels is not None:
        loss = loss + recipe.label_weight * F.cross_entropy(scores.float(), labels)
    return loss


def compress(
    model: Bottleneck,
    samples: Samples,
    weight: float,
    schedule: Schedule,
    recipe: BottleFit | None = None,
    *,
    of_features: bool = False,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> None:
    """Trade bytes for accuracy: the loss is the task's plus `weight` times the bits of a sample over 1000.

    Args:
        model: trained; changed in place, in evaluation mode when this returns.
        samples: what is learned from.
        weight: the larger, the fewer bytes.
        schedule: how long and how fast; its rates are of fine-tuning.
        of_features: not the task's loss but that of the features at `resume`; only encoder and decoder are trained.
            Nothing after `resume` is computed: this is cheap, and right for models whose output is no scores. Labels of
            the samples may be what `taught_features` gives for them, which then is not computed again.
    """
    recipe = recipe or BottleFit()

    def loss(inputs: Tensor, labels: Tensor | None) -> Tensor:
        features = model.features(inputs)
        latent = model.encoder(features).float()
        rate = weight * model.prior.noisy_bits(latent).mean() / 1000
        if of_features:
            wanted = model.taught_features(inputs, features) if labels is None else labels
            return feature_loss(model, latent, wanted) + rate
        scores = model.decoded(model.masked(model.codes(latent)))
        return task_loss(scores, model.taught(inputs, features), labels, recipe) + rate

    groups = [*model.groups(schedule, whole=not of_features), model.prior_group()]
    train(model, groups, loss, samples, schedule, checkpoint=checkpoint, progress=progress, what="bytes")
    model.eval()
