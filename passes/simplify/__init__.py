"""The passes that make a module smaller without changing what it computes, and the pipeline of them all."""

ROUND = (
    "constant-if",
    "inline-loops",
    "fold-shapes",
    "fold",
    "canonicalize",
    "cse",
    "recognize",
    "fold-batch-norm",
    "unroll-recurrent",
    "form-recurrences",
    "dce",
)
"""The passes that `simplify` repeats. Branches that cannot run go first: shapes are contradictory inside them."""

SIMPLIFY = "simplify"
"""The whole as pipeline text."""
