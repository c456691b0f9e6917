"""Latency from counts of work: a linear model fitted to the mode of the noise, corrected by a kernel machine.

A runtime executes the layers of a network one after the other, so its latency is close to linear in how many of each
there are; that carries far beyond the samples. What is left (caches, scheduling, fused neighbours) is a smooth function
of the same counts and is learned in the logarithm. Timings have outliers and often several modes (clock steps, other
work on the device), so both fits weight a sample down the farther it lies off, and so settle on the densest mode.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_RIDGE = 1e-3
_FLOOR = 0.02  # of the median latency: the linear model may not predict less
_START, _SHRINK = 0.5, 0.8  # the weights' width begins wide, lest a poor first fit loses half of the samples
_LEAST_SPREAD = 0.15  # of a feature that is nearly constant in the samples


@dataclass(frozen=True)
class Linear:
    """latency = offset + features · slopes, never below a floor.

    Attributes:
        coefficients: shape (f + 1,), the offset first.
        floor: the least latency.
    """

    coefficients: Array
    floor: float

    def log_latency(self, features: Array) -> Array:
        """Logarithms of latencies, shape (n,), of features (n, f)."""
        latency = self.coefficients[0] + features @ self.coefficients[1:]
        return np.log(np.maximum(latency, self.floor))

    def work(self, features: Array) -> Array:
        """What the counts add to the offset, shape (n,), never less than nothing."""
        return np.maximum(features @ self.coefficients[1:], 0.0)


@dataclass(frozen=True)
class Correction:
    """What a kernel machine adds to the logarithm of the latency.

    Attributes:
        centers: standardised features of the samples, shape (m, f).
        weights: shape (m,).
        mean: of the features.
        scale: of the features.
        length: of the Gaussian kernel, in standardised units.
    """

    centers: Array
    weights: Array
    mean: Array
    scale: Array
    length: float

    def __call__(self, features: Array) -> Array:
        """Shape (n,) for features (n, f)."""
        return gaussian((features - self.mean) / self.scale, self.centers, self.length) @ self.weights


def fit_linear(features: Array, latency: Array, width: float = 0.1, iterations: int = 30) -> Linear:
    """Fit relative errors under Welsch's loss by iterated weighted ridge regression.

    Args:
        features: shape (n, f).
        latency: shape (n,), positive.
        width: relative error from which on a sample loses weight quickly; 0.1 aims at predictions within 10%.
        iterations: of weighting and solving.
    """
    rows = np.concatenate([np.ones((len(latency), 1)), features], axis=1)
    scaled = rows / latency[:, None]
    penalty = np.eye(rows.shape[1]) * (_RIDGE * len(latency) / np.mean(latency) ** 2)
    penalty[0, 0] = 1e-6
    weights: Array = np.ones(len(latency))
    coefficients: Array = np.zeros(rows.shape[1])
    for number in range(iterations):
        weighted = scaled * weights[:, None]
        coefficients = np.linalg.solve(scaled.T @ weighted + penalty, weighted.sum(0))
        weights = welsch(scaled @ coefficients - 1.0, max(width, _START * _SHRINK**number))
    return Linear(coefficients, _FLOOR * float(np.median(latency)))


def fit_correction(features: Array, residual: Array, length: float, noise: float, width: float = 0.1) -> Correction:
    """Fit residual logarithms by kernel ridge regression with weights as in `fit_linear`.

    Args:
        features: shape (n, f).
        residual: shape (n,), log(measured / linear).
        length: of the kernel, in standard deviations of the features.
        noise: of the samples against the kernel's variance.
        width: of the loss.
    """
    mean, scale = features.mean(0), np.maximum(features.std(0), _LEAST_SPREAD)
    centers = (features - mean) / scale
    kernel = gaussian(centers, centers, length)
    sample_weights = welsch(residual, 2 * width)
    weights: Array = np.zeros(len(residual))
    for _ in range(8):
        system = kernel + np.diag(noise / np.maximum(sample_weights, 1e-6))
        weights = np.asarray(np.linalg.solve(system, residual), dtype=np.float64)
        sample_weights = welsch(kernel @ weights - residual, width)
    return Correction(centers, weights, mean, scale, length)


def gaussian(left: Array, right: Array, length: float) -> Array:
    """exp(-|a - b|² / 2 length²) of every pair, shape (n, m)."""
    squares = (left**2).sum(1)[:, None] + (right**2).sum(1)[None, :] - 2.0 * (left @ right.T)
    return np.exp(np.maximum(squares, 0.0) * (-0.5 / length**2))


def welsch(errors: Array, width: float) -> Array:
    """Weights of Welsch's loss: 1 at no error, nearly 0 beyond three widths."""
    return np.exp(-0.5 * (errors / width) ** 2)
