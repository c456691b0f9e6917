"""Weights of integer contractions as kernels read them, which multiply four bytes at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FOUR = 4


def pack_dot_weights(array: np.ndarray, parameters: Sequence[int]) -> np.ndarray:
    """Weights int8 (O, I, taps) as bytes: what the sums start from, then one run for each tile of output channels.

    A run holds [taps][quads][outer][channels of the tile][inner] with inner * outer = 4 input channels a quad: channel
    `i * outer + o` of a quad lies at outer place `o` and inner place `i`. Channels are filled up with zeros.

    With data x of zero point z the sum of (x - z) w is that of x w, started from -z times the weights that meet data.
    Before the runs stand, as int32 and unless z is 0, these for each tap [taps][width], and for each `columns` taps
    together [taps / columns][width].

    Args:
        array: int8.
        parameters: the channels of a tile; the output channels in all, `width`; the quads; `inner`; bytes of a stored
            weight; z; the taps of a row of the kernel, `columns`.

    Returns:
        int8, flat.
    """
    tile, width, quads, inner, size, zero, columns = parameters
    out, channels, taps = array.shape
    padded = np.zeros((width, quads * FOUR, taps), np.dtype(f"i{size}"))
    padded[:out, :channels] = array
    parts = padded.reshape(width, quads, inner, FOUR // inner, taps).transpose(4, 1, 3, 0, 2)
    runs = [parts[:, :, :, first : first + tile].reshape(-1) for first in range(0, width, tile)]
    weights = np.concatenate(runs).view(np.int8)
    if not zero:
        return weights
    starts = -zero * padded.sum(axis=1, dtype=np.int32).T
    rows = starts.reshape(-1, columns, width).sum(axis=1, dtype=np.int32)
    return np.concatenate([np.concatenate([starts, rows]).reshape(-1).astype(np.int32).view(np.int8), weights])


def dot_weights_bytes(width: int, quads: int, taps: int, size: int, zero: int, columns: int) -> int:
    """How long what `pack_dot_weights` makes is."""
    starts = FOUR * width * (taps + taps // columns) if zero else 0
    return starts + width * quads * FOUR * taps * size
