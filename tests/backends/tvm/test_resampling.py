"""Resize and pooling in plain and blocked layouts against onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from contraction_cases import Case, GroupBuilder, blocked, check

from optc.backends.tvm import templates  # noqa: F401  (registers the templates)
from optc.ir.core import Attribute
from optc.targets import Target, load


@pytest.fixture(scope="module")
def host() -> Target:
    return load("cpu")


def resized(mode: str, scales: tuple[float, float], block: int, size: tuple[int, int] = (7, 21)) -> Case:
    builder = GroupBuilder()
    data = builder.input((2, 16, *size), blocked(block))
    factors = builder.graph.constant(np.array([1, 1, *scales], np.float32), before=None)
    result = builder.op("onnx.Resize", data, None, factors, mode=mode)
    return Case(builder, builder.group(result, layouts=[blocked(block)]))


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize(mode: str, host: Target, tmp_path: Path) -> None:
    """Up and down, by whole and broken factors, along both axes or one."""
    factors = [(2.0, 2.0), (1.5, 3.0), (2.0, 0.5), (0.5, 2.0), (1.0, 4.0)]
    check([resized(mode, scales, block) for scales in factors for block in (1, 8)], host, tmp_path)


def pooled(name: str, block: int, size: tuple[int, int] = (11, 23), **attributes: Attribute) -> Case:
    builder = GroupBuilder()
    result = builder.op(name, builder.input((2, 16, *size), blocked(block)), **attributes)
    return Case(builder, builder.group(result, layouts=[blocked(block)]))


WINDOWS: list[Mapping[str, Attribute]] = [
    {"kernel_shape": (5, 5), "strides": (1, 1), "pads": (2, 2, 2, 2)},
    {"kernel_shape": (3, 7), "strides": (1, 2), "pads": (0, 3, 2, 1)},
    {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)},
    {"kernel_shape": (5, 4), "strides": (1, 1), "dilations": (2, 1)},
    {"kernel_shape": (5, 5), "strides": (2, 3), "ceil_mode": 1},
]


@pytest.mark.parametrize("name", ["onnx.MaxPool", "onnx.AveragePool"])
def test_pooling(name: str, host: Target, tmp_path: Path) -> None:
    check([pooled(name, block, **window) for window in WINDOWS for block in (1, 8)], host, tmp_path)
