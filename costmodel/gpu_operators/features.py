"""What the predictor sees of an operator on a GPU, all relative to the GPU's own figures.

As in NeuSight (Lee et al., "Forecasting GPU Performance for Deep Learning Training and Inference", 2025), what is
learned is the multiple of the roofline that an operator takes, from how its tiles fill the multiprocessors in waves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from optc.costmodel.gpu_operators.families import Family
from optc.costmodel.gpu_operators.specifications import Specifications

Array = npt.NDArray[np.float64]

TILES = ((32, 32), (64, 64), (128, 64), (128, 128), (256, 128))  # of the result, that common libraries use
CHUNKS = (512, 1024, 2048)  # elements that one block of an element-wise kernel takes
# Figures of the device itself: they tell seen devices apart, and say nothing about unseen ones.
OWN = ("sm", "bandwidth", "peak", "l2", "clock", "cores")
START_MS = 0.025  # of starting an operator, as eager frameworks do: about what the shortest take on any GPU


def describe(family: Family, columns: Mapping[str, Array], devices: Sequence[Specifications]) -> tuple[
    dict[str, Array], Array
]:  # fmt: skip
    """Features of n operators, and their rooflines.

    Args:
        family: of all of them.
        columns: what describes them, each of shape (n,).
        devices: one for each operator.

    Returns:
        Features by name, each of shape (n,); a first guess, ms, shape (n,): the time that peak arithmetic or bandwidth
        allows, after the start.
    """
    work = family.work(columns)
    multiprocessors = np.array([device.multiprocessors for device in devices])
    bandwidth = np.array([device.bandwidth_gb_s for device in devices]) * 1e6  # bytes a ms
    peak = np.array([device.gflops for device in devices]) * 1e6
    l2 = np.array([device.l2_mb for device in devices]) * 1e6
    arithmetic, traffic = work.flops / peak, work.bytes / bandwidth
    roofline = np.maximum(arithmetic, traffic)
    found = {
        "arithmetic": np.log(arithmetic),
        "traffic": np.log(traffic),
        "intensity": np.log(arithmetic / traffic),
        "roofline": np.log(roofline),
        "cache_fit": np.log(work.bytes / l2),
        "reuse_fit": np.log(work.reused / l2),
        "sm": multiprocessors,
        "bandwidth": np.log(bandwidth),
        "peak": np.log(peak),
        "l2": l2 / 1e6,
        "clock": np.array([device.clock_mhz for device in devices]),
        "cores": np.array([device.cores_per_multiprocessor for device in devices]),
        "bandwidth_per_sm": np.log(bandwidth / multiprocessors),
        "balance": np.log(peak / bandwidth),
        **work.shape,
    }
    if work.result is not None:
        matrices, rows, columns_ = work.result
        for height, width in TILES:
            tiles = matrices * np.ceil(rows / height) * np.ceil(columns_ / width)
            _add_waves(found, f"{height}x{width}", tiles / multiprocessors)
            padded = np.ceil(rows / height) * height * np.ceil(columns_ / width) * width
            found[f"padding_{height}x{width}"] = padded / (rows * columns_)
    else:
        found["rows_per_sm"] = np.log(columns["B"] / multiprocessors)
        for chunk in CHUNKS:
            _add_waves(found, str(chunk), columns["B"] * columns["H"] / chunk / multiprocessors / 4)
    return found, roofline + START_MS


def matrix(features: Mapping[str, Array], names: Sequence[str]) -> npt.NDArray[np.float32]:
    """The named features side by side, shape (n, len(names))."""
    return np.stack([features[name] for name in names], axis=1).astype(np.float32)


def _add_waves(found: dict[str, Array], name: str, waves: Array) -> None:
    """How often all multiprocessors are filled, and what the last, partial time costs."""
    found[f"waves_{name}"] = np.log(waves)
    found[f"last_wave_{name}"] = np.ceil(waves) / waves
