"""Mixed precision: the cheapest precisions on a target within a bound, verified on the model, with every reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from optc.backends.interface import Progress, silent
from optc.driver.quantization.acceptance import CONFIDENCE, Drop, assumptions, compare, hits, last_accepted
from optc.driver.quantization.data import Data
from optc.driver.quantization.sensitivity import Outputs, decibels
from optc.ir.core import Module
from optc.passes.quantization.plan import QuantizationPlan
from optc.passes.quantization.prices import UNITS, Objective
from optc.passes.quantization.qdq import quantized_module
from optc.passes.quantization.search.ilp import solve
from optc.passes.quantization.search.pareto import assignments_along, front
from optc.passes.quantization.search.problem import FLOAT, PrecisionProblem

POINTS = 16
"""Budgets that the Pareto front is solved for."""

_MILLISECOND = 1e-3

_ROUNDS = 12
"""Solutions that are verified before all stays in float."""


@dataclass(frozen=True)
class Point:
    """One assignment, verified.

    Attributes:
        schemes: of each layer; FLOAT where it stays.
        cost: predicted, in the units of the objective.
        predicted_snr: decibels at the worst output, by the errors of the layers alone.
        measured_snr: the same of the quantized model.
    """

    schemes: Mapping[str, str]
    cost: float
    predicted_snr: float
    measured_snr: float

    @property
    def quantized(self) -> tuple[str, ...]:
        """The layers that are not in float."""
        return tuple(name for name, scheme in self.schemes.items() if scheme != FLOAT)

    @property
    def counts(self) -> dict[str, int]:
        """Layers by scheme."""
        return dict(Counter(self.schemes.values()))


@dataclass(frozen=True)
class Mixture:
    """What was chosen.

    Attributes:
        point: the assignment.
        met: whether the bound holds; where it does not, the point is the most exact one with a quantized layer.
        reasons: why each layer has its precision.
        bound: in words.
        drop: of accuracy, where labels were given.
        assumed: what a statement about the drop rests on.
        tried: candidates that were verified, the most exact first.
    """

    point: Point
    met: bool
    reasons: Mapping[str, str]
    bound: str
    drop: Drop | None = None
    assumed: str = ""
    tried: tuple[tuple[Point, Drop | None], ...] = ()

    @property
    def quantized(self) -> tuple[str, ...]:
        """The layers that are not in float."""
        return self.point.quantized

    @property
    def kept(self) -> dict[str, str]:
        """The layers in float, with the reason."""
        return {name: self.reasons[name] for name, scheme in self.point.schemes.items() if scheme == FLOAT}


_Key = tuple[tuple[str, str], ...]
"""An assignment."""


@dataclass
class PrecisionSearch:
    """The search over one model.

    Attributes:
        module: in float.
        plans: all layers in one scheme, by its name.
        problem: what there is to choose.
        objective: what is small.
        outputs: that assignments are verified on.
        progress: called with (what, done, total, detail).
        points: budgets that the Pareto front is solved for.
    """

    module: Module
    plans: Mapping[str, QuantizationPlan]
    problem: PrecisionProblem
    objective: Objective
    outputs: Outputs
    progress: Progress = silent
    points: int = POINTS
    _noise: dict[_Key, float] = field(default_factory=dict)
    _hits: dict[_Key, np.ndarray] = field(default_factory=dict)
    _labelled: tuple[Data, np.ndarray] | None = None

    def plan(self, schemes: Mapping[str, str]) -> QuantizationPlan:
        """One plan of several: each layer from that of its scheme, tensors as in the first that codes them."""
        made = QuantizationPlan()
        for plan in self.plans.values():
            for value, how in plan.activations.items():
                made.activations.setdefault(value, how)
            made.kept.update(plan.kept)
        for name, scheme in schemes.items():
            if scheme != FLOAT:
                made.layers[name] = self.plans[scheme].layers[name]
        return made

    def point(self, schemes: Mapping[str, str]) -> Point:
        """An assignment, with the error that the quantized model has."""
        key = tuple(schemes.items())
        if key not in self._noise:
            quantized = any(scheme != FLOAT for scheme in schemes.values())
            self._noise[key] = max(self.outputs.noise(self.plan(schemes)), default=0.0) if quantized else 0.0
        predicted = decibels(self.problem.errors(schemes))
        return Point(dict(schemes), self.problem.cost(schemes), predicted, decibels([self._noise[key]]))

    @property
    def in_float(self) -> dict[str, str]:
        """Nothing quantized."""
        return {choice.layer: FLOAT for choice in self.problem.choices}

    def within_snr(self, bound: float) -> Mixture:
        """The cheapest assignment with a signal-to-noise ratio of at least `bound` decibels at every output.

        The errors of layers are taken to add up. Where the model shows that they do not, the budget is corrected by
        what was measured and solved again, so that layers go back to a higher precision until the bound holds.
        """
        allowed = 10.0 ** (-bound / 10.0)
        budget, best = allowed, None
        tried: list[tuple[Point, Drop | None]] = []
        for number in range(_ROUNDS):
            self.progress("searching for precisions", number, _ROUNDS)
            found = self.point(solve(self.problem, budget))
            if any(found.schemes == point.schemes for point, _ in tried):
                break
            tried.append((found, None))
            noise = 10.0 ** (-found.measured_snr / 10.0)
            if noise <= allowed:
                if best is None or found.cost < best.cost:
                    best = found
                if number > 2 or noise <= 0.0:
                    break
                # The errors add up to less than was assumed: there may be room for a cheaper assignment.
                budget *= max(1.0, 0.95 * allowed / noise)
            elif best is not None:
                break
            else:
                predicted = max(self.problem.errors(found.schemes))
                budget = 0.98 * min(budget * allowed / noise, predicted)
        met = best is not None and (bool(best.quantized) or not self._pays())
        chosen = best if best is not None and met else self._most_exact()
        return self._mixture(chosen, met, f"{bound:g} dB at every output", tried=tuple(tried))

    def within_drop(
        self, limit: float, data: Data, labels: np.ndarray, *, confidence: float = CONFIDENCE, own_data: bool = False
    ) -> Mixture:
        """The cheapest assignment of the front that loses at most `limit` (a share) of the accuracy.

        What a model answers is kept: another limit on the same samples runs nothing again.

        Args:
            limit: of the drop.
            data: labelled samples.
            labels: their classes.
            confidence: that a further set as large shows no larger drop.
            own_data: whether the samples are those of the calibration.

        Raises:
            UsageError: there are fewer labels than samples, or the model gives no scores of classes.
        """
        reference = self._right(self.point(self.in_float), data, labels)
        points = [point for point in self.front() if point.quantized]
        points.sort(key=lambda point: -point.measured_snr)

        def judge(point: Point) -> Drop:
            self.progress("judging candidates by their accuracy", points.index(point), len(points))
            return compare(reference, self._right(point, data, labels), confidence)

        judged = last_accepted(points, judge, limit)
        accepted, drops = judged
        tried = tuple(zip(points, drops, strict=False))
        met = accepted is not None or not self._pays()
        chosen = accepted or (points[0] if points and self._pays() else self.point(self.in_float))
        drop = next((drop for point, drop in tried if point is chosen), None)
        bound = f"{100 * limit:g} points of accuracy"
        return self._mixture(chosen, met, bound, drop, assumptions(confidence, calibrated_on=own_data), tried)

    def _right(self, point: Point, data: Data, labels: np.ndarray) -> np.ndarray:
        """Which samples an assignment gets right."""
        if self._labelled is None or self._labelled[0] is not data or self._labelled[1] is not labels:
            self._labelled = data, labels
            self._hits.clear()
        key = tuple(point.schemes.items())
        if key not in self._hits:
            module = quantized_module(self.module, self.plan(point.schemes)) if point.quantized else self.module
            self._hits[key] = hits(module, data, labels)
        return self._hits[key]

    def front(self, points: int | None = None) -> list[Point]:
        """What nothing beats in both cost and measured error, the cheapest first; all in float is among it."""
        found = []
        candidates = assignments_along(self.problem, points or self.points)
        for number, schemes in enumerate(candidates):
            self.progress("verifying the Pareto front", number, len(candidates))
            found.append(self.point(schemes))
        return front(found, lambda point: (point.cost, -point.measured_snr))

    def _pays(self) -> bool:
        """Whether the objective gains anything from quantization, errors aside."""
        freest = solve(self.problem, 1e30)
        return self.problem.cost(freest) < self.problem.cost(self.in_float)

    def _most_exact(self) -> Point:
        """One layer quantized: that with the least error of all."""
        pairs = [
            (max(option.error), choice.layer, option.scheme)
            for choice in self.problem.choices
            for option in choice.options[1:]
        ]
        chosen = self.in_float
        if pairs:
            _, name, scheme = min(pairs)
            chosen[name] = scheme
        return self.point(chosen)

    def _mixture(
        self,
        point: Point,
        met: bool,
        bound: str,
        drop: Drop | None = None,
        assumed: str = "",
        tried: tuple[tuple[Point, Drop | None], ...] = (),
    ) -> Mixture:
        return Mixture(point, met, self.reasons(point, bound, met), bound, drop, assumed, tried)

    def reasons(self, point: Point, bound: str, met: bool = True) -> dict[str, str]:
        """Why each layer has its precision: what every other one would change in cost, and what it leaves alone."""
        within = f"cheapest within {bound}" if met else f"nothing keeps {bound}, this loses least"
        found = {}
        for choice in self.problem.choices:
            own = point.schemes[choice.layer]
            others, cheaper = [], False
            for option in choice.options:
                if option.scheme != own:
                    change = self.problem.cost({**point.schemes, choice.layer: option.scheme}) - point.cost
                    cheaper |= change < 0.0
                    others.append(f"{option.scheme}: {self._change(change)}{_alone(option.error)}")
            plan = self.plans[own] if own in self.plans else next(iter(self.plans.values()))
            if own != FLOAT:
                mine = next(option for option in choice.options if option.scheme == own)
                found[choice.layer] = f"{within}{_alone(mine.error)} ({'; '.join(others)})"
            elif choice.layer in plan.kept:
                found[choice.layer] = plan.kept[choice.layer]
            elif not others:
                found[choice.layer] = "no format is offered: the target has no arithmetic on bytes"
            else:
                found[choice.layer] = f"{f'for {bound}' if cheaper else 'nothing is cheaper'} ({'; '.join(others)})"
        return found

    def _change(self, cost: float) -> str:
        unit, factor = UNITS[self.objective]
        if self.objective == "latency" and abs(cost) < _MILLISECOND:
            unit, factor = "µs", 1e6
        return f"{cost * factor:+.4g} {unit}"

    def record(self, point: Point, drop: Drop | None = None) -> dict[str, Any]:
        """A point as JSON."""
        unit, factor = UNITS[self.objective]
        found: dict[str, Any] = {
            "cost": point.cost * factor,
            "unit": unit,
            "predicted_snr_db": point.predicted_snr,
            "measured_snr_db": point.measured_snr,
            "counts": point.counts,
            "layers": dict(point.schemes),
        }
        if drop is not None:
            found |= {"drop": drop.measured, "drop_bound": drop.bound, "lost": drop.lost, "gained": drop.gained}
        return found


def _alone(error: Sequence[float]) -> str:
    return f", alone {decibels(error):.1f} dB" if max(error, default=0.0) > 0.0 else ""
