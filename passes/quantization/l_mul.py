"""L-Mul: a product of floats whose mantissas are added in place of multiplied, and its emulation in ONNX.

Luo and Sun, "Addition is All You Need for Energy-efficient Language Models" (2024), equation 1: for x = (1 + a)·2^i and
y = (1 + b)·2^j it is (1 + a + b + 2^-l)·2^(i+j), where l rests on the bits of the mantissa. A whole layer of such
products is two exact ones. With p(x) = 2^i of the sign of x and p(0) = 0,

    x·p(y) + p(x)·(y + (2^-l - 1)·p(y)) = ±(1 + a + b + 2^-l)·2^(i+j).
"""

from __future__ import annotations

import numpy as np


def offset(mantissa: int) -> float:
    """2^-l, which stands for the product of two mantissas of so many bits."""
    return 2.0 ** -(mantissa if mantissa <= 3 else 3 if mantissa == 4 else 4)


def powers(values: np.ndarray) -> np.ndarray:
    """The power of two at or below each magnitude, with the value's sign; zero for zero. float64."""
    values = np.asarray(values, np.float64)
    _, exponents = np.frexp(values)  # |value| in [2^(e-1), 2^e)
    return np.sign(values) * np.ldexp(1.0, exponents - 1)


def l_mul(x: np.ndarray, y: np.ndarray, mantissa: int) -> np.ndarray:
    """The products of numbers with `mantissa` bits behind the point, element by element, float64.

    Subnormal numbers count as if they were normal; zero gives zero.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    (f, i), (g, j) = np.frexp(x), np.frexp(y)
    sums = np.abs(2 * f) + np.abs(2 * g) - 1 + offset(mantissa)
    return np.where((x == 0) | (y == 0), 0.0, np.sign(x) * np.sign(y) * np.ldexp(sums, i + j - 2))
