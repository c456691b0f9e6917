"""How constants are stored for tensor cores that multiply bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optc.backends.tvm.packing import STEPS

TILES_WITH_SUMS = "tiles_with_sums"


def tiles_with_sums(array: np.ndarray, parameters: Sequence[int]) -> np.ndarray:
    """Weights (batch, k, rows) of 8 bits as bytes: tiles [tile][batch][tile along k][row][k], then sums over k.

    With data x of zero point z the sum of (x - z) w is that of x w less z times the sum of w, for which the sums of
    all rows stand behind the tiles as int32 [batch][row].

    Args:
        array: int8 or uint8.
        parameters: elements of a tile along k, and rows of a tile; zeros fill up the last ones.

    Returns:
        bytes of the array's type, flat.
    """
    depth, width = parameters
    batch, steps, rows = array.shape
    padded = np.pad(array, ((0, 0), (0, -steps % depth), (0, -rows % width)))
    sums = padded.sum(axis=1, dtype=np.int32)
    tiles = padded.reshape(batch, -1, depth, padded.shape[2] // width, width).transpose(3, 0, 1, 4, 2)
    return np.concatenate([tiles.reshape(-1), sums.reshape(-1).view(array.dtype)])


STEPS[TILES_WITH_SUMS] = tiles_with_sums
