"""All declaration files; importing this declares every operation that optc knows by itself."""

from optc.ops import (  # noqa: F401
    attention,
    classical,
    contraction,
    control,
    dialect,
    elementwise,
    movement,
    packed,
    quantize,
    random,
    recurrence,
    recurrent,
    reduction,
    restriction,
    value_rules,
    window,
)
