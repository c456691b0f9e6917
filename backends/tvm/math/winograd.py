"""Winograd's algorithms F(m x m, 3 x 3): transforms as straight-line programs, and how much they amplify errors.

Toom-Cook construction at the points 0, infinity and pairs ±a (Lavin and Gray, "Fast Algorithms for Convolutional Neural
Networks", 2016; Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution", 2020). With m = 2
(number of pairs) an m x m tile of outputs takes (m + 2)² products for each pair of channels instead of 9 m².
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

PAIRS: dict[int, tuple[float, ...]] = {2: (1.0,), 4: (11 / 16, 23 / 16)}
"""By m: the points a of the pairs ±a. Those of m = 4 amplify errors 4 times less than 1 and 2 do; all are dyadic, so
that the coefficients of the transforms of data are exact in single precision. m = 6 gains less than a tenth, for
errors 6 times those of m = 4."""

TAPS = 3

Combination = tuple[tuple[int, float], ...]  # (number of a value, coefficient)


@dataclass(frozen=True)
class Program:
    """A linear map of vectors as combinations: values 0 … inputs - 1 are given, each combination makes the next."""

    inputs: int
    combinations: tuple[Combination, ...]
    results: tuple[int, ...]

    def matrix(self) -> np.ndarray:
        """The map as (results, inputs), in float64."""
        values: list[np.ndarray] = list(np.eye(self.inputs))
        for combination in self.combinations:
            values.append(np.sum([factor * values[number] for number, factor in combination], axis=0))
        return np.array([values[number] for number in self.results])


def data_program(m: int) -> Program:
    """Bᵀ: m + 2 neighbours to their values at 0, each +a and -a, and infinity."""
    return values_program(PAIRS[m])


@cache
def values_program(pairs: tuple[float, ...]) -> Program:
    """`data_program` for given pairs of points."""
    squares = [a * a for a in pairs]
    n = 2 * len(pairs) + 2
    combinations: list[Combination] = []
    results = [n]

    def add(terms: np.ndarray, first: int) -> int:
        """Σ terms[k] d[first + k], the term with factor 1 first."""
        chosen = [(first + k, float(term)) for k, term in enumerate(terms) if term != 0.0]
        combinations.append(tuple(reversed(chosen)))
        return n + len(combinations) - 1

    whole = _in_squares(squares)
    add(whole, 0)
    for number, a in enumerate(pairs):
        others = _in_squares(squares[:number] + squares[number + 1 :])
        even, odd = add(others, 2), add(others, 1)
        for sign in (1.0, -1.0):
            combinations.append(((even, 1.0), (odd, sign * a)))
            results.append(n + len(combinations) - 1)
    results.append(add(whole, 1))
    return Program(n, tuple(combinations), tuple(results))


def _in_squares(squares: list[float]) -> np.ndarray:
    """Coefficients of Π (x² - s), the lowest power first."""
    result = np.ones(1)
    for square in squares:
        result = np.convolve(result, [-square, 0.0, 1.0])
    return result


@cache
def result_program(m: int) -> Program:
    """Aᵀ: the products at the m + 2 points to m outputs."""
    n = m + 2
    combinations: list[Combination] = []
    for number in range(m // 2):
        plus, minus = 1 + 2 * number, 2 + 2 * number
        combinations += [((plus, 1.0), (minus, 1.0)), ((plus, 1.0), (minus, -1.0))]
    results = []
    for power in range(m):
        terms = [(0, 1.0)] if power == 0 else [(n - 1, 1.0)] if power == m - 1 else []
        terms += [(n + 2 * number + power % 2, a**power) for number, a in enumerate(PAIRS[m])]
        combinations.append(tuple(terms))
        results.append(n + len(combinations) - 1)
    return Program(n, tuple(combinations), tuple(results))


_WINDOWS = 4096  # transformed at once, so that the exact factors stay in the cache


@cache
def weight_matrix(m: int) -> np.ndarray:
    """G: three weights to the m + 2 factors at the points, (m + 2, 3) in float64."""
    points = [0.0, *(sign * a for a in PAIRS[m] for sign in (1.0, -1.0))]
    rows = []
    for number, point in enumerate(points):
        scale = np.prod([point - other for i, other in enumerate(points) if i != number])
        rows.append([point**power / scale for power in range(TAPS)])
    return np.array([*rows, [0.0, 0.0, 1.0]])


def transform_weights(weights: np.ndarray, m: int) -> np.ndarray:
    """(…, 3, 3) to (…, (m + 2)²): G g Gᵀ in float64, rounded once to the type of the weights."""
    factors = weight_matrix(m)
    both = np.kron(factors, factors).T
    windows = weights.reshape(-1, TAPS * TAPS)
    transformed = np.empty((len(windows), both.shape[1]), weights.dtype)
    for first in range(0, len(windows), _WINDOWS):
        transformed[first : first + _WINDOWS] = windows[first : first + _WINDOWS].astype(np.float64) @ both
    return transformed.reshape(*weights.shape[:-2], -1)


@cache
def amplification(m: int) -> float:
    """The root mean square of what rounding errors of the products grow by on the way to the worst output.

    For random data and weights, relative to the root mean square of the outputs: the square (two axes) of
    max_i sqrt(Σ_p A[i, p]² |b_p|² |g_p|² / 3), with the rows b_p of Bᵀ and g_p of G.
    """
    data = (data_program(m).matrix() ** 2).sum(axis=1)
    weights = (weight_matrix(m) ** 2).sum(axis=1)
    return float(((result_program(m).matrix() ** 2) @ (data * weights)).max() / TAPS)


def error_bound(m: int, channels: int) -> float:
    """What no output's error exceeds, save with a chance below 1e-8, relative to the root mean square of the outputs.

    Six standard deviations in the probabilistic model of rounding (Higham and Mary, "A New Approach to Probabilistic
    Rounding Error Analysis", 2019): a running sum of `channels` products is rounded at each step, which adds up to half
    of the final variance times `channels`, and each product carries the roundings of its two transforms.
    """
    unit = 2.0**-24
    roundings = channels / 2 + 4 * (m + 2)
    return 6.0 * unit * amplification(m) * float(np.sqrt(roundings / 3.0))
