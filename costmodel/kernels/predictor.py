"""The kernel predictor as it ships: arrays that NumPy evaluates, with what they know of their own errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from optc.costmodel.interface import Candidate
from optc.costmodel.kernels.familiarity import Familiarity
from optc.costmodel.kernels.features import ScheduleVocabulary
from optc.costmodel.kernels.intervals import Intervals
from optc.costmodel.kernels.labels import patterns, types_of
from optc.costmodel.kernels.machine import is_measured, machine_class, target_from_json
from optc.costmodel.kernels.perceptron import Perceptrons
from optc.costmodel.kernels.trees import ObliviousTrees
from optc.costmodel.state import Rates
from optc.targets.target import Target

if TYPE_CHECKING:
    from optc.costmodel.predictors import Card

Floats = npt.NDArray[np.floating[Any]]
KIND = "kernels"
FEWEST_ALIKE = 8  # measured workloads of a pattern from which on it is known
FLOATS = ("f32",)
LEVEL_ROWS = 64  # points of a space that say how long its points take on the whole
CAUTION = 2.0  # standard deviations of the excess disagreement that are added


class Regressor(Protocol):
    """What trees and perceptrons share."""

    def predict(self, rows: Floats) -> Floats:
        """Shape (n, columns) to (n,)."""


@dataclass(frozen=True)
class Blend:
    """The mean of several regressors."""

    parts: tuple[Regressor, ...]

    def predict(self, rows: Floats) -> Floats:
        """See Regressor."""
        values = np.ascontiguousarray(rows, np.float32)  # once for all parts
        return np.asarray(np.mean([part.predict(values) for part in self.parts], axis=0))

    def opinions(self, rows: Floats) -> list[Floats]:
        """What each part predicts, by each of its members where it is an ensemble: shape (members, n) each."""
        return [
            part.members(rows) if isinstance(part, Perceptrons) else part.predict(rows)[None] for part in self.parts
        ]

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """For a model file."""
        stored: dict[str, npt.NDArray[Any]] = {}
        for part in self.parts:
            name = next(name for name, kind in _REGRESSORS.items() if isinstance(part, kind))
            stored.update(part.arrays(f"{prefix}.{name}"))  # type: ignore[attr-defined]
        return stored

    @staticmethod
    def of_arrays(arrays: dict[str, npt.NDArray[Any]], prefix: str) -> Blend:
        """What `arrays` gave."""
        named = [name for name in _REGRESSORS if any(key.startswith(f"{prefix}.{name}.") for key in arrays)]
        return Blend(tuple(_REGRESSORS[name].of_arrays(arrays, f"{prefix}.{name}") for name in named))


_REGRESSORS: Mapping[str, Any] = {"trees": ObliviousTrees, "perceptrons": Perceptrons}


@dataclass(frozen=True)
class KernelPredictor:
    """Predicts log(measured / analytical seconds) of kernels.

    Attributes:
        group: from workload and target features: the best schedule's.
        point: from all features: one schedule's.
        ranking: from all features: a score that is smaller for the faster of two schedules of one workload.
        vocabulary: the columns of the schedule features.
        group_intervals: of `group`, by template group.
        point_intervals: of `point`, by template.
        familiarity: with workload and target features.
        usual: the median of measured over analytical seconds by kind of kernel, for what is not familiar.
        disagreement: the standard deviation of the opinions of `group` that nineteen in twenty measured kernels stay
            below.
        patterns: how many measured workloads are put together in one way (see `labels.patterns`).
        machine: the class of machine that was measured (see `machine_class`).
        reference: the figures of that machine.
        rows: kernels that were measured.
        types: the element types of their values.
        rates: of that machine while they were measured (see `state`); None where nobody noted them.
    """

    group: Blend
    point: Blend
    ranking: Blend
    vocabulary: ScheduleVocabulary
    group_intervals: Intervals
    point_intervals: Intervals
    familiarity: Familiarity
    usual: Mapping[str, float]
    disagreement: float
    patterns: Mapping[str, int]
    machine: str
    reference: Target
    rows: int
    types: tuple[str, ...] = FLOATS
    rates: Rates | None = None

    def fits(self, target: Target) -> bool:
        """Whether the target is of the class of machine that was measured."""
        return machine_class(target) == self.machine

    def figures(self, target: Target) -> Target:
        """The target with the figures that features are worked out from.

        Where its own are no measurements, those of the measured machine of the same class take their place.
        """
        if not self.fits(target) or is_measured(target):
            return target
        known = self.reference
        return replace(
            target,
            peak_flops=known.peak_flops,
            caches=known.caches,
            memory_bandwidth=known.memory_bandwidth,
            memory_bandwidth_all=known.memory_bandwidth_all,
            launch_seconds=known.launch_seconds,
            parallel_seconds=known.parallel_seconds,
        )

    def knows(self, rows: Floats) -> npt.NDArray[np.bool_]:
        """Whether workloads resemble measured ones: near to one, and of a pattern that several have."""
        common = [self.patterns.get(pattern, 0) >= FEWEST_ALIKE for pattern in patterns(rows)]
        return self.familiarity.known(rows) & np.array(common, np.bool_)

    def understands(self, candidate: Candidate) -> bool:
        """Whether kernels of such element types were measured: features say nothing about types."""
        return types_of(candidate) <= set(self.types)

    def group_residuals(self, rows: Floats) -> Floats:
        """Residuals of the best schedules from workload and target features; where opinions differ, the slower ones.

        A search takes what is predicted to be cheapest, so it finds what is cheap by mistake: the more the parts
        disagree beyond what is usual, the less is promised.
        """
        opinions = self.group.opinions(rows)
        excess = np.maximum(np.concatenate(opinions).std(axis=0) - self.disagreement, 0.0)
        return np.asarray(np.mean([each.mean(axis=0) for each in opinions], axis=0) + CAUTION * excess)

    def ranked_residuals(self, rows: Floats) -> Floats:
        """Residuals of the points of one workload, in the order of the ranking, about the level of `point`."""
        scores = self.ranking.predict(rows) * len(self.ranking.parts)
        some = slice(None, None, -(-len(rows) // LEVEL_ROWS))
        return scores - scores[some].mean() + self.point.predict(rows[some]).mean()

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """For a model file."""
        return {
            **self.group.arrays("group"),
            **self.point.arrays("point"),
            **self.ranking.arrays("ranking"),
            **self.familiarity.arrays("familiarity"),
        }

    def details(self) -> dict[str, Any]:
        """For a card, as JSON."""
        from optc.costmodel.kernels.machine import target_json

        return {
            "templates": list(self.vocabulary.templates),
            "parameters": list(self.vocabulary.parameters),
            "group_intervals": {name: list(pair) for name, pair in self.group_intervals.quantiles.items()},
            "point_intervals": {name: list(pair) for name, pair in self.point_intervals.quantiles.items()},
            "usual": dict(self.usual),
            "disagreement": self.disagreement,
            "patterns": dict(self.patterns),
            "machine": self.machine,
            "reference": target_json(self.reference),
            "kernels": self.rows,
            "types": list(self.types),
            "rates": None if self.rates is None else self.rates.to_dict(),
        }

    @staticmethod
    def of_card(card: Card) -> KernelPredictor:
        """The predictor of a stored card. Raises OptcError when its files are damaged."""
        from optc.errors import OptcError

        arrays, details = card.arrays(), card.details
        try:
            return KernelPredictor(
                Blend.of_arrays(arrays, "group"),
                Blend.of_arrays(arrays, "point"),
                Blend.of_arrays(arrays, "ranking"),
                ScheduleVocabulary(tuple(details["templates"]), tuple(details["parameters"])),
                _intervals(details["group_intervals"]),
                _intervals(details["point_intervals"]),
                Familiarity.of_arrays(arrays, "familiarity"),
                details["usual"],
                float(details["disagreement"]),
                details["patterns"],
                details["machine"],
                target_from_json(details["reference"]),
                details["kernels"],
                tuple(details.get("types", FLOATS)),
                Rates.of_dict(rates) if (rates := details.get("rates")) else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise OptcError("the kernel predictor is damaged", where=str(card.folder), why=str(error)) from error


def _intervals(plain: Mapping[str, Sequence[float]]) -> Intervals:
    return Intervals({name: (float(low), float(high)) for name, (low, high) in plain.items()})


@lru_cache(maxsize=1)
def kernel_predictors() -> tuple[KernelPredictor, ...]:
    """All kernel predictors that there are: a user's own first."""
    from optc.costmodel.predictors import cards

    return tuple(KernelPredictor.of_card(card) for card in cards() if card.kind == KIND)


def predictor_for(target: Target) -> KernelPredictor | None:
    """The predictor for the target's class of machine, if there is one."""
    return next((each for each in kernel_predictors() if each.fits(target)), None)
