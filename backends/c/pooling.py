"""Means and largest codes of windows."""

from __future__ import annotations

import numpy as np

from optc.backends.c.coding import fixed_point
from optc.backends.c.kernel import CKernel
from optc.backends.c.pattern import Body, NoMatch, Stage
from optc.backends.c.window import Window, window_of_operation
from optc.ir.core import Operation
from optc.ops.values import ints_of


def mean(body: Body, final: Stage) -> CKernel:
    """The kernel of a group that takes means over windows or over all of an image.

    Raises:
        NoMatch: it is none on codes.
    """
    operation, result = final.operation, final.result
    data = body.coded(operation.operand(0))
    window = _mean_window(body, operation)
    if window.padded or result.coding is None:
        raise NoMatch("its windows reach beyond the image, or its result is float")
    reach = np.asarray([window.taps * 255.0])
    fixed = fixed_point(np.asarray([data.coding.scale / (result.coding.scale * window.taps)]), reach)
    if isinstance(fixed, str):
        raise NoMatch(fixed)
    numbers = (
        -window.taps * data.coding.zero, int(fixed.multipliers[0]), result.coding.zero, int(result.low),
        int(result.high), fixed.left, fixed.shift,
    )  # fmt: skip
    return CKernel(
        kind="mean",
        call=f"optc_average(&$record, $in{data.position}, $out0);",
        sources=("requantize.h", "window.h", "pool.h"),
        record=("optc_mean", f"{{{window.initializer}, {', '.join(map(str, numbers))}}}"),
        overlap={data.position: window.distance(window.channels, 1)},
    )


def _mean_window(body: Body, operation: Operation) -> Window:
    data = operation.operands[0]
    assert data is not None
    if operation.name == "onnx.AveragePool":
        return window_of_operation(operation)
    if operation.name == "onnx.ReduceMean":
        axes = ints_of(operation.operand(1)) if operation.operand(1) is not None else None
        rank = len(data.shape)
        if axes is None or sorted(axis % rank for axis in axes) != list(range(2, rank)):
            raise NoMatch("it takes means over other axes than those of an image")
    batch, channels, *image = data.shape
    if batch != 1 or len(image) not in (1, 2) or max(*image, channels) >= 2**15:
        raise NoMatch("it runs on more than one image, or on no image of one or two axes")
    rows, columns = image if len(image) == 2 else (1, *image)
    return Window(rows, columns, channels, rows, columns)


def largest(body: Body, final: Stage) -> CKernel:
    """The kernel of a group that takes the largest codes of windows.

    Raises:
        NoMatch: it is none on codes, or the codes of its result stand for other reals.
    """
    data = body.coded(final.operation.operand(0))
    if len(final.operation.results) > 1 or final.result.coding != data.coding:
        raise NoMatch("its result has another scale than its operand, or it returns indices")
    if (final.result.low, final.result.high) != (-128, 127):
        raise NoMatch("its result is clamped")
    window = window_of_operation(final.operation)
    return CKernel(
        kind="maximum",
        call=f"optc_maximum(&$record, $in{data.position}, $out0);",
        sources=("window.h", "maximum.h"),
        record=("optc_window", window.initializer),
        overlap={data.position: window.distance(window.channels, 1)},
    )
