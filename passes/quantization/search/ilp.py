"""The cheapest precisions within an error, exactly: an integer linear program, solved by HiGHS.

As in Yao et al., "HAWQ-V3: Dyadic Neural Network Quantization" (2021), section 3.4, with the conversions between codes
and floats as variables of their own: a tensor that one layer hands on as codes and another reads as floats costs a
conversion, so runs of layers change together where that pays.
"""

from __future__ import annotations

import numpy as np

from optc.errors import InternalError
from optc.passes.quantization.search.problem import PrecisionProblem

_SECONDS = 20.0
"""After which the best assignment found so far is taken."""


class _Rows:
    """Constraints `low <= coefficients · variables <= high`, collected as triples."""

    def __init__(self) -> None:
        self.places: list[tuple[int, int]] = []
        self.values: list[float] = []
        self.low: list[float] = []
        self.high: list[float] = []

    def add(self, terms: dict[int, float], low: float, high: float) -> None:
        row = len(self.low)
        for column, value in terms.items():
            self.places.append((row, column))
            self.values.append(value)
        self.low.append(low)
        self.high.append(high)


def solve(problem: PrecisionProblem, budget: float) -> dict[str, str]:
    """The assignment of the least cost whose predicted error is within a budget at every output.

    Among equals the one with the smaller error is preferred. All in float is always within.

    Args:
        problem: what there is to choose.
        budget: the largest error.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    variables = [
        (choice.layer, option)
        for choice in problem.choices
        for option in choice.options
        if option is choice.options[0] or max(option.error, default=0.0) <= budget
    ]
    costs = [option.cost for _, option in variables]
    integral = [1] * len(variables)
    coded: dict[str, dict[int, float]] = {choice.layer: {} for choice in problem.choices}
    rows = _Rows()
    of_layer: dict[str, dict[int, float]] = {choice.layer: {} for choice in problem.choices}
    for column, (layer, option) in enumerate(variables):
        of_layer[layer][column] = 1.0
        if option.coded:
            coded[layer][column] = 1.0
    for terms in of_layer.values():
        rows.add(terms, 1.0, 1.0)

    def variable(cost: float) -> int:
        costs.append(cost)
        integral.append(0)
        return len(costs) - 1

    for joint in problem.joints:
        known = [coded[source] for source in joint.sources if source is not None]
        if len(known) < len(joint.sources):
            coded[joint.name] = {}
            continue
        both = variable(-joint.saving)
        coded[joint.name] = {both: 1.0}
        for terms in known:
            rows.add(_sum({both: 1.0}, terms, -1.0), -np.inf, 0.0)
        joined: dict[int, float] = {both: 1.0}
        for terms in known:
            joined = _sum(joined, terms, -1.0)
        rows.add(joined, 1.0 - len(known), np.inf)
    for boundary in problem.boundaries:
        source = coded[boundary.source] if boundary.source is not None else {}
        if boundary.quantize:
            made = variable(boundary.quantize)
            for reader in boundary.readers:
                rows.add(_sum(_sum({made: 1.0}, coded[reader], -1.0), source, 1.0), 0.0, np.inf)
        if boundary.dequantize and source:
            made = variable(boundary.dequantize)
            for terms in [coded[reader] for reader in boundary.readers] + [{}] * boundary.read_as_float:
                rows.add(_sum(_sum({made: 1.0}, source, -1.0), terms, 1.0), 0.0, np.inf)
    for output in range(problem.outputs):
        floor = sum(choice.options[0].error[output] for choice in problem.choices)
        share = {
            column: (option.error[output]) / budget
            for column, (_, option) in enumerate(variables)
            if budget > 0.0 and option.error[output]
        }
        if share:
            rows.add(share, -np.inf, max(1.0, floor / budget))
    scale = max((abs(cost) for cost in costs), default=0.0) or 1.0
    worst = max((sum(option.error) for _, option in variables), default=0.0) or 1.0
    objective = np.array(costs) / scale
    for column, (_, option) in enumerate(variables):
        objective[column] += 1e-9 * sum(option.error) / worst
    count = len(costs)
    matrix = csr_array((rows.values, tuple(zip(*rows.places, strict=True))), shape=(len(rows.low), count))
    found = milp(
        objective,
        integrality=np.array(integral),
        bounds=Bounds(np.zeros(count), np.ones(count)),
        constraints=LinearConstraint(matrix, rows.low, rows.high),
        options={"mip_rel_gap": 0.0, "time_limit": _SECONDS},
    )
    if found.x is None:
        raise InternalError("the choice of precisions has no solution", why=str(found.message))
    return {layer: option.scheme for (layer, option), x in zip(variables, found.x, strict=False) if x > 0.5}


def _sum(first: dict[int, float], second: dict[int, float], factor: float) -> dict[int, float]:
    """A linear expression plus a multiple of another."""
    result = dict(first)
    for column, value in second.items():
        result[column] = result.get(column, 0.0) + factor * value
    return result
