"""What each operation of a model costs on a target: the predicted kernels, shared out among the operations in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from optc import targets
from optc.costmodel.analytical import AnalyticalCostModel
from optc.costmodel.interface import Candidate
from optc.driver.prediction import ModelPrediction, predict_model
from optc.ir.clone import clone_module
from optc.ir.core import Module, Operation
from optc.ir.types import TensorType
from optc.ops.views import is_view
from optc.passes.split.graph import operations_of


@dataclass(frozen=True)
class OperationCosts:
    """Seconds of each operation and joules of it, which are empty where the target states no energy figures."""

    seconds: Mapping[Operation, float]
    joules: Mapping[Operation, float]
    prediction: ModelPrediction


def operation_costs(
    module: Module, target_name: str, *, threads: int | None = None, cost_model: str = "auto"
) -> OperationCosts:
    """Price the operations of a module on a target so that they add up to what the whole is predicted to take.

    A kernel's time goes to the operations that it comes from, in proportion to what each would take alone; what comes
    from no operation (changes of layout) is spread over all.

    Args:
        module: with static shapes; it is not changed.
        target_name: as for `predict_model`.
        threads: of a run; None for all cores of the target.
        cost_model: as for `optc.compile`.
    """
    prediction = predict_model(clone_module(module), target_name, cost_model, threads)
    operations = operations_of(module.main)
    target = targets.load(target_name)
    priced = [operation for operation in operations if not is_view(operation) and _is_static(operation)]
    alone = AnalyticalCostModel(threads or target.cores).predict(
        [Candidate.of_operations([operation], operation.results) for operation in priced], target
    )
    shares = {operation: estimate.seconds for operation, estimate in zip(priced, alone, strict=True)}
    by_node: dict[str, list[Operation]] = {}
    for operation in shares:
        for node in operation.location.nodes:
            by_node.setdefault(node, []).append(operation)
    seconds = dict.fromkeys(operations, 0.0)
    joules = dict.fromkeys(operations, 0.0)
    known = prediction.joules is not None
    for kernel in prediction.kernels:
        made = list(dict.fromkeys(each for node in kernel.nodes for each in by_node.get(node, ())))
        total = sum(shares[each] for each in made)
        for each in made:
            part = shares[each] / total if total else 1.0 / len(made)
            seconds[each] += kernel.seconds * part
            joules[each] += (kernel.joules or 0.0) * part
    _scale(seconds, prediction.seconds, shares)
    if known:
        _scale(joules, prediction.joules or 0.0, shares)
    return OperationCosts(seconds, joules if known else {}, prediction)


def _scale(parts: dict[Operation, float], total: float, shares: Mapping[Operation, float]) -> None:
    """Let the parts add up to the total."""
    found = sum(parts.values())
    if not found:
        parts.update(shares)
        found = sum(parts.values()) or 1.0
    for each in parts:
        parts[each] *= total / found


def _is_static(operation: Operation) -> bool:
    values = (*operation.present_operands, *operation.results)
    return all(isinstance(value.type, TensorType) and value.type.is_static for value in values)
