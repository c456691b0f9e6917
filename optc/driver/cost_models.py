"""Which cost model a compile asks: `--cost-model analytical|learned|measured`; by default each does its best."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from optc.backends.interface import KernelBackend
from optc.costmodel.analytical import AnalyticalCostModel
from optc.costmodel.interface import CostModel, SchedulePredictor
from optc.costmodel.skipping import SkippingCostModel
from optc.errors import UsageError
from optc.targets.target import Target

Make = Callable[[Target, "KernelBackend | None", int], CostModel]

AUTOMATIC = "auto"


def check_cost_model(name: str) -> str:
    """The name itself. Raises UsageError when there is no such cost model."""
    if name != AUTOMATIC and name not in COST_MODELS:
        raise UsageError(f"'{name}' is no cost model", hint=f"one of {', '.join([AUTOMATIC, *COST_MODELS])}")
    return name


def cost_model(
    name: str, target: Target, backend: KernelBackend | None, threads: int, *, decides: bool = True
) -> CostModel:
    """What prices kernels.

    Args:
        name: `analytical`, `learned`, `measured`, or `auto`: analytical for decisions, since a search finds what a
            learned model is wrong about; for what is stated of the result learned, where kernels of the target's
            class of machine were measured.
        target: what for.
        backend: makes the kernels.
        threads: of a run.
        decides: whether passes will ask it.

    Raises:
        UsageError: there is no predictor, or the target cannot be measured here.
    """
    chosen = "analytical" if decides and name == AUTOMATIC else _resolved(name, target)
    return SkippingCostModel(COST_MODELS[chosen](target, backend, threads))


def schedule_predictor(name: str, target: Target) -> SchedulePredictor | None:
    """What ranks schedules before any is measured; None: the templates' own estimates."""
    if _resolved(name, target) == "analytical":
        return None
    from optc.costmodel.kernels.predictor import predictor_for
    from optc.costmodel.kernels.schedules import LearnedSchedules

    predictor = predictor_for(target)
    return None if predictor is None else LearnedSchedules(predictor)


def _resolved(name: str, target: Target) -> str:
    if name != AUTOMATIC:
        return name
    from optc.costmodel.kernels.predictor import predictor_for

    return "analytical" if predictor_for(target) is None else "learned"


def _analytical(target: Target, backend: KernelBackend | None, threads: int) -> CostModel:
    return AnalyticalCostModel(threads)


def _learned(target: Target, backend: KernelBackend | None, threads: int) -> CostModel:
    from optc.costmodel.kernels.learned import LearnedCostModel
    from optc.costmodel.kernels.predictor import kernel_predictors, predictor_for

    predictor = predictor_for(target) or next(iter(kernel_predictors()), None)
    if predictor is None:
        raise UsageError(
            "there is no learned cost model",
            where="--cost-model learned",
            hint="optc costmodel collect and optc costmodel train make one for this machine",
        )
    return LearnedCostModel(predictor, threads)


def _measured(target: Target, backend: KernelBackend | None, threads: int) -> CostModel:
    from optc.driver.measured import MeasuredCostModel

    if backend is None:
        raise UsageError("kernels cannot be measured without a backend that makes them", where="--cost-model measured")
    return MeasuredCostModel.on_host(target, threads)


COST_MODELS: Mapping[str, Make] = {"analytical": _analytical, "learned": _learned, "measured": _measured}
"""By name, from the least to the most that must be known of the machine."""
