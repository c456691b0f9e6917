"""What a deployed model must keep of the model in float, and what was measured of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from optc.driver.quantization.acceptance import Drop, compare
from optc.driver.quantization.data import Batch, Data
from optc.driver.quantization.errors import Noise
from optc.driver.quantization.running import Runner
from optc.errors import UsageError
from optc.ir.core import Module


@dataclass(frozen=True)
class Bound:
    """What the native artifact must keep; at most one of the two is given.

    Attributes:
        snr: decibels at the worst output, against the model in float.
        drop: the share of accuracy that may be lost on labelled data.
        data: to judge on.
        labels: the right class of each sample of `data`.
    """

    data: Data
    snr: float | None = None
    drop: float | None = None
    labels: np.ndarray | None = None

    @property
    def text(self) -> str | None:
        """The bound in words; None where there is none."""
        if self.snr is not None:
            return f"{self.snr:g} dB at every output"
        return None if self.drop is None else f"{100 * self.drop:g} points of accuracy"


@dataclass(frozen=True)
class Quality:
    """What was measured of a model against the model in float.

    Attributes:
        snr_db: at the worst output; infinite where nothing differs.
        drop: of accuracy; None without labels.
    """

    snr_db: float
    drop: Drop | None = None

    def keeps(self, bound: Bound) -> bool:
        """Whether the bound holds; that on a drop with the confidence of `Drop`."""
        if bound.drop is not None and self.drop is not None:
            return self.drop.bound <= bound.drop
        return bound.snr is None or self.snr_db >= bound.snr

    def to_dict(self) -> dict[str, Any]:
        """As JSON; an infinite ratio is None."""
        record: dict[str, Any] = {"snr_db": self.snr_db if np.isfinite(self.snr_db) else None, "drop": None}
        if self.drop is not None:
            record["drop"] = {
                "measured": self.drop.measured,
                "bound": self.drop.bound,
                "float_accuracy": self.drop.accuracy,
                "confidence": self.drop.confidence,
                "text": self.drop.text,
            }
        return record


class Model(Protocol):
    """Answers a batch with the outputs of the model in float, in their order."""

    def __call__(self, feeds: Batch, /) -> Sequence[np.ndarray]: ...


@dataclass
class Judge:
    """Measures models against one in float.

    Attributes:
        module: in float.
        bound: says on which data.
    """

    module: Module
    bound: Bound
    _reference: Runner | None = field(default=None, init=False)

    def __call__(self, model: Model) -> Quality:
        """What a model loses on all the data.

        Raises:
            UsageError: there are fewer labels than samples, or the first output is no list of scores.
        """
        if self._reference is None:
            self._reference = Runner(self.module)
        noise = [Noise() for _ in self.module.main.outputs]
        labels, count = self.bound.labels, 0
        right: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for feeds in self.bound.data.batches():
            wanted, found = self._reference.run(feeds), model(feeds)
            for item, a, b in zip(noise, wanted, found, strict=True):
                item.add(a, b)
            if labels is not None:
                classes = labels[count : count + len(wanted[0])]
                _check_scores(wanted[0], classes, labels)
                for hits, scores in zip(right, (wanted[0], found[0]), strict=True):
                    hits.append(scores.argmax(axis=1) == classes)
                count += len(wanted[0])
        snr = min(item.snr_db for item in noise)
        return Quality(snr) if not count else Quality(snr, compare(np.concatenate(right[0]), np.concatenate(right[1])))


def _check_scores(scores: np.ndarray, classes: np.ndarray, labels: np.ndarray) -> None:
    if scores.ndim != 2:
        raise UsageError("accuracy needs scores of classes", why=f"the first output has {scores.ndim} dimensions")
    if len(classes) < len(scores):
        raise UsageError("there are fewer labels than samples", why=f"{len(labels)} labels")
