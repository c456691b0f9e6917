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
    together [taps / columns][width]. Behind the runs stands, with `paired`, for each run [taps][quads / 2] whether two
    quads may be summed in 16 bits: whether 255 times the sum of two neighbours of the one and two of the other fits.

    Args:
        array: int8.
        parameters: the channels of a tile; the output channels in all, `width`; the quads; `inner`; bytes of a stored
            weight; z; the taps of a row of the kernel, `columns`; whether quads are `paired`.

    Returns:
        int8, flat.
    """
    tile, width, quads, inner, size, zero, columns, paired = parameters
    out, channels, taps = array.shape
    padded = np.zeros((width, quads * FOUR, taps), np.dtype(f"i{size}"))
    padded[:out, :channels] = array
    parts = padded.reshape(width, quads, inner, FOUR // inner, taps).transpose(4, 1, 3, 0, 2)
    runs = [parts[:, :, :, first : first + tile].reshape(-1) for first in range(0, width, tile)]
    weights = np.concatenate(runs).view(np.int8)
    if paired:
        weights = np.concatenate([weights, _fitting_pairs(padded, tile)])
    if not zero:
        return weights
    starts = -zero * padded.sum(axis=1, dtype=np.int32).T
    rows = starts.reshape(-1, columns, width).sum(axis=1, dtype=np.int32)
    return np.concatenate([np.concatenate([starts, rows]).reshape(-1).astype(np.int32).view(np.int8), weights])


def _fitting_pairs(weights: np.ndarray, tile: int) -> np.ndarray:
    """1 for each run, tap and two quads whose sums fit 16 bits in every lane, int8."""
    width, channels, taps = weights.shape
    # (output, two quads, which of them, neighbours, of which two, tap)
    split = weights.astype(np.int32).reshape(width, channels // (2 * FOUR), 2, 2, 2, taps)
    most = np.maximum(split, 0).sum(axis=(2, 4)).max(axis=2)
    least = np.minimum(split, 0).sum(axis=(2, 4)).min(axis=2)
    fits = (255 * most <= np.iinfo(np.int16).max) & (255 * least >= np.iinfo(np.int16).min)
    found = [fits[first : first + tile].all(axis=0).T.reshape(-1) for first in range(0, width, tile)]
    return np.concatenate(found).astype(np.int8)


def dot_weights_bytes(parameters: Sequence[int], taps: int) -> int:
    """How long what `pack_dot_weights` makes of weights with so many taps is."""
    tile, width, quads, _, size, zero, columns, paired = parameters
    starts = FOUR * width * (taps + taps // columns) if zero else 0
    pairs = -(-width // tile) * taps * (quads // 2) if paired else 0
    return starts + width * quads * FOUR * taps * size + pairs
