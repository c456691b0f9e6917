"""Lowerings of operations to TIR expressions; importing this package registers all of them."""

from optc.backends.tvm.lowering import (  # noqa: F401
    activations,
    contractions,
    elementwise,
    gathering,
    integers,
    movement,
    normalization,
    packed,
    pooling,
    quantization,
    reductions,
    resize,
)
from optc.backends.tvm.lowering.binding import bind, choose, scoped, scoped_all, shared
from optc.backends.tvm.lowering.context import (
    LOWERINGS,
    Combiner,
    LoweringContext,
    Stage,
    as_te_compute,
    lower,
    lower_operations,
    lowers,
)

__all__ = [
    "LOWERINGS", "Combiner", "LoweringContext", "Stage", "as_te_compute", "bind", "choose", "lower",
    "lower_operations", "lowers", "scoped", "scoped_all", "shared",
]  # fmt: skip
