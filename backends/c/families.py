"""How kernels on codes are laid out for kinds of processors: the order of weights, and what a step computes at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from optc.targets.target import Target

_FINISH = ("requantize.h", "sum.h", "finish.h")
_LANES = ("lanes_avx512.h", "lanes_avx2.h", "lanes_neon.h")


@dataclass(frozen=True)
class Family:
    """One way to write convolutions.

    Attributes:
        pixels: of a convolution of which all is read before one of them is complete.
        depth: the depth of a patch is rounded up to a multiple of it.
        gathers: whether patches of single pixels are gathered too.
        slack: codes behind the last patch that may be written.
        whole_rows: whether a depthwise convolution reads on before the pixels of a row are complete.
        pack: weights[outputs][depth] in the order that the kernel reads.
        pack_depthwise: weights[taps][channels] likewise.
        tap_bytes: of scratch for each tap of a depthwise convolution.
        flips: whether there is a second bias for codes whose signs are flipped.
        convolve, depthwise: runtime headers.
        gather, band: headers behind those of `convolve` where patches are gathered, and where rows of the image are
            kept; empty where they never are.
    """

    pixels: int
    depth: int
    gathers: bool
    slack: int
    whole_rows: bool
    pack: Callable[[np.ndarray], np.ndarray]
    pack_depthwise: Callable[[np.ndarray], np.ndarray]
    tap_bytes: int
    flips: bool
    convolve: tuple[str, ...]
    gather: tuple[str, ...]
    band: tuple[str, ...]
    depthwise: tuple[str, ...]


def _as_is(weights: np.ndarray) -> np.ndarray:
    return weights


def _tiles(outputs: int) -> Callable[[np.ndarray], np.ndarray]:
    """weights[outputs][depth] as [tiles][depth / 4][outputs of the tile][4]; the last tile may be narrower."""

    def pack(weights: np.ndarray) -> np.ndarray:
        parts = [weights[first : first + outputs] for first in range(0, len(weights), outputs)]
        ordered = [part.reshape(len(part), -1, 4).transpose(1, 0, 2).reshape(-1) for part in parts]
        return np.concatenate(ordered)

    return pack


def _tap_pairs(weights: np.ndarray) -> np.ndarray:
    """weights[taps][channels] as `depthwise_core.h` says."""
    taps, channels = weights.shape
    ordered = []
    for first in range(0, channels - 3, 4):
        four = weights[:, first : first + 4]
        for tap in range(0, taps - 1, 2):
            for half in (0, 2):
                ordered.append(four[tap : tap + 2, half : half + 2].reshape(-1))
        if taps % 2:
            ordered.append(four[-1])
    ordered += [weights[:, channel] for channel in range(channels // 4 * 4, channels)]
    return np.concatenate(ordered)


CORE = Family(
    pixels=2,
    depth=4,
    gathers=False,
    slack=0,
    whole_rows=False,
    pack=_tiles(2),
    pack_depthwise=_tap_pairs,
    tap_bytes=4,
    flips=False,
    convolve=("take.h", *_FINISH, "finish_one.h", "halves.h", "window.h", "convolve.h"),
    gather=("patch.h", "patch_place.h", "convolve_core.h"),
    band=(),
    depthwise=(*_FINISH, "finish_one.h", "halves.h", "window.h", "depthwise.h", "depthwise_core.h"),
)
"""Core registers with two halves of 16 bits, or none."""

HELIUM = Family(
    pixels=2,
    depth=1,
    gathers=False,
    slack=0,
    whole_rows=False,
    pack=_as_is,
    pack_depthwise=_as_is,
    tap_bytes=0,
    flips=False,
    convolve=(
        *_FINISH, "lanes_mve.h", "lanes.h", "finish_lanes.h", "window.h", "convolve.h",
    ),
    gather=("patch.h", "patch_place.h", "convolve_helium.h"),
    band=(),
    depthwise=(
        *_FINISH, "lanes_mve.h", "lanes.h", "finish_lanes.h", "window.h", "depthwise.h", "depthwise_lanes.h",
    ),
)  # fmt: skip
"""Vector instructions that sum over their lanes (Helium)."""

WIDE = Family(
    pixels=8,
    depth=4,
    gathers=True,
    slack=64,
    whole_rows=True,
    pack=_tiles(16),
    pack_depthwise=_as_is,
    tap_bytes=0,
    flips=True,
    convolve=(
        *_FINISH, *_LANES, "lanes.h", "finish_lanes.h", "window.h", "convolve.h", "tiles.h",
    ),
    gather=("patch.h", "convolve_wide.h"),
    band=("convolve_band.h",),
    depthwise=(*_FINISH, *_LANES, "lanes.h", "finish_lanes.h", "window.h", "depthwise.h", "depthwise_lanes.h"),
)  # fmt: skip
"""Vector instructions that sum groups of four into lanes, or plain C: processors with caches."""

FAMILIES = {"helium": HELIUM, "wide": WIDE}


def family_of(target: Target) -> Family:
    """The family that is among the `keys` of a target file's `[llvm]`; without one, that of core registers."""
    keys = target.llvm.get("keys", ())
    return next((FAMILIES[key] for key in keys if key in FAMILIES), CORE)  # type: ignore[attr-defined]
