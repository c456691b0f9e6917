"""What passes may ask: the target, what a choice costs there, and what the backend can make."""

from __future__ import annotations

from optc.backends.interface import KernelBackend
from optc.driver.cost_models import AUTOMATIC, cost_model
from optc.driver.program.lowering import group_of
from optc.passes.base import PassContext
from optc.targets.target import Target


def pass_context(
    target: Target, backend: KernelBackend | None, threads: int | None = None, model: str = AUTOMATIC
) -> PassContext:
    """The context of a compile.

    Args:
        target: what for.
        backend: makes the kernels; None where everything runs in onnxruntime.
        threads: of a run; None for all cores of the target.
        model: the name of the cost model.
    """
    context = PassContext(target=target, cost_model=cost_model(model, target, backend, threads or target.cores))
    if backend is not None:
        context.supports = lambda operation: backend.supports(operation, target)
        context.accepts = lambda fused: backend.refuses(group_of(fused), target)
    return context
