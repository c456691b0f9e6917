"""Learned rounding of a plan."""

from __future__ import annotations

from optc.backends.interface import Progress, silent
from optc.driver.quantization.data import Data
from optc.driver.quantization.learning.block_learning import BlockLearner, Recipe
from optc.driver.quantization.learning.twin import Twin
from optc.ir.core import Module
from optc.passes.quantization.plan import QuantizationPlan


def learn_rounding(
    module: Module,
    plan: QuantizationPlan,
    data: Data,
    recipe: Recipe | None = None,
    *,
    progress: Progress = silent,
) -> None:
    """Replace the rounding, the scales and the biases of a plan by learned ones.

    Args:
        module: in float, that the plan was made for.
        plan: changed in place.
        data: what to learn from; no labels.
        recipe: how.
        progress: called with (what, done, total, detail).
    """
    if not plan.layers:
        return
    twin = Twin(module, plan)
    learner = BlockLearner(module, twin, data, recipe, progress=progress)
    targets = learner.blockwise()
    learner.end_to_end(targets)
    twin.commit()
