"""FLOPs and bytes against numbers worked out by hand, kinds against what fusion relies on."""

from __future__ import annotations

import numpy as np
import pytest
from graph_kit import Builder

from optc.ops.declaration import Kind, declaration_of, declared


def flops(b: Builder, op_type: str, *operands: object, **attributes: object) -> int:
    value = b(op_type, *operands, **attributes)  # type: ignore[arg-type]
    assert value.producer is not None
    return declaration_of(value.producer.name).flops(value.producer)


def test_convolution() -> None:
    b = Builder(x="1,8,10,10")
    weight, bias = b.constant(np.ones((16, 4, 3, 3)), np.float32), b.constant(np.ones(16), np.float32)
    elements = 16 * 8 * 8
    assert flops(b, "Conv", b.input("x"), weight, group=2) == elements * 2 * 4 * 9
    assert flops(b, "Conv", b.input("x"), weight, bias, group=2) == elements * (2 * 4 * 9 + 1)


def test_products() -> None:
    b = Builder(x="5,7", y="7,3", z="2,7")
    assert flops(b, "MatMul", b.input("x"), b.input("y")) == 2 * 5 * 7 * 3
    assert flops(b, "Gemm", b.input("x"), b.input("z"), transB=1) == 2 * 5 * 7 * 2
    assert flops(b, "Einsum", b.input("x"), b.input("y"), equation="ij,jk->ik") == 2 * 5 * 7 * 3


def test_transposed_convolution_counts_its_input() -> None:
    b = Builder(x="1,4,5,5")
    weight = b.constant(np.ones((4, 6, 2, 2)), np.float32)
    assert flops(b, "ConvTranspose", b.input("x"), weight, strides=(2, 2)) == 2 * (4 * 25) * (6 * 4)


def test_others() -> None:
    b = Builder(x="2,3,4,4")
    x = b.input("x")
    assert flops(b, "Relu", x) == 96
    assert flops(b, "Transpose", x) == 0
    assert flops(b, "MaxPool", x, kernel_shape=(2, 2), strides=(2, 2)) == 24 * 4
    assert flops(b, "ReduceSum", x) == 96
    relu = b("Relu", x).producer
    assert relu is not None and declaration_of("onnx.Relu").bytes(relu) == 2 * 96 * 4


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            Kind.ELEMENTWISE,
            "Add Relu Clip Where Cast Gelu PRelu BatchNormalization QuantizeLinear DequantizeLinear Erf",
        ),
        (Kind.MOVEMENT, "Reshape Transpose Concat Slice Gather Pad Expand DepthToSpace Split"),
        (Kind.CONTRACTION, "Conv ConvTranspose MatMul Gemm QLinearConv Einsum"),
        (Kind.REDUCTION, "ReduceMean Softmax LayerNormalization GlobalAveragePool ArgMax TopK"),
        (Kind.WINDOW, "MaxPool AveragePool"),
        (Kind.CONTROL, "If Loop Scan"),
        (Kind.OPAQUE, "LSTM NonZero NonMaxSuppression"),
    ],
)
def test_kinds(kind: Kind, names: str) -> None:
    assert {name: declaration_of(f"onnx.{name}").kind for name in names.split()} == dict.fromkeys(names.split(), kind)


def test_random_generators_are_not_deterministic() -> None:
    marked = {name for name, declaration in declared().items() if not declaration.deterministic}
    assert {"onnx.RandomNormal", "onnx.RandomUniformLike", "onnx.Bernoulli", "onnx.Multinomial"} <= marked


def test_an_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        declaration_of("onnx.NoSuchOperation")
