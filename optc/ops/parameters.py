"""Operands that shape the code of an operation, such as axes, and so must be constants where it is compiled."""

from __future__ import annotations

_REDUCTIONS = ("Sum", "Mean", "Max", "Min", "Prod", "SumSquare", "L1", "L2", "LogSum", "LogSumExp")

PARAMETERS: dict[str, tuple[int, ...]] = {
    "onnx.Reshape": (1,),
    "onnx.Squeeze": (1,),
    "onnx.Unsqueeze": (1,),
    "onnx.Expand": (1,),
    "onnx.Slice": (1, 2, 3, 4),
    "onnx.Split": (1,),
    "onnx.Tile": (1,),
    "onnx.Trilu": (1,),
    "onnx.Pad": (1, 3),
    "onnx.OneHot": (1,),
    "onnx.CumSum": (1,),
    "onnx.CumProd": (1,),
    "onnx.ConstantOfShape": (0,),
    "onnx.Resize": (1, 2, 3),
    "onnx.Upsample": (1,),
    "onnx.TopK": (1,),
    **{f"onnx.Reduce{kind}": (1,) for kind in _REDUCTIONS},
}
"""Operand positions by operation."""

