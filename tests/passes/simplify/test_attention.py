"""Attention is found in the forms that exporters write, and nothing else is taken for it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optc.frontends import load_model
from optc.ir.core import Module, Operation
from optc.ops.evaluate import evaluate_graph
from optc.passes.base import PassContext
from optc.passes.manager import run_pipeline
from optc.passes.pipeline import parse_pipeline

BATCH, HEADS, QUERIES, KEYS, DEPTH = 2, 3, 5, 5, 4
LOWEST = float(np.finfo(np.float32).min)
TRIANGLE = np.tri(QUERIES, KEYS, dtype=np.bool_)

Nodes = list[onnx.NodeProto]


def node(kind: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def model(nodes: Nodes, constants: dict[str, np.ndarray] | None = None, *, rank: int = 4) -> onnx.ModelProto:
    lead = [BATCH, HEADS] if rank == 4 else [HEADS]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [*lead, QUERIES, DEPTH]) for name in ("q", "k", "v")
    ]
    inputs.append(helper.make_tensor_value_info("m", TensorProto.FLOAT, [BATCH, 1, 1, KEYS]))
    inputs.append(helper.make_tensor_value_info("seen", TensorProto.BOOL, [BATCH, 1, 1, KEYS]))
    made = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return helper.make_model(
        helper.make_graph(nodes, "g", inputs, [output], made), opset_imports=[helper.make_opsetid("", 18)]
    )


def around(*between: onnx.NodeProto) -> Nodes:
    """Products and softmax around what turns `s` into `t`."""
    turned = node("Transpose", "k", "kt", perm=[0, 1, 3, 2])
    return [turned, node("MatMul", "q kt", "s"), *between, node("Softmax", "t", "p"), node("MatMul", "p v", "y")]


def recognized(proto: onnx.ModelProto) -> tuple[Module, Operation | None, list[str]]:
    """The module afterwards, its attention and why there is none; the results must not change."""
    module = load_model(proto).module
    rng = np.random.default_rng(3)
    arrays: list[np.ndarray] = []
    for value in module.main.inputs:
        array = rng.standard_normal(value.shape)
        arrays.append(array > -1 if value.dtype.name == "bool" else array.astype(np.float32))
    before = evaluate_graph(module.main, arrays)
    context = PassContext(supports=lambda _: None)
    run_pipeline(module, parse_pipeline("simplify,recognize-attention"), context, verify_each=True)
    after = evaluate_graph(module.main, arrays)
    assert np.allclose(before[0], after[0], rtol=1e-4, atol=1e-5)
    found = [operation for operation in module.main if operation.name == "onnx.Attention"]
    reasons = [remark.reason for remark in context.remarks if remark.what == "attention" and remark.status == "missed"]
    return module, (found[0] if found else None), reasons


HALF = {"c": np.float32(0.5), "two": np.float32(2.0)}
FORMS: dict[str, tuple[Nodes, dict[str, np.ndarray]]] = {
    "scaled behind": (around(node("Mul", "s c", "t")), HALF),
    "divided behind": (around(node("Div", "s two", "t")), HALF),
    "scaled and masked": (around(node("Mul", "s c", "u"), node("Add", "u m", "t")), HALF),
    "mask first in the sum": (around(node("Div", "s two", "u"), node("Add", "m u", "t")), HALF),
    "chosen by a mask": (
        around(node("Mul", "s c", "u"), node("Where", "seen u low", "t")),
        {**HALF, "low": np.float32(-np.inf)},
    ),
    "the lowest number by a mask": (
        around(node("Mul", "s c", "u"), node("Where", "seen u low", "t")),
        {**HALF, "low": np.float32(LOWEST)},
    ),
    "roots on both sides": (
        [
            node("Transpose", "k", "kt", perm=[0, 1, 3, 2]), node("Mul", "q c", "qs"), node("Mul", "kt c", "ks"),
            node("MatMul", "qs ks", "s"), node("Softmax", "s", "p"), node("MatMul", "p v", "y"),
        ],
        HALF,
    ),
    "zeros for not a number": (
        [
            *around(node("Mul", "s c", "t"))[:-1], node("IsNaN", "p", "bad"), node("Where", "bad zero p", "w"),
            node("MatMul", "w v", "y"),
        ],
        {**HALF, "zero": np.float32(0)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_finds_attention(name: str) -> None:
    module, attention, _ = recognized(model(*FORMS[name]))
    assert attention is not None
    assert not any(operation.name in ("onnx.Softmax", "onnx.MatMul") for operation in module.main)
    assert attention.attributes["scale"] == pytest.approx(0.25 if name == "roots on both sides" else 0.5)
    assert (attention.operand(3) is not None) == ("mask" in name)


@pytest.mark.parametrize("hidden", [-np.inf, LOWEST])
def test_a_constant_triangle_is_causal(hidden: float) -> None:
    mask = np.where(TRIANGLE, 0, hidden).astype(np.float32)
    nodes = around(node("Mul", "s c", "u"), node("Add", "u mask", "t"))
    _, attention, _ = recognized(model(nodes, {**HALF, "mask": mask}))
    assert attention is not None and attention.attributes["is_causal"] == 1 and attention.operand(3) is None


def test_another_constant_mask_stays_a_mask() -> None:
    mask = np.where(np.tri(QUERIES, KEYS, 1, dtype=np.bool_), 0, -np.inf).astype(np.float32)
    _, attention, _ = recognized(model(around(node("Add", "s mask", "t")), {"mask": mask}))
    assert attention is not None and "is_causal" not in attention.attributes and attention.operand(3) is not None


def test_heads_in_one_axis() -> None:
    nodes = [
        node("Transpose", "k", "kt", perm=[0, 2, 1]), node("MatMul", "q kt", "s"), node("Mul", "s c", "t"),
        node("Softmax", "t", "p"), node("MatMul", "p v", "y"),
    ]  # fmt: skip
    module, attention, _ = recognized(model(nodes, HALF, rank=3))
    assert attention is not None and attention.result.shape == (1, HEADS, QUERIES, DEPTH)
    assert module.main.outputs[0].shape == (HEADS, QUERIES, DEPTH)


def test_says_why_not() -> None:
    temperature = {"c": np.array([1, 2, 3], np.float32).reshape(3, 1, 1)}
    _, attention, reasons = recognized(model(around(node("Mul", "s c", "t")), temperature))
    assert attention is None
    assert reasons == ["Mul stands between the product of queries and keys and the softmax".replace("Mul", "onnx.Mul")]

    nodes = around(node("Where", "seen s low", "t"))
    _, attention, reasons = recognized(model(nodes, {"low": np.float32(-1e4)}))
    assert attention is None and reasons == ["its mask puts -10000 in the place of scores"]

    shared = [*around(node("Mul", "s c", "t"))[:-1], node("MatMul", "p v", "o"), node("ReduceSum", "p", "all"),
              node("Add", "o all", "y")]  # fmt: skip
    _, attention, reasons = recognized(model(shared, HALF))
    assert attention is None and reasons == ["its weights have other readers"]


def test_what_has_no_native_code_stays_in_parts() -> None:
    module = load_model(model(*FORMS["scaled behind"])).module
    context = PassContext(supports=lambda operation: "no kernel")
    run_pipeline(module, parse_pipeline("simplify,recognize-attention"), context)
    assert sum(operation.name == "onnx.MatMul" for operation in module.main) == 2
    assert ("missed", "no kernel") in {(remark.status, remark.reason) for remark in context.remarks}
