"""The learned controller: a small network scores each way in its context, conditioned on the user's preference.

The context is what the predictive controller knows, and what it leaves out: how sure the rate is, where it is heading,
how old it is. The preference between delay and energy is an input, so that one network serves all of them, as in
GMORL ("Generalizable Multi-Objective Reinforcement Learning for MEC", 2023). All features are relative to what the
device needs by itself: the network knows of no model and no device. It starts from the predictive controller's scores
and adds what it learned to them; `optc.driver.split.policy_training` trains it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from optc.errors import OptcError
from optc.runtime.split.control.costs import Preference, WayCosts, total_joules, total_seconds
from optc.runtime.split.control.estimates import Mean
from optc.runtime.split.control.predictive import ModelPredictive
from optc.targets.link import Link

if TYPE_CHECKING:
    from optc.runtime.split.client import Report
    from optc.runtime.split.observation import Observation

Weights = Mapping[str, np.ndarray]

FEATURES = 10
HIDDEN = 16
_SHAPES = {"first": (FEATURES, HIDDEN), "bias": (HIDDEN,), "second": (HIDDEN,)}
LIMIT = 0.2
"""What the network adds at most to the logarithm of a cost: it settles close calls and overrules no clear one."""

_LARGEST = 5.0  # features are logarithms and shares; what is beyond tells no more


def load_policy(path: Path | None = None) -> dict[str, np.ndarray]:
    """The weights of a file of `policy_training`, or those that optc ships.

    Raises:
        OptcError: the file cannot be read, or holds something else.
    """
    place = Path(str(files("optc.runtime.split.control") / "policy.npz")) if path is None else path
    try:
        with np.load(place, allow_pickle=False) as content:
            weights = {name: np.asarray(content[name], np.float64) for name in _SHAPES}
    except (OSError, ValueError, KeyError) as fault:
        raise OptcError("the policy cannot be read", where=str(place), why=str(fault)) from fault
    for name, shape in _SHAPES.items():
        if weights[name].shape != shape or not np.isfinite(weights[name]).all():
            raise OptcError("the policy cannot be read", where=str(place), why=f"'{name}' is not of shape {shape}")
    return weights


def corrections(features: np.ndarray, weights: Weights) -> np.ndarray:
    """What the network adds to the logarithm of each way's predicted cost: shape (ways, FEATURES) to (ways,)."""
    raw = np.tanh(features @ weights["first"] + weights["bias"]) @ weights["second"]
    return np.asarray(LIMIT * np.tanh(raw / LIMIT))


class Learned(ModelPredictive):
    """Takes the way with the least score.

    Args:
        ways, link, idle_watts, preference, hedge: as for ModelPredictive.
        weights: of `load_policy`.
    """

    def __init__(
        self,
        ways: Sequence[WayCosts],
        link: Link,
        idle_watts: float = 0.0,
        *,
        weights: Weights | None = None,
        preference: Preference | None = None,
        hedge: bool = True,
    ) -> None:
        super().__init__(ways, link, idle_watts, preference=preference, caution=0.0, hedge=hedge)
        self.weights = load_policy() if weights is None else weights
        self._slow = Mean(math.log(link.uplink / 8), 0.1)

    def costs(self, observation: Observation) -> dict[str, float]:
        """The score of each way, as a cost."""
        predicted = super().costs(observation)
        features = self.features(observation)
        added = corrections(np.array([features[name] for name in predicted]), self.weights)
        return {name: cost * math.exp(float(more)) for (name, cost), more in zip(predicted.items(), added, strict=True)}

    def features(self, observation: Observation) -> dict[str, list[float]]:
        """The context of each way; FEATURES numbers."""
        now, slow, fast = (self.situation(observation, caution) for caution in (0.0, 1.0, -1.0))
        alone = self.local or next(iter(self.ways.values()))
        seconds = max(total_seconds(alone, self.link, now), 1e-9)
        joules = max(total_joules(alone, self.link, self.idle_watts, now), 1e-12)
        trend = math.log(now.rate) - self._slow.value
        spread = self.rate.spread(observation.age_seconds or 0.0)
        found = {}
        for name, way in self.ways.items():
            total = max(total_seconds(way, self.link, now), 1e-9)
            energy = max(total_joules(way, self.link, self.idle_watts, now), 1e-12)
            moving = 1.0 - way.device_seconds * now.device_factor / total
            row = [
                math.log(total / seconds),
                math.log(max(total_seconds(way, self.link, slow), 1e-9) / total),
                math.log(max(total_seconds(way, self.link, fast), 1e-9) / total),
                moving,
                math.log(energy / joules),
                spread if way.uses_server else 0.0,
                trend if way.uses_server else 0.0,
                min(observation.age_seconds or 0.0, 10.0) / 10.0 if way.uses_server else 0.0,
                self.preference.energy,
                1.0 if way.uses_server else 0.0,
            ]
            found[name] = [min(max(each, -_LARGEST), _LARGEST) for each in row]
        return found

    def learn(self, report: Report, observation: Observation) -> None:
        """See `Chooser`."""
        super().learn(report, observation)
        self._slow.add(math.log(self.rate.rate()))
