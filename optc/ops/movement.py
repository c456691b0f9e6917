"""Reshaping, slicing, gathering: elements move, nothing is computed. Shapes come from `optc.ops.movement_shapes`."""

from __future__ import annotations

from optc.ops import movement_shapes as shapes
from optc.ops.declaration import Infer, Kind, declare
from optc.ops.elementwise import no_flops, same_shape

_MOVEMENT: dict[str, Infer] = {
    "Reshape": shapes.reshape,
    "Flatten": shapes.flatten,
    "Squeeze": shapes.squeeze,
    "Unsqueeze": shapes.unsqueeze,
    "Transpose": shapes.transpose,
    "Concat": shapes.concat,
    "Split": shapes.split,
    "Slice": shapes.slice_,
    "Gather": shapes.gather,
    "GatherElements": shapes.like_indices,
    "GatherND": shapes.gather_nd,
    "Expand": shapes.expand,
    "Tile": shapes.tile,
    "Pad": shapes.pad,
    "DepthToSpace": shapes.depth_to_space,
    "SpaceToDepth": shapes.space_to_depth,
    "ConstantOfShape": shapes.constant_of_shape,
    "Range": shapes.range_,
    "EyeLike": shapes.eye_like,
    "OneHot": shapes.one_hot,
    "Trilu": same_shape,
    "ReverseSequence": same_shape,
}
for _name, _infer in _MOVEMENT.items():
    declare(f"onnx.{_name}", Kind.MOVEMENT, infer=_infer, flops=no_flops)

# These read the shape only, or scatter: no single source element for each result element.
declare("onnx.Shape", Kind.OPAQUE, infer=shapes.shape, flops=no_flops)
declare("onnx.Size", Kind.OPAQUE, infer=shapes.size, flops=no_flops)
declare("onnx.ScatterElements", Kind.REDUCTION, infer=same_shape, flops=no_flops)
declare("onnx.ScatterND", Kind.REDUCTION, infer=same_shape, flops=no_flops)
declare("onnx.NonZero", Kind.OPAQUE, infer=shapes.non_zero, flops=no_flops)

# Nearest neighbour moves, linear and cubic interpolation read a window; one declaration serves them all.
declare("onnx.Resize", Kind.WINDOW, infer=shapes.resize, flops=shapes.resize_flops)
