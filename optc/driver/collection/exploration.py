"""A cost model that errs on purpose: passes that ask it make groups that a good model would not; those are measured.

Without them a learned model knows only what its teacher chose, and a search finds the candidates that it is most wrong
about.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from optc.costmodel.interface import Candidate, CostModel, Estimate
from optc.targets.target import Target


@dataclass(frozen=True)
class Exploring:
    """Another model's estimates times log-normal factors; equal candidates get equal ones.

    Attributes:
        model: that errs less.
        spread: the standard deviation of the factors' logarithms.
        seed: other seeds give other errors.
    """

    model: CostModel
    spread: float
    seed: int

    def predict(self, candidates: Sequence[Candidate], target: Target) -> list[Estimate]:
        """See CostModel."""
        estimates = self.model.predict(candidates, target)
        return [
            replace(estimate, seconds=estimate.seconds * math.exp(self.spread * self._error(candidate)))
            for candidate, estimate in zip(candidates, estimates, strict=True)
        ]

    def _error(self, candidate: Candidate) -> float:
        described = [(each.name, [str(result.type) for result in each.results]) for each in candidate.operations]
        digest = hashlib.sha256(repr((self.seed, described, [str(v.type) for v in candidate.inputs])).encode()).digest()
        return random.Random(digest).gauss(0.0, 1.0)
