"""Shapes of all blobs of an ncnn graph; shapes are (w, h, c), (w, h) or (w,), as ncnn orders them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from optc.costmodel.networks.ncnn_param import Layer, Network
from optc.errors import ModelError

Shape = tuple[int, ...]
Rule = Callable[[Layer, list[Shape]], list[Shape]]

_SAME_UPPER, _SAME_LOWER = -233, -234
_REST = -233  # in Slice and Reshape: what is left
RULES: dict[str, Rule] = {}


def infer_shapes(network: Network) -> dict[str, Shape]:
    """The shape of each blob by name.

    Raises:
        ModelError: a layer's type is unknown or its inputs do not fit it; it names the network and the layer.
    """
    shapes: dict[str, Shape] = {}
    for layer in network.layers:
        where = f"{network.name}, layer {layer.name} ({layer.type})"
        rule = RULES.get(layer.type, _same if layer.inputs else None)
        if layer.type == "Input":
            outputs = [_input(layer, network, where)]
        elif rule is None:
            raise ModelError("The shape of this layer's output is not known.", where=where)
        else:
            try:
                outputs = rule(layer, [shapes[blob] for blob in layer.inputs])
            except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
                raise ModelError("The layer does not fit its inputs.", where=where, why=str(error)) from error
        if any(extent < 1 for shape in outputs for extent in shape):
            raise ModelError("The layer's output is empty.", where=where, why=f"shapes {outputs}")
        shapes.update(zip(layer.outputs, outputs, strict=False))
    return shapes


def _rule(*types: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(types, rule))
        return rule

    return register


def _input(layer: Layer, network: Network, where: str) -> Shape:
    extents = tuple(layer.integer(key) for key in (0, 1, 2) if layer.integer(key) > 0)
    if extents:
        return extents
    if network.input_whc is None:
        raise ModelError("The graph does not say the size of its input.", where=where,
                         hint="Write it into the Input layer: 0=W 1=H 2=C.")  # fmt: skip
    return network.input_whc


def _same(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    return [inputs[0]] * len(layer.outputs)


@_rule("BinaryOp", "Eltwise")
def _broadcast(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    return [max(inputs, key=lambda shape: (len(shape), math.prod(shape)))]


def kernel_of(layer: Layer) -> tuple[int, int]:
    """Width and height of a convolution's or pooling's window."""
    return layer.integer(1), layer.integer(11, layer.integer(1))


def _strides(layer: Layer, key: int) -> tuple[int, int]:
    return layer.integer(key, 1), layer.integer(key + 10, layer.integer(key, 1))


@_rule("Convolution", "ConvolutionDepthWise")
def _convolution(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    w, h, _ = inputs[0]
    kernel, dilation, stride = kernel_of(layer), _strides(layer, 2), _strides(layer, 3)
    left = layer.integer(4)
    top = layer.integer(14, left)
    if left in (_SAME_UPPER, _SAME_LOWER):
        return [(math.ceil(w / stride[0]), math.ceil(h / stride[1]), layer.integer(0))]
    pads = (left + layer.integer(15, left), top + layer.integer(16, top))
    size = [
        (extent + pad - d * (k - 1) - 1) // s + 1
        for extent, pad, d, k, s in zip((w, h), pads, dilation, kernel, stride, strict=True)
    ]
    return [(size[0], size[1], layer.integer(0))]


@_rule("Deconvolution", "DeconvolutionDepthWise")
def _deconvolution(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    w, h, _ = inputs[0]
    kernel, dilation, stride = kernel_of(layer), _strides(layer, 2), _strides(layer, 3)
    left = max(layer.integer(4), 0)
    top = max(layer.integer(14, left), 0)
    pads = (left + layer.integer(15, left), top + layer.integer(16, top))
    extra = (layer.integer(18), layer.integer(19, layer.integer(18)))
    size = [
        (extent - 1) * s + d * (k - 1) + 1 - pad + more
        for extent, pad, d, k, s, more in zip((w, h), pads, dilation, kernel, stride, extra, strict=True)
    ]
    return [(size[0], size[1], layer.integer(0))]


@_rule("Pooling")
def _pooling(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    w, h, c = inputs[0]
    if layer.integer(4):
        return [(c,)]
    if layer.integer(7):
        return [(layer.integer(8), layer.integer(18, layer.integer(8)), c)]
    kernel = kernel_of(layer)
    stride = (layer.integer(2, 1), layer.integer(12, layer.integer(2, 1)))
    left = layer.integer(3)
    top = layer.integer(13, left)
    pads = (left + layer.integer(14, left), top + layer.integer(15, top))
    mode = layer.integer(5)
    size = []
    for extent, pad, k, s in zip((w, h), pads, kernel, stride, strict=True):
        if mode in (2, 3):
            size.append(math.ceil(extent / s))
        elif mode == 1:
            size.append((extent + pad - k) // s + 1)
        else:  # the last window is completed by padding
            size.append(-(-(extent + pad - k) // s) + 1)
    return [(size[0], size[1], c)]


@_rule("InnerProduct")
def _inner_product(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    outputs = layer.integer(0)
    rows = inputs[0]
    return [(outputs, rows[1])] if len(rows) == 2 and rows[0] * outputs == layer.integer(2) else [(outputs,)]


@_rule("Gemm")
def _gemm(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    constant_b = layer.integer(5)
    columns = layer.integer(8) if constant_b else (inputs[1][1] if layer.integer(3) else inputs[1][0])
    rows = layer.integer(7) or (inputs[0][0] if layer.integer(2) else inputs[0][1])
    return [(rows, columns)] if layer.integer(14) else [(columns, rows)]


@_rule("MultiHeadAttention")
def _attention(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    return [inputs[0]]


@_rule("Concat")
def _concat(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    rank = len(inputs[0])
    axis = rank - 1 - layer.integer(0) % rank  # ncnn's axis 0 is the outermost
    total = sum(shape[axis] for shape in inputs)
    return [(*inputs[0][:axis], total, *inputs[0][axis + 1 :])]


@_rule("Slice")
def _slice(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    shape = inputs[0]
    axis = len(shape) - 1 - layer.integer(1) % len(shape)
    parts = [int(part) for part in layer.array(0)] or [_REST] * len(layer.outputs)
    left, sizes = shape[axis], []
    for index, part in enumerate(parts):
        size = left // (len(parts) - index) if part == _REST else part
        sizes.append(size)
        left -= size
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]


@_rule("Crop")
def _crop(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    shape = inputs[0]
    if len(inputs) > 1:
        return [inputs[1]]
    starts, ends, axes = layer.array(9), layer.array(10), layer.array(11)
    if starts:
        extents = list(shape)
        chosen = axes or list(range(len(starts)))
        for start, end, axis in zip(starts, ends, chosen, strict=True):
            position = len(shape) - 1 - int(axis) % len(shape)
            extents[position] = _index(end, extents[position]) - _index(start, extents[position])
        return [tuple(extents)]
    sizes = [layer.integer(key) for key in (3, 4, 5)][: len(shape)]
    offsets = [layer.integer(key) for key in (0, 1, 2)][: len(shape)]
    return [tuple(size or extent - off for size, off, extent in zip(sizes, offsets, shape, strict=True))]


def _index(value: float, extent: int) -> int:
    index = int(value)
    return min(index + extent if index < 0 else index, extent)


@_rule("Interp")
def _interp(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    w, h, c = inputs[0]
    if len(inputs) > 1:
        return [(inputs[1][0], inputs[1][1], c)]
    # ncnn's keys name height before width.
    return [(layer.integer(4) or int(w * layer.number(2, 1.0)), layer.integer(3) or int(h * layer.number(1, 1.0)), c)]


@_rule("Padding")
def _padding(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    w, h, *rest = (*inputs[0], 1)[: max(2, len(inputs[0]))]
    w, h = w + layer.integer(2) + layer.integer(3), h + layer.integer(0) + layer.integer(1)
    return [(w, h, rest[0] + layer.integer(7) + layer.integer(8))] if rest else [(w, h)]


@_rule("MemoryData")
def _memory_data(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    return [tuple(layer.integer(key) for key in (0, 1, 2) if layer.integer(key) > 0)]


@_rule("Flatten")
def _flatten(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    return [(math.prod(inputs[0]),)]


@_rule("Permute")
def _permute(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    shape = inputs[0]
    if len(shape) == 2:
        return [shape[::-1] if layer.integer(0) else shape]
    orders = ((0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 0, 1), (1, 2, 0), (2, 1, 0))
    return [tuple(shape[axis] for axis in orders[layer.integer(0)])]


@_rule("Reshape")
def _reshape(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    given = [layer.integer(key, _REST) for key in (0, 1, 2)]
    wanted = [inputs[0][position] if size == 0 else size for position, size in enumerate(given) if size != _REST]
    known = math.prod(size for size in wanted if size > 0)
    return [tuple(size if size > 0 else math.prod(inputs[0]) // known for size in wanted)]


@_rule("Reduction")
def _reduction(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    shape = inputs[0]
    axes = {int(axis) % len(shape) for axis in layer.array(3)}
    if layer.integer(1, 1) or not axes:
        axes = set(range(len(shape)))
    flags = [len(shape) - 1 - position in axes for position in range(len(shape))]
    if layer.integer(4):
        return [tuple(1 if reduced else extent for extent, reduced in zip(shape, flags, strict=True))]
    return [tuple(extent for extent, reduced in zip(shape, flags, strict=True) if not reduced) or (1,)]


@_rule("PriorBox")
def _prior_box(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    w, h, _ = inputs[0]
    ratios = len(layer.array(2)) * (2 if layer.integer(7, 1) else 1)
    boxes = len(layer.array(0)) * (1 + ratios) + len(layer.array(1))
    return [(w * h * boxes * 4, 2)]


@_rule("DetectionOutput", "YoloDetectionOutput", "Yolov3DetectionOutput")
def _detections(layer: Layer, inputs: list[Shape]) -> list[Shape]:
    return [(6, max(layer.integer(2, 100), 1) if layer.type == "DetectionOutput" else 100)]


def elements(shapes: Sequence[Shape]) -> int:
    """All elements of some blobs."""
    return sum(math.prod(shape) for shape in shapes)
