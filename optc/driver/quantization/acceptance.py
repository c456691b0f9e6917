"""Whether a quantized model loses at most so much accuracy, said with a stated confidence from a labelled set.

Each labelled sample is answered by both models, so what matters is where they differ: b samples that only the float
model gets right, c that only the quantized one does. The drop is (b - c) / n; its interval is that of Agresti and Min,
"Simple improved confidence intervals for comparing matched proportions" (2005). The bound is asked of a further set as
large as the labelled one, drawn alike, so the interval is wider by the square root of two.

Several candidates are judged on the same samples. They are fixed before any label is read and tried from the most
exact to the cheapest until one fails; the last that passed is taken. Such a fixed sequence of tests keeps the
confidence of a single one (Angelopoulos et al., "Learn then Test", 2021, section 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeVar

import numpy as np

from optc.driver.quantization.data import Data
from optc.driver.quantization.running import Runner
from optc.errors import UsageError
from optc.ir.core import Module

CONFIDENCE = 0.995
"""That a further set shows no larger drop: one run in two hundred may be wrong."""

Candidate = TypeVar("Candidate")


@dataclass(frozen=True)
class Drop:
    """What a labelled set says of the accuracy lost.

    Attributes:
        samples: in the set.
        lost: those that only the float model gets right.
        gained: those that only the quantized one does.
        accuracy: of the float model, a share.
        confidence: of `bound`, one-sided.
    """

    samples: int
    lost: int
    gained: int
    accuracy: float
    confidence: float = CONFIDENCE

    @property
    def measured(self) -> float:
        """The drop on the set."""
        return (self.lost - self.gained) / max(1, self.samples)

    @property
    def margin(self) -> float:
        """What a further set of the same size may add to it."""
        total = self.samples + 2
        lost, gained = self.lost + 0.5, self.gained + 0.5
        variance = (lost + gained - (lost - gained) ** 2 / total) / total**2
        return NormalDist().inv_cdf(self.confidence) * math.sqrt(2.0 * variance)

    @property
    def bound(self) -> float:
        """The drop that a further set of the same size stays below, with `confidence`."""
        return self.measured + self.margin

    @property
    def text(self) -> str:
        """In words."""
        return (
            f"{100 * self.measured:+.2f} ± {100 * self.margin:.2f} points on {self.samples:,} labelled samples "
            f"({self.lost} lost, {self.gained} gained)"
        )


def assumptions(confidence: float, *, calibrated_on: bool) -> str:
    """What the statement about a drop rests on.

    Args:
        confidence: of the statement.
        calibrated_on: whether the labelled samples are those of the calibration.
    """
    text = (
        f"{100 * confidence:g}% confidence, one-sided, that a further set of as many samples, drawn as the labelled "
        "ones were, shows no larger drop; candidates were fixed before labels were read"
    )
    if calibrated_on:
        text += "; the labelled samples are those of the calibration, so the drop may be larger on others (--evaluate)"
    return text


def hits(module: Module, data: Data, labels: np.ndarray, *, deployed: bool = False) -> np.ndarray:
    """Which samples have their largest score, of the first output, at the right class.

    Args:
        module: to run.
        data: samples.
        labels: their classes.
        deployed: whether onnxruntime may put its own integer kernels in place of what the module says.

    Raises:
        UsageError: there are fewer labels than samples, or the output is no list of scores.
    """
    runner = Runner(module, module.main.outputs[:1], deployed=deployed)
    found: list[np.ndarray] = []
    count = 0
    for feeds in data.batches():
        (scores,) = runner.run(feeds)
        if scores.ndim != 2:
            raise UsageError("accuracy needs scores of classes", why=f"the first output has {scores.ndim} dimensions")
        wanted = labels[count : count + len(scores)]
        if len(wanted) < len(scores):
            raise UsageError("there are fewer labels than samples", why=f"{len(labels)} labels")
        found.append(scores.argmax(axis=1) == wanted)
        count += len(scores)
    return np.concatenate(found) if found else np.zeros(0, bool)


def compare(reference: np.ndarray, found: np.ndarray, confidence: float = CONFIDENCE) -> Drop:
    """The drop from one model's hits to another's on the same samples."""
    lost, gained = int((reference & ~found).sum()), int((found & ~reference).sum())
    return Drop(len(reference), lost, gained, float(reference.mean()) if len(reference) else 0.0, confidence)


def last_accepted(
    candidates: Sequence[Candidate], judge: Callable[[Candidate], Drop], limit: float
) -> tuple[Candidate | None, list[Drop]]:
    """The cheapest candidate of a fixed sequence whose drop is within a limit.

    Args:
        candidates: the most exact first.
        judge: the drop of one.
        limit: the largest drop, a share.

    Returns:
        the last one before the first that fails, None where the first one does; and the drops of those tried.
    """
    accepted: Candidate | None = None
    drops: list[Drop] = []
    for candidate in candidates:
        drops.append(judge(candidate))
        if drops[-1].bound > limit:
            break
        accepted = candidate
    return accepted, drops
