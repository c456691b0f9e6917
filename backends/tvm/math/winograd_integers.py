"""Winograd's algorithms in integers, exact modulo a power of two.

At the points 0, infinity, ±1 (and ±2) data and weights are transformed with integers once each row of G is freed of its
denominator. Sums and differences of their products are exact modulo 2^32 whatever overflows on the way, and so is the
division of a result by what the denominators come to: by its odd part as a product with the inverse modulo 2^32, by its
even part as a shift, which gives a result of fewer bits.
"""

from __future__ import annotations

import math
from functools import cache

from optc.backends.tvm.math.winograd import TAPS, Combination, Program, values_program

INTEGER_PAIRS: dict[int, tuple[int, ...]] = {2: (1,), 4: (1, 2)}
"""By m: the points a of the pairs ±a. With these the transforms of bytes and of their weights fit 16 bits."""

BITS = 32  # of the sums


def integer_data_program(m: int) -> Program:
    """Bᵀ: m + 2 neighbours to their values at 0, each +a and -a, and infinity."""
    return values_program(INTEGER_PAIRS[m])


@cache
def integer_weight_program(m: int) -> Program:
    """G without its denominators: three weights to the m + 2 factors at the points."""
    combinations: list[Combination] = []
    results = [0]
    for a in INTEGER_PAIRS[m]:
        combinations.append(((0, 1.0), (2, float(a * a))))
        even = TAPS + len(combinations) - 1
        for sign in (1, -1):
            combinations.append(((even, 1.0), (1, float(sign * a))))
            results.append(TAPS + len(combinations) - 1)
    return Program(TAPS, tuple(combinations), (*results, TAPS - 1))


@cache
def integer_result_program(m: int) -> tuple[Program, tuple[int, ...]]:
    """Aᵀ with integers, and what each of its m results is a multiple of: the products at the points to m outputs."""
    n, pairs = m + 2, INTEGER_PAIRS[m]
    denominators = _denominators(m)
    common = math.lcm(*denominators)
    combinations: list[Combination] = []
    for number in range(m // 2):
        plus, minus = 1 + 2 * number, 2 + 2 * number
        combinations += [((plus, 1.0), (minus, 1.0)), ((plus, 1.0), (minus, -1.0))]
    results, multiples = [], []
    for power in range(m):
        terms = [(0, common // denominators[0])] if power == 0 else [(n - 1, common)] if power == m - 1 else []
        for number, a in enumerate(pairs):
            # ±a share a denominator.
            terms.append((n + 2 * number + power % 2, common // denominators[1 + 2 * number] * a**power))
        shared = math.gcd(*(factor for _, factor in terms))
        # A term with factor 1 costs nothing where it stands first.
        ordered = sorted(((value, factor // shared) for value, factor in terms), key=lambda term: term[1] != 1)
        combinations.append(tuple((value, float(factor)) for value, factor in ordered))
        results.append(n + len(combinations) - 1)
        multiples.append(common // shared)
    return Program(n, tuple(combinations), tuple(results)), tuple(multiples)


def division(multiple: int) -> tuple[int, int]:
    """How to divide multiples of a number modulo 2^32: the factor, as a signed number, and the shift after it."""
    shift = (multiple & -multiple).bit_length() - 1
    inverse = pow(multiple >> shift, -1, 1 << BITS)
    return inverse - (1 << BITS) * (inverse >> BITS - 1), shift


def largest_result(m: int) -> int:
    """The absolute value up to which results are exact."""
    _, multiples = integer_result_program(m)
    _, shift = division(max(multiples, key=lambda each: division(each)[1]) ** 2)
    return (1 << BITS - 1 - shift) - 1


def _points(m: int) -> list[int]:
    return [0, *(sign * a for a in INTEGER_PAIRS[m] for sign in (1, -1))]


def _denominators(m: int) -> list[int]:
    """Of the rows of G at the finite points."""
    points = _points(m)
    return [math.prod(point - other for other in points if other != point) for point in points]
