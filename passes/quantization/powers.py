"""Numbers that are sums of a few powers of two: a product with one is so many shifts and additions.

As ShiftAddNet and ShiftAddViT (You et al., 2020 and 2023) make multiplications: one signed power of two is a shift, two
or three are shifts and additions. The powers are whole, so that a format of up to eight bits is a part of int8 and runs
on every kernel of int8; who multiplies slowly may shift instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations, product

import numpy as np

from optc.passes.quantization.number_format import Format
from optc.passes.quantization.rounding import rounding

POWERS = 7
"""1, 2 … 64: what a signed byte holds of either sign."""


@dataclass(frozen=True)
class PowerSumFormat(Format):
    """Zero, and sums of different powers of two from 1 to 64, each with a sign.

    Attributes:
        terms: powers in a sum at most.
    """

    terms: int

    @property
    def bits(self) -> float:
        """Four for each power: its exponent and sign, or none."""
        return 4 * self.terms

    @property
    def largest(self) -> float:
        return float(self.numbers[-1])

    @property
    def numbers(self) -> np.ndarray:
        """All of them in order, float64."""
        return _numbers(self.terms)

    def round(self, values: np.ndarray, mode: str = "nearest-even", *, seed: int = 0) -> np.ndarray:
        """See Format.round; a tie goes to the neighbour of even rank among the numbers."""
        values = np.asarray(values, np.float64)
        numbers, apply = self.numbers, rounding(mode)
        known = np.nan_to_num(values, nan=0.0, posinf=self.largest, neginf=-self.largest)
        bounded = np.clip(known, -self.largest, self.largest)
        below = np.clip(np.searchsorted(numbers, bounded, "right") - 1, 0, len(numbers) - 2)
        share = (bounded - numbers[below]) / (numbers[below + 1] - numbers[below])
        # Zero has rank zero, so that what rounds toward or away from it does so here too.
        rank = apply(below - len(numbers) // 2 + share, np.random.default_rng(seed)).astype(np.int64)
        return np.where(np.isnan(values), values, numbers[rank + len(numbers) // 2])


@cache
def _numbers(terms: int) -> np.ndarray:
    found = {0}
    for count in range(1, terms + 1):
        for exponents in combinations(range(POWERS), count):
            for signs in product((-1, 1), repeat=count):
                found.add(sum(sign << exponent for sign, exponent in zip(signs, exponents, strict=True)))
    numbers = np.array(sorted(found), np.float64)
    numbers.flags.writeable = False
    return numbers
