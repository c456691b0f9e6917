"""Learned rounding over a model: layer after layer, each on what the layers before it became."""

from __future__ import annotations

import numpy as np

from optc.backends.interface import Progress, silent
from optc.driver.quantization.data import Data
from optc.driver.quantization.running import Runner
from optc.ir.clone import clone_module
from optc.ir.core import Module, Value
from optc.passes.quantization.learned_rounding import learned
from optc.passes.quantization.plan import QuantizationPlan
from optc.passes.quantization.qdq import quantized_module
from optc.passes.quantization.sites import tail

LARGEST_BYTES = 192 << 20
"""Of the data that one layer learns from; with more, it learns from fewer samples."""


def learn_rounding(
    module: Module, plan: QuantizationPlan, data: Data, *, steps: int, progress: Progress = silent
) -> None:
    """Replace the weights of a plan by learned ones, in order of execution.

    Args:
        module: in float, that the plan was made for.
        plan: changed in place.
        data: what to learn from.
        steps: for each layer.
        progress: called with (what, done, total, detail).
    """
    for number, item in enumerate(plan.layers.values()):
        layer = item.layer
        progress("learning to round", number, len(plan.layers), layer.name)
        if layer.operation.attributes.get("auto_pad", "NOTSET") != "NOTSET":
            continue
        before = [name for name, other in plan.layers.items() if other is not item][:number]
        became = quantized_module(module, plan, [*before, layer.name])
        same = next((other for other in _contractions(became) if other[0] == layer.operation.result.name), None)
        if same is None:
            continue
        inputs = _gather(became, same[1], data)
        target = _gather(module, layer.operation.result, data, len(inputs))
        item.weight = learned(
            layer, item.weight, inputs[: len(target)], target, limits=_limits(layer.operation.result), steps=steps
        )


def _contractions(module: Module) -> list[tuple[str, Value]]:
    """The results and the data of the contractions of a quantized module."""
    found = []
    for operation in module.main:
        data = operation.operand(0)
        if operation.name in ("onnx.Conv", "onnx.Gemm", "onnx.MatMul") and data is not None:
            found.append((operation.result.name, data))
    return found


def _gather(module: Module, value: Value, data: Data, limit: int | None = None) -> np.ndarray:
    """A value over the data, samples along the first axis, within LARGEST_BYTES."""
    runner = Runner(_up_to(module, value), None)
    parts: list[np.ndarray] = []
    count = size = 0
    for feeds in data.batches():
        (part,) = runner.run(feeds)
        parts.append(part)
        count, size = count + len(part), size + part.nbytes
        if (limit is not None and count >= limit) or size >= LARGEST_BYTES:
            break
    return np.concatenate(parts)[:limit]


def _up_to(module: Module, value: Value) -> Module:
    """A copy of a module that gives one of its values only."""
    from optc.passes.simplify.dce import erase_dead

    mapping: dict[Value, Value] = {}
    copy = clone_module(module, mapping)
    copy.main.set_outputs([mapping[value]], ["wanted"])
    erase_dead(copy.main)
    return copy


def _limits(value: Value) -> tuple[float, float]:
    """What the activation that follows lets through."""
    after = tail(value)
    operation = after.producer
    if after is value or operation is None:
        return -np.inf, np.inf
    if operation.name == "onnx.Relu":
        return 0.0, np.inf
    bounds: list[float] = []
    for position, default in ((1, -np.inf), (2, np.inf)):
        bound = operation.operand(position)
        constant = None if bound is None else bound.constant
        bounds.append(default if constant is None else float(constant))
    return bounds[0], bounds[1]
