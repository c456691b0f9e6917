"""A trained bottleneck as a way of a split model: its halves, and the tables that its codes are coded with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optc.driver.split.build import TrainedWay
from optc.driver.split.learning.bottleneck import Bottleneck
from optc.driver.split.learning.writing import CODES, halves
from optc.runtime.split.codec.entropy import Entropy, frequencies_of, tables_file


@torch.no_grad()
def codes_of(model: Bottleneck, inputs: Tensor, width: int | None = None, batch: int = 64) -> np.ndarray:
    """The codes of many inputs, int8 [n, width, rows, columns]."""
    parts = [model.codes(model.latent(part.float()))[:, :width] for part in inputs.split(batch)]
    return torch.cat(parts).to(torch.int8).numpy()


def learned_frequencies(codes: np.ndarray) -> np.ndarray:
    """What is most likely for the codes of training samples: how often each occurs in each channel."""
    channels = codes.shape[1]
    counts = [
        np.bincount(codes[:, channel].ravel().astype(np.int64) + 128, minlength=256) for channel in range(channels)
    ]
    return frequencies_of(np.array(counts, np.float64))


def coded_sizes(codes: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Bytes of each sample, as the coder makes them [n]."""
    codec = Entropy(frequencies, (1, *codes.shape[1:]))
    return np.array([memoryview(codec.encode(code[None])).nbytes for code in codes])


def trained_way(
    model: Bottleneck,
    inputs: Tensor,
    name: str = "bottleneck",
    *,
    width: int | None = None,
    drop: float | None = None,
    details: Mapping[str, Any] | None = None,
) -> TrainedWay:
    """A way for `build_split` or `add_ways`, for one sample a request.

    Args:
        model: trained.
        inputs: training samples that the tables are counted on.
        name: of the way.
        width: leading channels that are sent.
        drop: accuracy that it is known to lose, as a share.
        details: what else is to stand in split.json.
    """
    codes = codes_of(model, inputs, width)
    frequencies = learned_frequencies(codes)
    encoding, file, content = tables_file(frequencies)
    device, server = halves(model, width, batch=1)
    return TrainedWay(
        name,
        device,
        server,
        encodings={CODES: encoding},
        sizes={CODES: int(np.ceil(coded_sizes(codes[:256], frequencies).mean()))},
        drop=drop,
        details={"width": width or model.channels, **(details or {})},
        files={file: content},
    )
