"""The standard pipelines, as the text that `--passes` takes."""

from __future__ import annotations

from optc.passes.simplify import SIMPLIFY

PIPELINE = (
    f"{SIMPLIFY},integer-arithmetic,recognize-attention,"
    "widen-elements,expand-conv-transpose,pad-channels,layout,widen-blocks,distribute,fuse,settle-integers,fuse-blocks,order"
)
"""From an imported module to one whose native operations are fused groups, in the order that needs least memory."""

__all__ = ["PIPELINE", "SIMPLIFY"]
