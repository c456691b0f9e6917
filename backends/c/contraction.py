"""Convolutions and matrix products of codes, with the sum of another tensor behind them where there is one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optc.backends.c.addition import sum_record
from optc.backends.c.coding import fixed_point
from optc.backends.c.families import Family
from optc.backends.c.kernel import CKernel, Constant
from optc.backends.c.pattern import Body, Coded, NoMatch, Result, Stage
from optc.backends.c.window import Window, window_of_operation
from optc.ir.core import Operation

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
        return _depthwise(found, final.result, body.family)
    return _convolution(found, final.result, None, body.family)


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
        return _convolution(found, stage.result, (added, record), body.family)
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
        return _convolution(_read(body, value.producer, bias), final.result, None, body.family)
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


def _finish(found: _Contraction, result: Result, reach: np.ndarray) -> tuple[str, list[Constant], set[str]]:
    """The fields of `optc_finish` for codes, its constants, and the preprocessor names that it asks for."""
    if result.coding is None:
        if (result.low, result.high) != (-np.inf, np.inf):
            raise NoMatch("a float result is clamped")
        return "0, 0, 0, 0, 1, NULL", [Constant("reals", found.scales.astype(np.float32))], {"OPTC_REALS"}
    fixed = fixed_point(found.scales / result.coding.scale, reach)
    if isinstance(fixed, str):
        raise NoMatch(fixed)
    numbers = (result.coding.zero, int(result.low), int(result.high), fixed.left, fixed.shift)
    return (
        f"{', '.join(map(str, numbers))}, $multipliers",
        [Constant("multipliers", fixed.multipliers)],
        ({"OPTC_LEFT_SHIFT"} if fixed.left else set()),
    )


def _flipped_bias(found: _Contraction, bias: np.ndarray) -> Constant:
    """For codes that are larger by 128."""
    exact = bias - 128 * found.weights.sum(axis=1, dtype=np.int64)
    return Constant("flipped_bias", exact.astype(np.uint32).view(np.int32))


def _convolution(found: _Contraction, result: Result, added: tuple[Coded, str] | None, family: Family) -> CKernel:
    bias, reach = _integer_bias(found)
    window, depth = found.window, found.weights.shape[1]
    banded = bool(family.band) and found.groups == 1 and window.suits_band
    lines = window.window_rows if banded else 1
    padded = lines * _round_up(depth // lines, family.depth)
    per_group = np.split(found.weights, found.groups)
    packed = np.concatenate([family.pack(_padded_lines(each, lines, family.depth)) for each in per_group])
    constants = [Constant("weights", packed), Constant("bias", bias)]
    biases = "$bias"
    if family.flips:
        constants.append(_flipped_bias(found, bias))
        biases = "OPTC_FLIPPED ? $flipped_bias : $bias"
    finish, more, defines = _finish(found, result, reach)
    together = window.result_columns if banded else family.pixels
    overlap: dict[int, int] = {}
    if result.coding is not None:
        overlap[found.data.position] = window.distance(found.outputs, together)
    other = "NULL"
    if added is not None:
        other = f"$in{added[0].position}"
        if added[0].position != found.data.position:
            overlap[added[0].position] = together * found.outputs
        else:
            overlap = {}
    defines |= {"OPTC_CONVOLVE_ADD"} if added is not None else set()
    reals = "$reals" if result.coding is None else "NULL"
    finish += f" OPTC_REALS_FIELD({reals}) OPTC_SUM_FIELD({'NULL' if added is None else '&$record_sum'})"
    fields = f"{found.outputs}, {found.groups}, {found.data.coding.zero}, $weights, {biases}, {{{finish}}}"
    operands = f"&$record, $in{found.data.position}, {other}, $out0"
    if banded:
        pitch = _round_up(window.reach_of_columns * window.channels, family.depth) + family.depth
        scratch = window.reach_of_rows * pitch
        call = f"optc_convolve_band({operands}, {pitch}, $scratch);"
    elif not family.gathers and window.taps == 1 and not window.padded and padded == depth:
        scratch, call = 0, f"optc_convolve({operands}, NULL);"
    else:
        scratch = min(family.pixels, window.result_rows * window.result_columns) * padded + family.slack
        call = f"optc_convolve({operands}, $scratch);"
    return CKernel(
        kind="convolve",
        call=call,
        sources=(*family.convolve, *(family.band if banded else family.gather)),
        constants=(*constants, *more),
        record=("optc_convolution", f"{{{window.initializer}, {fields}}}"),
        sum_record=None if added is None else added[1],
        scratch_bytes=scratch,
        overlap=overlap,
        defines=frozenset(defines),
    )


def _round_up(number: int, unit: int) -> int:
    return -(-number // unit) * unit


def _padded_lines(weights: np.ndarray, lines: int, unit: int) -> np.ndarray:
    """weights[outputs][lines × line] with zeros behind each line up to a multiple of `unit`."""
    split = weights.reshape(len(weights), lines, -1)
    padded = np.pad(split, ((0, 0), (0, 0), (0, -split.shape[2] % unit)))
    return padded.reshape(len(weights), -1)


def _depthwise(found: _Contraction, result: Result, family: Family) -> CKernel:
    bias, reach = _integer_bias(found)
    finish, more, defines = _finish(found, result, reach)
    window = found.window
    span = window.result_columns if family.whole_rows else 1
    finish += " OPTC_REALS_FIELD(NULL) OPTC_SUM_FIELD(NULL)"
    weights = Constant("weights", family.pack_depthwise(found.weights.T))
    constants = [weights, Constant("bias", bias)]
    flipped = "NULL"
    if family.flips:
        constants.append(_flipped_bias(found, bias))
        flipped = "$flipped_bias"
    fields = f"{found.data.coding.zero}, {span}, $weights, $bias, {flipped}, {{{finish}}}"
    return CKernel(
        kind="depthwise",
        call=f"optc_depthwise(&$record, $in{found.data.position}, $out0, $scratch);",
        sources=family.depthwise,
        constants=(*constants, *more),
        record=("optc_depthwise_convolution", f"{{{window.initializer}, {fields}}}"),
        scratch_bytes=window.channels + family.tap_bytes * window.taps,
        overlap={found.data.position: window.distance(found.outputs, span)},
        defines=frozenset(defines),
    )
