"""Ensembles of small multilayer perceptrons, evaluated side by side."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Perceptrons:
    """Members of equal shape: columns → hidden → hidden → 1, with leaky rectifiers; their mean is the prediction.

    Attributes:
        mean: shape (columns,), subtracted from the rows.
        deviation: shape (columns,), divides them.
        weights: for each layer shape (members, in, out), float32.
        biases: for each layer shape (members, 1, out), float32.
    """

    mean: npt.NDArray[np.float32]
    deviation: npt.NDArray[np.float32]
    weights: tuple[npt.NDArray[np.float32], ...]
    biases: tuple[npt.NDArray[np.float32], ...]

    def members(self, rows: Floats) -> Floats:
        """Shape (n, columns) to (members, n)."""
        found = np.empty((len(self.weights[0]), len(rows)))
        for first in range(0, len(rows), TOGETHER):
            found[:, first : first + TOGETHER] = self._members(rows[first : first + TOGETHER])
        return found

    def _members(self, rows: Floats) -> npt.NDArray[np.float32]:
        values = np.asarray(rows, np.float32) - self.mean
        values *= self._scale
        np.clip(values, -CLIP, CLIP, out=values)
        members, _, width = self.weights[0].shape
        hidden = values @ self._first  # the first layer of all members is one product
        hidden += self.biases[0].reshape(-1)
        layers = hidden.reshape(-1, members, width).transpose(1, 0, 2)
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            layers = _rectified(layers) @ weight
            layers += bias
        return np.asarray(layers[..., 0])

    @functools.cached_property
    def _first(self) -> npt.NDArray[np.float32]:
        """The weights of the first layer, shape (columns, members * width)."""
        weight = self.weights[0]
        return np.ascontiguousarray(weight.transpose(1, 0, 2).reshape(weight.shape[1], -1))

    @functools.cached_property
    def _scale(self) -> npt.NDArray[np.float32]:
        return (1.0 / self.deviation).astype(np.float32)

    def predict(self, rows: Floats) -> Floats:
        """Shape (n, columns) to (n,): the mean of the members."""
        return np.asarray(self.members(rows).mean(axis=0))

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """For a model file."""
        stored: dict[str, npt.NDArray[Any]] = {f"{prefix}.mean": self.mean, f"{prefix}.deviation": self.deviation}
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            stored[f"{prefix}.weight{layer}"], stored[f"{prefix}.bias{layer}"] = weight, bias
        return stored

    @staticmethod
    def of_arrays(arrays: dict[str, npt.NDArray[Any]], prefix: str) -> Perceptrons:
        """What `arrays` gave."""
        layers = sum(name.startswith(f"{prefix}.weight") for name in arrays)
        return Perceptrons(
            arrays[f"{prefix}.mean"],
            arrays[f"{prefix}.deviation"],
            tuple(arrays[f"{prefix}.weight{layer}"] for layer in range(layers)),
            tuple(arrays[f"{prefix}.bias{layer}"] for layer in range(layers)),
        )


def _rectified(values: Any) -> Any:
    """The leaky rectifier, max(x, SLOPE * x), as a sum: NumPy's maximum takes ten times as long."""
    bent = np.abs(values)
    bent *= (1 - SLOPE) / 2
    values *= (1 + SLOPE) / 2
    bent += values
    return bent


TOGETHER = 200  # rows evaluated at once: what they need in between stays in a second-level cache
SLOPE = 0.1  # of the rectifiers for negative values
CLIP = 4.0  # standard deviations beyond which a column says no more
