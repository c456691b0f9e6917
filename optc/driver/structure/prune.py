"""The whole way: a model and samples in, a model that its target runs faster out, within a bound on what is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from optc.backends.interface import Progress, silent
from optc.driver.quantization.acceptance import CONFIDENCE, Drop, assumptions, compare, hits, last_accepted
from optc.driver.quantization.data import Batch, Data
from optc.driver.quantization.images import Preprocessing
from optc.driver.quantization.preparation import prepared
from optc.driver.quantization.sensitivity import Outputs, decibels
from optc.driver.structure.options import LEAST_GAIN, Pricing, options_of
from optc.driver.structure.plan import Option, Plan, without
from optc.driver.structure.refit import Reference, refit
from optc.ir.core import Module
from optc.passes.structure.factors import Moments

FIT_SAMPLES = 256
"""That weights are fitted to; those behind them, as many as a third of it, are what noise is measured on."""

CANDIDATES = 12
"""Versions of the model that are built and judged."""

MOST_NOISE = 0.5
"""At an output, relative to its power, that is worth building."""


@dataclass(frozen=True, eq=False)
class Version:
    """A model with a plan carried out.

    Attributes:
        plan: what was done.
        module: the model.
        seconds: it takes, predicted.
        snr: decibels at the worst output, on samples that it was not fitted to where there are such.
    """

    plan: Plan
    module: Module
    seconds: float
    snr: float

    def record(self, drop: Drop | None = None) -> dict[str, Any]:
        """As JSON."""
        found: dict[str, Any] = {
            "latency_ms": 1e3 * self.seconds,
            "snr_db": self.snr if np.isfinite(self.snr) else None,
            "changes": {item: option.what for item, option in self.plan.items()},
        }
        if drop is not None:
            found |= {"drop": drop.measured, "drop_bound": drop.bound, "lost": drop.lost, "gained": drop.gained}
        return found


@dataclass(frozen=True)
class Pruned:
    """What was chosen.

    Attributes:
        version: the model; that as it was where nothing pays or no change is within the bound.
        met: whether something was changed within the bound, or nothing pays.
        bound: in words.
        reasons: by family of layers or layer, why it is as it is.
        drop: of accuracy, where that was the bound.
        assumed: what a statement about it rests on.
        tried: the versions that were judged.
        seconds: of the model as it was, predicted.
        basis: of the predictions.
    """

    version: Version
    met: bool
    bound: str
    reasons: Mapping[str, str]
    drop: Drop | None
    assumed: str
    tried: tuple[tuple[Version, Drop | None], ...]
    seconds: float
    basis: str


@dataclass
class Pruner:
    """A prepared model, samples, and what could be taken out.

    Attributes:
        module: the model.
        data: samples.
        pricing: on the target.
        epochs: of fine-tuning of each version, over all samples; 0 for none.
        progress: called with (what, done, total, detail).
    """

    module: Module
    data: Data
    pricing: Pricing
    epochs: float = 0.0
    progress: Progress = silent
    options: list[Option] = field(init=False)
    left: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        batches = _some(self.data, FIT_SAMPLES + FIT_SAMPLES // 3)
        fitted = batches if len(batches) < 2 else batches[: max(1, (3 * len(batches)) // 4)]
        self._reference = Reference(self.module, fitted)
        self._outputs = Outputs(self.module, batches[len(fitted) :] or batches)
        start = self.pricing.predict(self.module)
        self.seconds, self.basis = start.seconds, start.basis
        self._moments: dict[str, Moments]
        options, self.left, self._moments = options_of(
            self.module, self.pricing, self._reference, progress=self.progress
        )
        self.options = []
        for number, option in enumerate(options):
            self.progress("measuring what each change loses", number, len(options), option.item)
            made = self._made({option.item: option}, near=True)
            self.options.append(replace(option, noise=max(self._outputs.noise_of(made), default=0.0)))

    @classmethod
    def of(
        cls,
        model: Any,
        calib: Any,
        pricing: Pricing,
        *,
        shapes: Mapping[str, Sequence[int]] | None = None,
        dims: Mapping[str, int] | None = None,
        limit: int | None = None,
        preprocessing: Preprocessing | None = None,
        epochs: float = 0.0,
        progress: Progress = silent,
    ) -> Pruner:
        """Load a model; arguments as for `load_model`, `Data` and the class.

        Raises:
            ModelError: it has no layer with constant weights.
        """
        module = prepared(model, "take out", shapes, dims)
        data = Data(calib, module.main.inputs, limit=limit, preprocessing=preprocessing)
        return cls(module, data, pricing, epochs, progress)

    def within_snr(self, bound: float) -> Pruned:
        """The fastest version with a signal-to-noise ratio of at least `bound` decibels at every output."""
        versions = [self.version(plan) for plan in self.path(10.0 ** (-bound / 10.0))]
        good = [each for each in versions if each.snr >= bound]
        chosen = min(good, key=lambda each: each.seconds, default=None)
        return self._result(chosen, f"{bound:g} dB at every output", [(each, None) for each in versions])

    def within_drop(
        self, limit: float, data: Data, labels: np.ndarray, *, confidence: float = CONFIDENCE, own_data: bool = False
    ) -> Pruned:
        """The fastest version that loses at most `limit` (a share) of the accuracy; arguments as for `PrecisionSearch`.

        Raises:
            UsageError: there are fewer labels than samples, or the model gives no scores of classes.
        """
        reference = hits(self.module, data, labels)
        plans = self.path(MOST_NOISE)
        made: list[Version] = []

        def judge(plan: Plan) -> Drop:
            self.progress("judging versions by their accuracy", len(made), len(plans))
            made.append(self.version(plan))
            return compare(reference, hits(made[-1].module, data, labels), confidence)

        judged = last_accepted(plans, judge, limit)
        accepted, drops = judged
        tried: list[tuple[Version, Drop | None]] = list(zip(made, drops, strict=True))
        chosen = next((version for version, _ in tried if version.plan is accepted), None)
        assumed = assumptions(confidence, calibrated_on=own_data)
        return self._result(chosen, f"{100 * limit:g} points of accuracy", tried, assumed)

    def path(self, noise: float) -> list[Plan]:
        """Plans from the most exact to the fastest: each adds what saves the most time for what it loses.

        Args:
            noise: of an output, near which plans are wanted; some exceed it, since what options lose does not add up.
        """
        self.progress("choosing what goes", 0, len(self.options))
        plan: dict[str, Option] = {}
        seconds, waiting = self.seconds, list(self.options)
        steps: list[tuple[float, Plan]] = []
        while waiting:
            best = max(waiting, key=partial(_worth, plan))
            waiting.remove(best)
            if _worth(plan, best) <= 0.0:
                continue
            further = {**plan, best.item: best}
            if sum(option.noise for option in further.values()) > 3.0 * noise:
                continue
            made = without(self.module, further, self._moments)
            if made.void:
                continue
            takes = self.pricing.predict(made.module).seconds
            if takes > seconds - LEAST_GAIN * self.seconds:
                continue
            plan, seconds = further, takes
            steps.append((takes, plan))
        return _spread(steps, CANDIDATES)

    def version(self, plan: Plan) -> Version:
        """The model with a plan carried out, its weights fitted and, with `epochs`, fine-tuned."""
        module = self._made(plan)
        if self.epochs > 0:
            from optc.driver.structure.fine_tuning import fine_tune

            fine_tune(module, self.module, list(self.data.batches()), self.epochs, progress=self.progress)
        seconds = self.pricing.predict(module).seconds
        return Version(plan, module, seconds, decibels(self._outputs.noise_of(module)))

    def _made(self, plan: Plan, *, near: bool = False) -> Module:
        smaller = without(self.module, plan, self._moments)
        refit(smaller, self._reference, near=near)
        return smaller.module

    def _result(
        self, chosen: Version | None, bound: str, tried: list[tuple[Version, Drop | None]], assumed: str = ""
    ) -> Pruned:
        whole = Version({}, self.module, self.seconds, float("inf"))
        version = chosen or whole
        reasons = dict(self.left)
        for item in dict.fromkeys(option.item for option in self.options):
            if item in version.plan:
                reasons[item] = _text(version.plan[item])
            else:
                least = min((option for option in self.options if option.item == item), key=lambda each: each.noise)
                reasons[item] = f"left as it is for {bound}; the least: {_text(least)}"
        drop = next((drop for each, drop in tried if each is chosen), None)
        met = chosen is not None or not self.options
        return Pruned(version, met, bound, reasons, drop, assumed, tuple(tried), self.seconds, self.basis)


def _worth(plan: Plan, option: Option) -> float:
    """The seconds that an option saves for the noise that it adds, beside what a plan does to the same item."""
    now = plan.get(option.item)
    saved = option.saved - (now.saved if now else 0.0)
    lost = option.noise - (now.noise if now else 0.0)
    return saved / max(lost, 1e-9) if saved > 0.0 else -1.0


def _text(option: Option) -> str:
    return (
        f"{option.what}: its kernels take {1e6 * option.after:.1f} us for {1e6 * option.before:.1f} us, predicted; "
        f"alone {decibels([option.noise]):.1f} dB"
    )


def _some(data: Data, samples: int) -> list[Batch]:
    found: list[Batch] = []
    count = 0
    for batch in data.batches():
        found.append(batch)
        count += len(next(iter(batch.values())))
        if count >= samples:
            break
    return found


def _spread(steps: Sequence[tuple[float, Plan]], count: int) -> list[Plan]:
    """At most `count` of them, as far apart in time as they can be; the first and the last are among them."""
    if len(steps) <= count:
        return [plan for _, plan in steps]
    marks = np.linspace(steps[0][0], steps[-1][0], count)
    times = np.array([takes for takes, _ in steps])
    return [steps[place][1] for place in sorted({int(np.abs(times - mark).argmin()) for mark in marks})]
