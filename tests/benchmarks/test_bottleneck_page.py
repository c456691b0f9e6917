"""The page on bottlenecks compares with the best picture coding, and with no more bytes of quantized features."""

from __future__ import annotations

import math
from typing import Any

import pytest

from benchmarks.bottleneck_page import curve, margins, page, picture_bytes


def figures() -> dict[str, Any]:
    """Two codings of pictures, three bottlenecks, one quantized value."""
    return {
        "inputs": {
            "PNG": {"bytes": 2000.0, "resnet8": 0.86, "mobilenet": 0.9},
            "WebP 90": {"bytes": 500.0, "resnet8": 0.84, "mobilenet": 0.88},
            "JPEG 90": {"bytes": 900.0, "resnet8": 0.83, "mobilenet": 0.89},
        },
        "original": {"resnet8": 0.86, "mobilenet": 0.9},
        "bottlenecks": {
            "resnet8 BottleFit": {"bytes": 150.0, "p95": 160.0, "accuracy": 0.855},
            "resnet8_late entropic 0.05": {"bytes": 200.0, "p95": 220.0, "accuracy": 0.85},
            "resnet8 entropic 0.3": {"bytes": 300.0, "p95": 330.0, "accuracy": 0.84},
        },
        "socket": {"resnet8 BottleFit": {"sent": 219.04, "images": 500}},
        "features": {
            "resnet8 relu_4 2": {
                "images": 10000, "zstd bytes": 250.0, "zstd accuracy": 0.852, "rans bytes": 190.0, "rans accuracy": 0.5,
            },
        },
        "exit rules": {},
        "exit times": {},
    }  # fmt: skip


def large() -> dict[str, Any]:
    """The same of one model of large pictures."""
    inputs = {"WebP 80": {"bytes": 9000.0, "accuracy": 0.9}, "WebP 95": {"bytes": 19000.0, "accuracy": 1.0}}
    return {
        "net inputs": inputs,
        "bottlenecks": {"net fitted 0.2": {"bytes": 7000.0, "p95": 8000.0, "accuracy": 0.95}},
        "socket": {"net fitted 0.2": {"sent": 7069.0}},
    }


@pytest.mark.parametrize(
    ("network", "accuracy", "size"),
    [
        ("resnet8", 0.84, 500.0),
        ("resnet8", 0.80, 500.0),
        ("resnet8", 0.85, 1250.0),  # half of the pictures in WebP, half in PNG
        ("resnet8", 0.86, 2000.0),
        ("resnet8", 0.87, math.inf),
        ("mobilenet", 0.885, 700.0),
    ],
)
def test_the_best_picture_coding_may_be_a_mixture(network: str, accuracy: float, size: float) -> None:
    assert picture_bytes(figures(), network, accuracy) == pytest.approx(size)


def test_trained_points_that_others_beat_are_not_on_the_curve() -> None:
    assert curve(figures(), "resnet8") == [(200.0, 0.85)]
    assert margins(figures(), "resnet8") == [
        ("resnet8 relu_4 2 bits, rans", 190.0, 0.5, 0.0),
        ("resnet8 relu_4 2 bits, zstd", 250.0, 0.852, 0.85),
    ]


def test_rows_hold_what_was_measured() -> None:
    lines = page(figures(), large()).splitlines()
    assert "| resnet8 BottleFit | 85.50% | 0.50 | 150.0 | 160 | 219.0 (first 500) | 1625 | 90.8% |" in lines
    assert "| resnet8 entropic 0.3 | 84.00% | 2.00 | 300.0 | 330 | not measured | 500 | 40.0% |" in lines
    assert "| net fitted 0.2 | 95.00% | 7000 | 8000 | 7069 | 14000 | 50.0% |" in lines
    assert "| resnet8 relu_4 2 bits, zstd | 250 | 85.20% | 85.00% | -0.20 |" in lines
