"""Convolutions and matrix products of codes, with the sum of another tensor behind them where there is one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optc.backends.c.addition import sum_record
from optc.backends.c.coding import Coding, fixed_point
from optc.backends.c.kernel import CKernel, Constant
from optc.backends.c.pattern import Body, Coded, NoMatch, Result, Stage
from optc.backends.c.window import Window, window_of_operation
from optc.ir.core import Operation

TOGETHER = 2  # pixels of which optc_convolve reads all before it completes one

CONTRACTIONS = frozenset({"onnx.Conv", "onnx.Gemm", "onnx.MatMul"})


@dataclass(frozen=True)
class _Contraction:
    """Attributes: data, its window, weights [outputs][taps × depth], scale and bias of each output, groups."""

    data: Coded
    window: Window
    weights: np.ndarray
    scales: np.ndarray
    bias: np.ndarray | None
    groups: int

    @property
    def outputs(self) -> int:
        return len(self.weights)


def contraction(body: Body, final: Stage) -> CKernel:
    """The kernel of a group whose operation is a convolution or a matrix product.

    Raises:
        NoMatch: it is none on codes.
    """
    found = _read(body, final.operation)
    if _is_depthwise(found) and final.result.coding is not None:
        return _depthwise(found, final.result, final.result.coding)
    return _convolution(found, final.result, None)


def contraction_and_sum(body: Body, final: Stage) -> CKernel:
    """The kernel of a group whose sum adds another tensor of codes to what a contraction makes.

    Raises:
        NoMatch: it is none on codes.
    """
    operands = final.operation.operands
    for own, other in ((0, 1), (1, 0)):
        value = operands[own]
        if value is None or value.producer is None or value.producer.operand(0) is None:
            continue
        inner = value.producer.operands[0]
        if inner is None or inner.owner is body.graph:
            continue
        stage = body.stage(inner)
        if stage.operation.name not in CONTRACTIONS or stage.result.coding is None:
            continue
        added = body.coded(operands[other])
        if added.value.shape != stage.operation.results[0].shape or final.result.coding is None:
            raise NoMatch("the sum repeats elements")
        found = _read(body, stage.operation)
        record = sum_record(stage.result.coding, added.coding, final.result)
        return _convolution(found, stage.result, (added, record))
    raise NoMatch("no operand of the sum comes from a contraction")


def contraction_and_bias(body: Body, final: Stage) -> CKernel:
    """The kernel of a group that adds a constant vector to a matrix product.

    Raises:
        NoMatch: it is none on codes.
    """
    for own, other in ((0, 1), (1, 0)):
        value = final.operation.operands[own]
        if value is None or value.producer is None or value.producer.name != "onnx.MatMul":
            continue
        bias = body.reals(final.operation.operands[other])
        if bias is None or bias.size not in (1, value.shape[-1]) or value.shape != final.operation.results[0].shape:
            break
        return _convolution(_read(body, value.producer, bias), final.result, None)
    raise NoMatch("it adds no bias to a matrix product")


def _read(body: Body, operation: Operation, bias: np.ndarray | None = None) -> _Contraction:
    data = body.coded(operation.operand(0))
    codes, scales, axis = body.weights(operation.operand(1))
    bias = body.reals(operation.operand(2)) if bias is None else bias
    if operation.name == "onnx.Conv":
        if scales.size > 1 and axis != 0:
            raise NoMatch("its weights have scales along another axis")
        kernel = codes.shape[2:]
        window = window_of_operation(operation, kernel)
        groups = int(operation.attributes.get("group", 1))  # type: ignore[arg-type]
        weights = np.moveaxis(codes.reshape(*codes.shape[:2], -1), 1, 2).reshape(len(codes), -1)
    else:
        if len(codes.shape) != 2:
            raise NoMatch("its weights are no matrix")
        transposed = operation.name == "onnx.Gemm" and bool(operation.attributes.get("transB", 0))
        if scales.size > 1 and axis != (0 if transposed else 1):
            raise NoMatch("its weights have scales along the summed axis")
        weights = codes if transposed else codes.T
        window, groups = _matrix_window(operation, data), 1
    if bias is not None and bias.size == 1:
        bias = np.repeat(bias.reshape(-1), len(weights))
    if bias is not None and bias.size != len(weights):
        raise NoMatch("its bias is no vector")
    scales = np.broadcast_to(scales, (len(weights),)) * data.coding.scale
    return _Contraction(
        data, window, np.ascontiguousarray(weights), scales, None if bias is None else bias.reshape(-1), groups
    )


def _matrix_window(operation: Operation, data: Coded) -> Window:
    attributes = operation.attributes
    if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
        raise NoMatch("it transposes or scales its operands")
    *rows, depth = data.value.shape
    count = int(np.prod(rows, dtype=int))
    if max(count, depth) >= 2**15:
        raise NoMatch("an extent exceeds 16 bits")
    return Window(rows=1, columns=count, channels=depth, result_rows=1, result_columns=count)


def _is_depthwise(found: _Contraction) -> bool:
    return found.groups == found.window.channels == found.outputs > 1


def _integer_bias(found: _Contraction) -> tuple[np.ndarray, np.ndarray]:
    """The bias in units of the sums, less what the zero point of the data adds; and the largest magnitude of sums."""
    weights = found.weights.astype(np.int64)
    zero = found.data.coding.zero
    bias = np.zeros(found.outputs) if found.bias is None else np.rint(found.bias / found.scales)
    reach = np.abs(weights).sum(axis=1) * max(127 - zero, zero + 128) + np.abs(bias)
    # Before the zero points are taken back the sums of codes alone, too, must fit.
    largest = np.maximum(reach, np.abs(weights).sum(axis=1) * 128 + np.abs(bias - zero * weights.sum(axis=1)))
    if largest.max(initial=0) >= 2**31:
        raise NoMatch("its sums may exceed 32 bits")
    return (bias - zero * weights.sum(axis=1)).astype(np.int32), reach


def _fixed(found: _Contraction, coding: Coding, reach: np.ndarray) -> tuple[np.ndarray, int, int]:
    fixed = fixed_point(found.scales / coding.scale, reach)
    if isinstance(fixed, str):
        raise NoMatch(fixed)
    return fixed.multipliers, fixed.left, fixed.shift


def _convolution(found: _Contraction, result: Result, added: tuple[Coded, str] | None) -> CKernel:
    bias, reach = _integer_bias(found)
    window = found.window
    direct = window.taps == 1 and not window.padded
    constants = [Constant("weights", found.weights), Constant("bias", bias)]
    defines = {"OPTC_CONVOLVE_ADD"} if added is not None else set()
    reals, overlap = "NULL", {}
    if result.coding is None:
        if (result.low, result.high) != (-np.inf, np.inf):
            raise NoMatch("a float result is clamped")
        constants.append(Constant("reals", found.scales.astype(np.float32)))
        defines.add("OPTC_REALS")
        fields = f"{found.data.coding.zero}, 0, 0, 0, 0, 1, $weights, $bias, NULL"
        reals = "$reals"
    else:
        multipliers, left, shift = _fixed(found, result.coding, reach)
        constants.append(Constant("multipliers", multipliers))
        numbers = (found.data.coding.zero, result.coding.zero, int(result.low), int(result.high), left, shift)
        fields = f"{', '.join(map(str, numbers))}, $weights, $bias, $multipliers"
        overlap = {found.data.position: window.distance(found.outputs, TOGETHER)}
    tail = f" OPTC_REALS_FIELD({reals}) OPTC_SUM_FIELD({'NULL' if added is None else '&$record_sum'})"
    record = f"{{{window.initializer}, {found.outputs}, {found.groups}, {fields}{tail}}}"
    other = "NULL"
    if added is not None:
        other = f"$in{added[0].position}"
        if added[0].position != found.data.position:
            overlap[added[0].position] = TOGETHER * found.outputs
        else:
            overlap = {}
    return CKernel(
        kind="convolve",
        call=f"optc_convolve(&$record, $in{found.data.position}, {other}, $out0, $scratch);",
        sources=("requantize.h", "dot.h", "window.h", "sum.h", "convolve.h"),
        constants=tuple(constants),
        record=("optc_convolution", record),
        sum_record=None if added is None else added[1],
        scratch_bytes=0 if direct else TOGETHER * found.weights.shape[1],
        overlap=overlap,
        defines=frozenset(defines),
    )


def _depthwise(found: _Contraction, result: Result, coding: Coding) -> CKernel:
    bias, reach = _integer_bias(found)
    multipliers, left, shift = _fixed(found, coding, reach)
    numbers = (found.data.coding.zero, coding.zero, int(result.low), int(result.high), left, shift)
    fields = f"{', '.join(map(str, numbers))}, $weights, $bias, $multipliers"
    return CKernel(
        kind="depthwise",
        call=f"optc_depthwise(&$record, $in{found.data.position}, $out0, $scratch);",
        sources=("requantize.h", "window.h", "depthwise.h"),
        constants=(
            Constant("weights", np.ascontiguousarray(found.weights.T)),
            Constant("bias", bias),
            Constant("multipliers", multipliers),
        ),
        record=("optc_depthwise_convolution", f"{{{found.window.initializer}, {fields}}}"),
        scratch_bytes=found.window.channels,
        overlap={found.data.position: found.window.distance(found.outputs, 1)},
    )
