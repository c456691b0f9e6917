"""The standard pipelines, as the text that `--passes` takes."""

from __future__ import annotations

from optc.passes.simplify import SIMPLIFY

PIPELINE = (
    f"{SIMPLIFY},integer-arithmetic,recognize-attention,"
    "widen-elements,expand-conv-transpose,expand-dynamic-quantize,pad-channels,layout,widen-blocks,distribute,fuse,"
    "settle-integers,fuse-blocks,order"
)
"""From an imported module to one whose native operations are fused groups, in the order that needs least memory."""

GPU_PIPELINE = (
    f"{SIMPLIFY},pack-weights,integer-arithmetic,recognize-attention,"
    "widen-elements,expand-conv-transpose,expand-dynamic-quantize,distribute,fuse,order"
)
"""The same for a GPU, whose threads read what they share from its own memory: there are no blocks of channels."""

SOURCE_PIPELINE = (
    f"expand-classical,{SIMPLIFY},expand-conv-transpose,expand-dynamic-quantize,"
    "signed-codes,dce,code-interface,dce,channels-last,fuse-codes,fuse,order"
)
"""From an imported module to kernels on codes, and fused groups of all else."""

__all__ = ["GPU_PIPELINE", "PIPELINE", "SIMPLIFY", "SOURCE_PIPELINE"]
