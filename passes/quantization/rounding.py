"""Rounding of real numbers to whole ones, in every mode that number formats are emulated with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from optc.errors import UsageError
from optc.ir.source import near

Rounding = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _ties(toward: Callable[[np.ndarray], np.ndarray]) -> Rounding:
    """To the nearest; a tie goes where `toward`, given the floor of the value, says (0 down, 1 up)."""

    def rounding(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
        low = np.floor(values)
        rest = values - low
        return low + np.where(rest == 0.5, toward(low), rest > 0.5)

    return rounding


def _stochastic(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    low = np.floor(values)
    return low + (random.random(values.shape) < values - low)


def _coin(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    low = np.floor(values)
    return low + ((random.random(values.shape) < 0.5) & (values > low))


def _odd(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    low = np.floor(values)
    return low + ((values > low) & (low % 2 == 0))


ROUNDINGS: dict[str, Rounding] = {
    "nearest-even": _ties(lambda low: low % 2),
    "nearest-odd": _ties(lambda low: 1 - low % 2),
    "nearest-up": _ties(np.ones_like),
    "nearest-down": _ties(np.zeros_like),
    "nearest-away": _ties(lambda low: low >= 0),
    "nearest-zero": _ties(lambda low: low < 0),
    "up": lambda values, random: np.ceil(values),
    "down": lambda values, random: np.floor(values),
    "zero": lambda values, random: np.trunc(values),
    "away": lambda values, random: np.copysign(np.ceil(np.abs(values)), values),
    "odd": _odd,
    "stochastic": _stochastic,
    "coin": _coin,
}
"""By name. `odd`: what is not whole goes to the odd neighbour, so that a second rounding is exact. `stochastic`: up
with the probability of the fraction. `coin`: up or down with equal probability."""


def rounding(name: str) -> Rounding:
    """The mode called `name`.

    Raises:
        UsageError: there is none.
    """
    if name not in ROUNDINGS:
        raise UsageError(f"no rounding is called '{name}'", hint=near(name, ROUNDINGS) or ", ".join(ROUNDINGS))
    return ROUNDINGS[name]
