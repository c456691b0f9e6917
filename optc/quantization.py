"""Quantization for Python code: calibrate and quantize, or fine-tune in PyTorch.

from optc.quantization import FineTuning, Methods, Quantizer, SelfCompression
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optc.driver.quantization.learning.block_learning import Recipe
    from optc.driver.quantization.learning.fine_tuning import FineTuning
    from optc.driver.quantization.learning.self_compression import SelfCompression
    from optc.driver.quantization.post_training import Methods
    from optc.driver.quantization.quantize import Quantizer

__all__ = ["FineTuning", "Methods", "Quantizer", "Recipe", "SelfCompression"]

_LAZY = {
    "FineTuning": "optc.driver.quantization.learning.fine_tuning",
    "Methods": "optc.driver.quantization.post_training",
    "Quantizer": "optc.driver.quantization.quantize",
    "Recipe": "optc.driver.quantization.learning.block_learning",
    "SelfCompression": "optc.driver.quantization.learning.self_compression",
}


def __getattr__(name: str) -> Any:
    """Import PyTorch only for what needs it."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'optc.quantization' has no attribute '{name}'")
