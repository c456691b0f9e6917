"""Ensembles of small multilayer perceptrons, evaluated side by side."""

from __future__ import annotations

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
        values = np.clip((np.asarray(rows, np.float32) - self.mean) / self.deviation, -CLIP, CLIP)[None]
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = values @ weight + bias
            if layer < last:
                values = np.maximum(values, SLOPE * values)
        return np.asarray(values[..., 0], np.float64)

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


SLOPE = 0.1  # of the rectifiers for negative values
CLIP = 4.0  # standard deviations beyond which a column says no more
