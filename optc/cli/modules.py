"""What commands read: IR text or a model file, as a module, and the context that passes need."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from optc.ir.core import Module
from optc.passes.base import PassContext


def read_module(source: str, shapes: Mapping[str, Sequence[int]], dims: Mapping[str, int]) -> Module:
    """The module of a path (`.mlir`: IR text; else a model for the front ends), or of standard input for `-`.

    Raises:
        ModelError: the file cannot be read or is invalid.
        UsageError: a shape or dimension names nothing of the model.
    """
    from optc.frontends import bind_module, load_model
    from optc.ir.parser import parse_module
    from optc.ir.resources import load_module

    if source == "-":
        module = parse_module(sys.stdin.read(), file="<stdin>")
    elif source.endswith(".mlir"):
        module = load_module(Path(source))
    else:
        return load_model(source, shapes=shapes, dims=dims)
    return bind_module(module, shapes=shapes, dims=dims) if shapes or dims else module


def pass_context(target: str | None) -> PassContext:
    """What passes may ask; without a target they get neither hardware facts nor a cost model."""
    if target is None:
        return PassContext()
    from optc.driver.context import pass_context as of_target

    return of_target(target)
