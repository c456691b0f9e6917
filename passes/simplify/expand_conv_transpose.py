"""Turns a transposed convolution into a convolution at the low resolution and a shuffle of its channels."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from optc.ir.core import Module, Operation, Value
from optc.ir.types import TensorType
from optc.ops.contraction import conv_transpose_padding, spatial
from optc.passes.base import Pass, PassContext
from optc.passes.rewrite import Builder, Miss, apply_rules, on


@dataclass(frozen=True)
class ExpandConvTranspose(Pass):
    """Replace ConvTranspose with constant weights by Conv, Reshape, Transpose, Reshape and, where it cuts, Slice.

    With stride s each output position takes every s-th tap of the kernel: the s phases of the output are s ordinary
    convolutions of the input, computed as one with s times the channels (the sub-pixel view of Shi et al., "Is the
    deconvolution layer the same as a convolutional layer?", 2016). Convolutions are fast; scattered sums are not.
    """

    name: ClassVar[str] = "expand-conv-transpose"

    def run(self, module: Module, context: PassContext) -> bool:
        return apply_rules(module, [sub_pixel], context, self.name)


@on("ConvTranspose")
def sub_pixel(op: Builder, operation: Operation) -> Value | Miss:
    """ConvTranspose → Conv + depth to space."""
    data, weight = operation.operands[:2]
    result = operation.results[0]
    array = None if weight is None else weight.constant
    if data is None or array is None or not (_is_static(data) and _is_static(result)):
        return Miss("the weights are not constant, or a shape is not static")
    rank = array.ndim - 2
    if operation.attributes.get("group", 1) != 1 or set(spatial(operation, "dilations", rank)) != {1}:
        return Miss("it has groups or dilations")
    batch, _, *extents = data.shape
    strides = spatial(operation, "strides", rank)
    cuts = [before for before, _ in conv_transpose_padding(operation, data.shape, array.shape[2:])]
    taps = [-(-kernel // stride) for kernel, stride in zip(array.shape[2:], strides, strict=True)]
    low = [extent + count - 1 for extent, count in zip(extents, taps, strict=True)]
    full = [extent * stride for extent, stride in zip(low, strides, strict=True)]
    wanted = result.shape[2:]
    if any(cut < 0 or cut + want > have for cut, want, have in zip(cuts, wanted, full, strict=True)):
        return Miss("output_padding reaches beyond what the taps cover")
    channels, phases = array.shape[1], int(np.prod(strides))
    bias = operation.operand(2)
    operands = [data, op.constant(_phase_weights(array, strides, taps))]
    if bias is not None:
        if bias.constant is None:
            return Miss("the bias is not constant")
        operands.append(op.constant(np.repeat(bias.constant, phases)))
    pads = tuple(count - 1 for count in taps) * 2
    ones = (1,) * rank
    phased = op.Conv(*operands, kernel_shape=tuple(taps), pads=pads, strides=ones, dilations=ones, group=1)
    split = op.Reshape(phased, np.array([batch, channels, *strides, *low], np.int64))
    order = [0, 1, *itertools.chain.from_iterable((2 + rank + axis, 2 + axis) for axis in range(rank))]
    whole = op.Reshape(op.Transpose(split, perm=tuple(order)), np.array([batch, channels, *full], np.int64))
    if list(wanted) == full:
        return whole
    ends = [cut + want for cut, want in zip(cuts, wanted, strict=True)]
    return op.Slice(whole, np.array(cuts, np.int64), np.array(ends, np.int64), np.arange(2, 2 + rank, dtype=np.int64))


def _is_static(value: Value) -> bool:
    return isinstance(value.type, TensorType) and value.type.is_static


def _phase_weights(array: np.ndarray, strides: tuple[int, ...], taps: list[int]) -> np.ndarray:
    """Weights (C, O, *kernel) of the transposed form as (O·phases, C, *taps), flipped, missing taps zero."""
    channels, outputs, *kernel = array.shape
    padded = np.pad(
        array, [(0, 0), (0, 0), *((0, count * s - k) for k, s, count in zip(kernel, strides, taps, strict=True))]
    )
    rank = len(kernel)
    # (C, O, taps0, s0, taps1, s1 …): a tap k of the kernel is tap k // s of phase k % s.
    divided = padded.reshape(channels, outputs, *itertools.chain.from_iterable(zip(taps, strides, strict=True)))
    flipped = np.flip(divided, axis=tuple(2 + 2 * axis for axis in range(rank)))
    order = [1, *(3 + 2 * axis for axis in range(rank)), 0, *(2 + 2 * axis for axis in range(rank))]
    return np.ascontiguousarray(flipped.transpose(order).reshape(-1, channels, *taps))
