"""Small random networks of realistic layers: what the zoo's models do not hold, the passes make groups of these."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = (8, 12, 16, 24, 32, 40, 48, 64, 72, 80, 96, 112, 120, 128, 144, 160, 184, 192, 200, 240, 256, 288, 320, 384,
            432, 480, 512, 576, 640, 672, 768, 960, 1024, 1152, 1280)  # fmt: skip
EXTENTS = (1, 3, 4, 6, 7, 8, 10, 12, 14, 16, 20, 24, 26, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160)
WIDTHS = (48, 64, 96, 128, 192, 256, 312, 384, 512, 768)
LENGTHS = (1, 8, 16, 32, 49, 64, 96, 128, 160, 196, 197, 256)
MOST_FLOPS = 6e8
MOST_PARAMETERS = 3_000_000
MOST_ELEMENTS = 2_000_000


def random_network(seed: int) -> onnx.ModelProto:
    """A chain of a few layers with random weights; equal seeds give equal networks."""
    generator = random.Random(seed)
    builder = _Images(generator) if generator.random() < 0.72 else _Tokens(generator)
    return builder.build()


class _Builder:
    """Nodes, weights and the shape of the value at the end of the chain."""

    def __init__(self, generator: random.Random) -> None:
        self.random = generator
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.name = "x"
        self.shape: list[int] = []
        self.flops = 0.0
        self._count = 0
        self._numbers = np.random.default_rng(generator.randrange(1 << 30))

    def fresh(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def node(self, kind: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> str:
        """Append a node; returns its first output."""
        names = [self.fresh() for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0]

    def outputs(self) -> list[str]:
        return list(self.nodes[-1].output)

    def weight(self, *shape: int) -> str:
        name = self.fresh()
        array = (self._numbers.standard_normal(shape) * 0.1).astype(np.float32)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def integers(self, *values: int) -> str:
        name = self.fresh()
        self.weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def scalar(self, value: float) -> str:
        name = self.fresh()
        self.weights.append(numpy_helper.from_array(np.array(value, np.float32), name))
        return name

    def activation(self, value: str) -> str:
        """One of the usual ones, or none."""
        kind = self.random.choice(
            ("Relu", "Relu", "Clip", "HardSwish", "Silu", "Gelu", "LeakyRelu", "Sigmoid", "Tanh", "", "")
        )
        if kind == "Clip":
            return self.node("Clip", [value, self.scalar(0.0), self.scalar(6.0)])
        if kind == "Silu":
            return self.node("Mul", [value, self.node("Sigmoid", [value])])
        if kind == "Gelu":
            half = self.node("Erf", [self.node("Div", [value, self.scalar(1.4142135)])])
            return self.node(
                "Mul", [self.node("Mul", [value, self.node("Add", [half, self.scalar(1.0)])]), self.scalar(0.5)]
            )
        return self.node(kind, [value]) if kind else value

    def finish(self, shape: list[int]) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(self.name, TensorProto.FLOAT, self.shape)],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)

    def chain(self, layers: list[Callable[[], bool]], start: list[int]) -> onnx.ModelProto:
        """Apply random layers; one that would be too large or does not fit returns False and is left out."""
        wanted, tries = self.random.randint(2, 6), 0
        while wanted and tries < 40:
            tries += 1
            wanted -= int(self.random.choice(layers)())
        if not self.nodes:
            self.name = self.node("Relu", [self.name])
        return self.finish(start)


class _Images(_Builder):
    """Convolutional layers over 1 x channels x height x width."""

    def build(self) -> onnx.ModelProto:
        height = self.random.choice(EXTENTS)
        width = height if self.random.random() < 0.7 else self.random.choice(EXTENTS)
        channels = 3 if self.random.random() < 0.06 else self.random.choice(CHANNELS)
        while channels * height * width > MOST_ELEMENTS:
            height, width = max(1, height // 2), max(1, width // 2)
        self.shape = [1, channels, height, width]
        layers = [
            *[self.pointwise] * 6, *[self.convolution] * 4, *[self.depthwise] * 4, *[self.residual] * 3, self.excite,
            self.inverted, self.inverted, self.pool, self.head, self.concatenate, self.resize, self.normalise,
            self.scale, self.grouped, self.halves, self.transposed,
        ]  # fmt: skip
        return self.chain(layers, list(self.shape))

    def _convolve(
        self, value: str, channels: int, kernel: tuple[int, int], stride: int = 1, group: int = 1, dilation: int = 1
    ) -> str | None:
        """A convolution of `value`, which has the current shape; None where it would be too large."""
        _, depth, height, width = self.shape
        pads = [(extent - 1) * dilation // 2 for extent in kernel]
        out = [
            (extent + 2 * pad - dilation * (taps - 1) - 1) // stride + 1
            for extent, pad, taps in zip((height, width), pads, kernel, strict=True)
        ]
        parameters = channels * depth // group * kernel[0] * kernel[1]
        flops = 2.0 * parameters * out[0] * out[1]
        if (
            min(out) < 1
            or parameters > MOST_PARAMETERS
            or flops > MOST_FLOPS
            or channels * out[0] * out[1] > MOST_ELEMENTS
        ):
            return None
        inputs = [value, self.weight(channels, depth // group, *kernel)]
        if self.random.random() < 0.85:
            inputs.append(self.weight(channels))
        self.shape = [1, channels, *out]
        return self.node(
            "Conv",
            inputs,
            kernel_shape=list(kernel),
            strides=[stride] * 2,
            pads=pads * 2,
            group=group,
            dilations=[dilation] * 2,
        )

    def _step(self, value: str | None) -> bool:
        if value is None:
            return False
        self.name = self.activation(value)
        return True

    def pointwise(self) -> bool:
        return self._step(
            self._convolve(self.name, self.random.choice(CHANNELS), (1, 1), self.random.choice((1, 1, 1, 1, 2)))
        )

    def convolution(self) -> bool:
        kernel = self.random.choice(((3, 3), (3, 3), (3, 3), (5, 5), (7, 7), (1, 3), (3, 1), (2, 2), (4, 4)))
        dilation = 2 if self.random.random() < 0.1 else 1
        return self._step(
            self._convolve(
                self.name, self.random.choice(CHANNELS), kernel, self.random.choice((1, 1, 1, 2)), 1, dilation
            )
        )

    def depthwise(self) -> bool:
        extent = self.random.choice((3, 3, 3, 5, 5, 7, 9))
        channels = self.shape[1]
        return self._step(
            self._convolve(self.name, channels, (extent, extent), self.random.choice((1, 1, 2)), channels)
        )

    def grouped(self) -> bool:
        channels = self.shape[1]
        group = self.random.choice((2, 4, 8))
        if channels % (group * 4):
            return False
        return self._step(self._convolve(self.name, channels, (3, 3), 1, group))

    def residual(self) -> bool:
        source, shape = self.name, list(self.shape)
        made = self._convolve(source, shape[1], self.random.choice(((1, 1), (1, 1), (3, 3))))
        if made is None or self.shape != shape:
            self.shape = shape
            return False
        self.name = self.node("Add", [made, source])
        if self.random.random() < 0.4:
            self.name = self.activation(self.name)
        return True

    def inverted(self) -> bool:
        source, shape = self.name, list(self.shape)
        hidden = shape[1] * self.random.choice((2, 3, 4, 6))
        extent, stride = self.random.choice((3, 5)), self.random.choice((1, 1, 2))
        if hidden > 1536:
            return False
        first = self._convolve(source, hidden, (1, 1))
        middle = self._convolve(self.activation(first), hidden, (extent, extent), stride, hidden) if first else None
        last = self._convolve(self.activation(middle), shape[1], (1, 1)) if middle else None
        if last is None:
            self.shape = shape
            return False
        self.name = self.node("Add", [last, source]) if self.shape == shape else last
        return True

    def excite(self) -> bool:
        source, shape = self.name, list(self.shape)
        channels = shape[1]
        pooled = (
            self.node("GlobalAveragePool", [source])
            if self.random.random() < 0.5
            else self.node("ReduceMean", [source, self.integers(2, 3)], keepdims=1)
        )
        self.shape = [1, channels, 1, 1]
        first = self._convolve(pooled, max(8, channels // 4), (1, 1))
        second = self._convolve(self.node("Relu", [first]), channels, (1, 1)) if first else None
        self.shape = shape
        if second is None:
            return False
        self.name = self.node("Mul", [source, self.node(self.random.choice(("Sigmoid", "HardSigmoid")), [second])])
        return True

    def pool(self) -> bool:
        _, channels, height, width = self.shape
        if min(height, width) < 3:
            return False
        extent, stride = self.random.choice(((2, 2), (3, 2), (3, 1), (5, 1)))
        pad = 0 if extent == 2 else extent // 2
        self.name = self.node(
            self.random.choice(("MaxPool", "AveragePool")),
            [self.name],
            kernel_shape=[extent] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
        )
        self.shape = [1, channels, *((side + 2 * pad - extent) // stride + 1 for side in (height, width))]
        return True

    def head(self) -> bool:
        """Pooling and a small classifier on the side: its result is broadcast back, so that the chain can go on."""
        channels = self.shape[1]
        pooled = self.node("Flatten", [self.node("GlobalAveragePool", [self.name])])
        wide = self.node("Gemm", [pooled, self.weight(channels, channels), self.weight(channels)])
        self.name = self.node("Mul", [self.name, self.node("Reshape", [wide, self.integers(1, channels, 1, 1)])])
        return True

    def concatenate(self) -> bool:
        source, shape = self.name, list(self.shape)
        made = self._convolve(source, self.random.choice(CHANNELS[:20]), (1, 1))
        if made is None or self.shape[2:] != shape[2:] or self.shape[1] + shape[1] > 1280:
            self.shape = shape
            return False
        total = self.shape[1] + shape[1]
        self.name = self.node("Concat", [self.activation(made), source], axis=1)
        self.shape = [1, total, *shape[2:]]
        return True

    def halves(self) -> bool:
        _, channels, height, width = self.shape
        if channels % 16:
            return False
        self.node("Split", [self.name], outputs=2, axis=1, num_outputs=2)
        first, second = self.outputs()
        self.shape = [1, channels // 2, height, width]
        made = self._convolve(first, channels // 2, (3, 3))
        if made is None:
            made = self.activation(first)
        self.name = self.node("Concat", [made, second], axis=1)
        self.shape = [1, channels, height, width]
        return True

    def resize(self) -> bool:
        _, channels, height, width = self.shape
        if channels * height * width * 4 > MOST_ELEMENTS or min(height, width) < 2:
            return False
        mode = self.random.choice(("nearest", "nearest", "linear"))
        scales = self.fresh()
        self.weights.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), scales))
        attributes: dict[str, Any] = (
            {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"} if mode == "nearest" else {}
        )
        self.name = self.node("Resize", [self.name, "", scales], mode=mode, **attributes)
        self.shape = [1, channels, 2 * height, 2 * width]
        return True

    def normalise(self) -> bool:
        """Layer normalisation over the channels, as in ConvNeXt."""
        channels = self.shape[1]
        last = self.node("Transpose", [self.name], perm=[0, 2, 3, 1])
        made = self.node("LayerNormalization", [last, self.weight(channels), self.weight(channels)], axis=-1)
        self.name = self.node("Transpose", [made], perm=[0, 3, 1, 2])
        return True

    def scale(self) -> bool:
        channels = self.shape[1]
        made = self.node("Mul", [self.name, self.weight(1, channels, 1, 1)])
        self.name = self.activation(self.node("Add", [made, self.weight(1, channels, 1, 1)]))
        return True

    def transposed(self) -> bool:
        _, channels, height, width = self.shape
        out = self.random.choice(CHANNELS[:16])
        if channels * out * 4 * height * width * 2 > MOST_FLOPS or out * 4 * height * width > MOST_ELEMENTS:
            return False
        self.name = self.node(
            "ConvTranspose",
            [self.name, self.weight(channels, out, 2, 2), self.weight(out)],
            kernel_shape=[2, 2],
            strides=[2, 2],
        )
        self.shape = [1, out, 2 * height, 2 * width]
        return True


class _Tokens(_Builder):
    """Transformer layers over 1 x tokens x width."""

    def build(self) -> onnx.ModelProto:
        self.shape = [1, self.random.choice(LENGTHS), self.random.choice(WIDTHS)]
        layers = [
            self.linear,
            self.linear,
            self.mlp,
            self.attention,
            self.normalise,
            self.residual,
            self.softmax,
            self.gate,
        ]
        return self.chain(layers, list(self.shape))

    def _linear(self, value: str, source: int, width: int) -> str | None:
        if source * width > MOST_PARAMETERS or 2.0 * self.shape[1] * source * width > MOST_FLOPS:
            return None
        made = self.node("MatMul", [value, self.weight(source, width)])
        return self.node("Add", [made, self.weight(width)]) if self.random.random() < 0.8 else made

    def linear(self) -> bool:
        width = self.random.choice(WIDTHS)
        made = self._linear(self.name, self.shape[2], width)
        if made is None:
            return False
        self.name = self.activation(made)
        self.shape[2] = width
        return True

    def mlp(self) -> bool:
        width = self.shape[2]
        first = self._linear(self.name, width, 4 * width)
        second = self._linear(self.activation(first), 4 * width, width) if first else None
        if second is None:
            return False
        self.name = self.node("Add", [second, self.name])
        return True

    def residual(self) -> bool:
        made = self._linear(self.name, self.shape[2], self.shape[2])
        if made is None:
            return False
        self.name = self.node("Add", [made, self.name])
        return True

    def normalise(self) -> bool:
        width = self.shape[2]
        self.name = self.node("LayerNormalization", [self.name, self.weight(width), self.weight(width)], axis=-1)
        return True

    def softmax(self) -> bool:
        self.name = self.node("Softmax", [self.name], axis=-1)
        return True

    def gate(self) -> bool:
        self.name = self.node(
            "Mul", [self.name, self.node("Sigmoid", [self.node("Mul", [self.name, self.weight(self.shape[2])])])]
        )
        return True

    def attention(self) -> bool:
        _, tokens, width = self.shape
        heads = self.random.choice((1, 2, 3, 4, 6, 8, 12))
        if width % heads:
            return False
        depth = width // heads
        parts = []
        for kind in range(3):
            made = self._linear(self.name, width, width)
            if made is None:
                return False
            split = self.node("Reshape", [made, self.integers(1, tokens, heads, depth)])
            parts.append(self.node("Transpose", [split], perm=[0, 2, 3, 1] if kind == 1 else [0, 2, 1, 3]))
        scores = self.node("Mul", [self.node("MatMul", parts[:2]), self.scalar(depth**-0.5)])
        mixed = self.node("MatMul", [self.node("Softmax", [scores], axis=-1), parts[2]])
        self.name = self.node(
            "Reshape", [self.node("Transpose", [mixed], perm=[0, 2, 1, 3]), self.integers(1, tokens, width)]
        )
        return True
