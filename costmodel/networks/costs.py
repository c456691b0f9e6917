"""What a network costs, as a sum of terms: each is a quantity times a price that depends on the board.

The logarithm of a price is linear in a board's coefficients, so that a board is one vector: how fast it is altogether,
at each kind of layer, at memory traffic, at starting layers, and how much small extents or odd channel counts hurt it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optc.costmodel.networks.ncnn_param import Layer, Network
from optc.costmodel.networks.ncnn_shapes import Shape, elements, infer_shapes, kernel_of

Array = npt.NDArray[np.float64]
SCALE, LAUNCH, GROUP_LAUNCH, FALLBACK = "scale", "launch", "group_launch", "fallback"

# Relative prices that a board is thought to have before it is seen: of a multiply-accumulate in a 1x1 convolution, and
# of moving an element; the units cancel, since `scale` is fitted. Rounded from what boards of ncnn's benchmark have in
# common. 3x3 convolutions of stride 1 use Winograd's algorithms.
_MULTIPLY = {
    "first": 0.6,
    "pointwise": 1.0,
    "winograd": 0.45,
    "window": 2.0,
    "depthwise": 2.0,
    "product": 2.5,
    "dense": 1.0,
}
_MOVE = {
    "transcendental": 8.0,
    "local_response": 40.0,
    "reorder": 10.0,
    "detection": 150.0,
    "anchor_boxes": 8.0,
    "pooling": 8.0,
    "reduction": 8.0,
}
_PLAIN_MOVE, _ACTIVATION, _TRANSFORM, _WEIGHT = 4.0, 7.0, 20.0, 1.5
_WINOGRAD_CHANNELS, _WINOGRAD_TILE = 16, 4  # channels below which ncnn multiplies directly; of the results
_UNIT = 1e-7  # of a multiply-accumulate, ms, on a board with all coefficients zero
_LAUNCH_MS = 3e-3
# Layers that ncnn's graphics processors leave to the processor: the data goes there and back.
_PROCESSOR_ONLY = ("Reduction", "DetectionOutput", "YoloDetectionOutput", "Yolov3DetectionOutput", "LayerNorm")
_FALLBACK_MS = 0.3

_KINDS: dict[str, str] = {
    **dict.fromkeys(("ReLU", "BatchNorm", "HardSwish", "HardSigmoid", "Clip", "Scale", "Bias", "PReLU"), "elementwise"),
    **dict.fromkeys(("BinaryOp", "Eltwise"), "binary"),
    **dict.fromkeys(("Concat", "Slice", "Crop", "Padding", "Interp"), "copy"),
    **dict.fromkeys(("ShuffleChannel", "Permute", "Reshape", "Flatten"), "reorder"),
    "DetectionOutput": "detection",
    **dict.fromkeys(("YoloDetectionOutput", "Yolov3DetectionOutput"), "anchor_boxes"),
    "LRN": "local_response",
    "Reduction": "reduction",
}  # fmt: skip
_FREE = ("Input", "Split", "MemoryData", "Noop", "PriorBox", "Dropout")
_SIMPLE = ("elementwise", "binary", "copy", "pooling", "global_pooling")


@dataclass(frozen=True)
class Term:
    """One summand: exp(log_quantity + sum over weights of weight × the board's coefficient), ms.

    Attributes:
        label: what similar networks spend similar shares of their time on.
        log_quantity: with the default price.
        weights: by the name of the coefficient.
    """

    label: str
    log_quantity: float
    weights: Mapping[str, float]


def terms(network: Network) -> list[Term]:
    """The terms of a network; those with equal weights are summed up. Raises ModelError for impossible layers."""
    shapes = infer_shapes(network)
    sums: dict[tuple[tuple[str, float], ...], tuple[str, float]] = {}
    for layer in network.layers:
        inputs, outputs = [shapes[blob] for blob in layer.inputs], [shapes[blob] for blob in layer.outputs]
        for term in _layer(layer, inputs, outputs):
            key = tuple(sorted((name, round(weight, 6)) for name, weight in term.weights.items() if weight))
            _, before = sums.get(key, ("", -math.inf))
            sums[key] = (term.label, float(np.logaddexp(before, term.log_quantity)))
    return [Term(label, quantity, dict(key)) for key, (label, quantity) in sums.items()]


def _layer(layer: Layer, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Iterator[Term]:
    if layer.type in _FREE:
        return
    arithmetic = _arithmetic(layer, inputs, outputs)
    moved = elements(inputs) + elements(outputs)
    group = "launch_other" if arithmetic is None else "launch_arithmetic"
    yield Term(LAUNCH, math.log(_LAUNCH_MS), {LAUNCH: 1.0, group: 1.0})
    if arithmetic is not None and arithmetic.grouped:
        price = {LAUNCH: 1.0, "launch_arithmetic": 1.0, GROUP_LAUNCH: 1.0}
        yield Term(LAUNCH, math.log(_LAUNCH_MS * (arithmetic.groups - 1)), price)
    if arithmetic is None:
        kind = _kind(layer)
        if layer.type in _PROCESSOR_ONLY:
            yield Term(FALLBACK, math.log(_FALLBACK_MS), {FALLBACK: 1.0})
        weights = {SCALE: 1.0, "memory": 1.0, "other": 1.0, kind: 1.0, "simple": float(kind in _SIMPLE)}
        yield Term(kind, math.log(moved * _MOVE.get(kind, _PLAIN_MOVE) * _UNIT), weights)
        return
    yield from arithmetic.terms(moved)


def _kind(layer: Layer) -> str:
    if layer.type == "Pooling":
        return "global_pooling" if layer.integer(4) else "pooling"
    return _KINDS.get(layer.type, "transcendental")


@dataclass(frozen=True)
class _Arithmetic:
    """Multiply-accumulates of one layer; channels are those that one of them sums over or yields."""

    kind: str
    multiplies: int
    weights: int
    in_channels: int
    out_channels: int
    positions: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    quantized: bool = False

    @property
    def grouped(self) -> bool:
        """Whether channels are summed within groups of several."""
        return self.groups > 1

    def terms(self, moved: int) -> Iterator[Term]:
        """Arithmetic, activations and weights."""
        kind, dense = self.kind, self.kind == "dense"
        price = {SCALE: 1.0, "multiply": 1.0, kind: 1.0}
        if self.quantized:
            price |= {"int8": 1.0, f"{kind}_int8": 1.0}
        if self.grouped:
            price |= {"grouped": 1.0, "narrow_groups": math.log1p(32 / self.in_channels)}
        if not dense and kind != "winograd":  # whose whole tiles say it already
            price["few_positions"] = math.log1p(49 / self.positions)
        if kind == "depthwise":
            price["strided"] = float(self.stride > 1)
        else:
            price["few_inputs"] = math.log1p(16 / self.in_channels)
            price["few_outputs"] = math.log1p(16 / self.out_channels)
        if kind in ("depthwise", "window"):
            price["window_size"] = math.log(self.kernel / 3)
        if kind not in ("first", "depthwise"):
            price["odd_inputs"] = float(self.in_channels % 4 != 0)
        price["odd_outputs"] = float(self.out_channels % 8 != 0)
        label = f"{kind}_int8" if self.quantized else kind
        yield Term(label, math.log(_MULTIPLY[kind] * self.multiplies * _UNIT), price)
        suffix = "_int8" if self.quantized else ""
        if not dense:
            price = {SCALE: 1.0, "memory": 1.0, "activations": 1.0, "activations_int8": float(self.quantized)}
            yield Term(f"activations{suffix}", math.log(moved * _ACTIVATION * _UNIT), price)
        if kind == "winograd":
            price = {SCALE: 1.0, "memory": 1.0, "transforms": 1.0, "transforms_int8": float(self.quantized)}
            yield Term("transforms", math.log(moved * _TRANSFORM * _UNIT), price)
        if kind in ("first", "window") and self.kernel > 1:
            gathered = self.positions * self.in_channels * self.groups * self.kernel**2
            yield Term("gather", math.log(gathered * _ACTIVATION * _UNIT), {SCALE: 1.0, "memory": 1.0, "gather": 1.0})
        price = {SCALE: 1.0, "memory": 1.0, "weights": 1.0, "weights_int8": float(self.quantized)}
        price["dense_weights"] = float(dense)
        yield Term(f"dense_weights{suffix}" if dense else f"weights{suffix}",
                   math.log(self.weights * _WEIGHT * _UNIT), price)  # fmt: skip


def _arithmetic(layer: Layer, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> _Arithmetic | None:
    if layer.type in ("Convolution", "ConvolutionDepthWise", "Deconvolution", "DeconvolutionDepthWise"):
        return _convolution(layer, inputs[0], outputs[0])
    if layer.type == "InnerProduct":
        weights, out = max(layer.integer(2), 1), max(layer.integer(0), 1)
        rows = max(1, elements(outputs) // out)
        return _Arithmetic("dense", weights * rows, weights, max(1, weights // out), out, rows,
                           quantized=8 in layer.parameters)  # fmt: skip
    if layer.type == "Gemm":
        columns = outputs[0][0]
        rows = max(1, elements(outputs) // columns)
        depth = layer.integer(9) or max(1, elements(inputs[:1]) // rows)
        return _Arithmetic("product", rows * columns * depth, columns * depth, depth, columns, rows)
    if layer.type == "MultiHeadAttention":
        width, rows = layer.integer(0), inputs[0][1] if len(inputs[0]) > 1 else 1
        multiplies = 4 * width**2 * rows + 2 * rows**2 * width
        return _Arithmetic("product", multiplies, 4 * width**2, width, width, rows)
    return None


def _convolution(layer: Layer, source: Shape, result: Shape) -> _Arithmetic:
    transposed = layer.type.startswith("Deconvolution")
    groups = layer.integer(7, 1) if layer.type.endswith("DepthWise") else 1
    base = source if transposed else result
    positions, weights = base[0] * base[1], max(layer.integer(6), 1)
    inputs, outputs, kernel, stride = source[2], result[2], max(kernel_of(layer)), layer.integer(3, 1)
    depthwise = groups > 1 and groups == inputs == outputs
    if depthwise:
        kind = "depthwise"
    elif inputs <= 4 and groups == 1:
        kind = "first"
    elif kernel == 1:
        kind = "pointwise"
    else:
        plain = kernel == 3 and stride == 1 and layer.integer(2, 1) == 1
        kind = "winograd" if plain and min(inputs // groups, outputs // groups) >= _WINOGRAD_CHANNELS else "window"
    split = 1 if depthwise else groups
    whole = _tiled(result[0]) * _tiled(result[1]) if kind == "winograd" else positions
    return _Arithmetic(kind, weights * whole, weights, max(1, inputs // split), outputs,
                       positions, kernel, stride, split, 8 in layer.parameters)  # fmt: skip


def _tiled(extent: int) -> int:
    """An extent of the result in whole tiles of Winograd's algorithm."""
    return -(-extent // _WINOGRAD_TILE) * _WINOGRAD_TILE


@dataclass(frozen=True)
class Costs:
    """The terms of several networks as arrays.

    Attributes:
        names: of the networks.
        weights: shape (terms, coefficients).
        log_quantities: shape (terms,).
        labels: shape (terms,), indices.
        starts: shape (networks,), the first term of each.
    """

    names: tuple[str, ...]
    weights: Array
    log_quantities: Array
    labels: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]

    @staticmethod
    def of(networks: Mapping[str, Sequence[Term]], coefficients: Sequence[str], labels: Sequence[str]) -> Costs:
        """Gather terms. Weights of unknown coefficients are left out; an unknown label has index len(labels)."""
        place = {name: index for index, name in enumerate(coefficients)}
        label_of = {name: index for index, name in enumerate(labels)}
        every = [term for found in networks.values() for term in found]
        weights = np.zeros((len(every), len(coefficients)))
        for row, term in enumerate(every):
            for name, weight in term.weights.items():
                if name in place:
                    weights[row, place[name]] = weight
        return Costs(
            tuple(networks),
            weights,
            np.array([term.log_quantity for term in every]),
            np.array([label_of.get(term.label, len(labels)) for term in every], np.int64),
            np.concatenate(([0], np.cumsum([len(found) for found in networks.values()])[:-1])).astype(np.int64),
        )

    def latencies(self, boards: Array) -> Array:
        """Logarithms of ms, shape (boards, networks), for coefficients of shape (boards, coefficients)."""
        prices = np.exp(boards @ self.weights.T + self.log_quantities)
        return np.asarray(np.log(np.add.reduceat(prices, self.starts, axis=1)))

    def latencies_and_slopes(self, boards: Array) -> tuple[Array, Array]:
        """`latencies`, and their derivatives of shape (boards, networks, coefficients)."""
        prices = np.exp(boards @ self.weights.T + self.log_quantities)
        totals = np.add.reduceat(prices, self.starts, axis=1)
        slopes = np.empty((len(boards), len(self.starts), self.weights.shape[1]))
        ends = np.append(self.starts[1:], len(self.log_quantities))
        for index, (start, end) in enumerate(zip(self.starts, ends, strict=True)):
            slopes[:, index] = prices[:, start:end] @ self.weights[start:end] / totals[:, index, None]
        return np.log(totals), slopes

    def shares(self, board: Array, labels: int) -> Array:
        """The share of its time that each network spends on each label, shape (networks, labels + 1)."""
        prices = np.exp(self.weights @ board + self.log_quantities)
        ends = np.append(self.starts[1:], len(prices))
        found = np.zeros((len(self.starts), labels + 1))
        for index, (start, end) in enumerate(zip(self.starts, ends, strict=True)):
            np.add.at(found[index], self.labels[start:end], prices[start:end] / prices[start:end].sum())
        return found
