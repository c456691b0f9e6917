"""What commands read: IR text or a model file, as a module, and the context that passes need."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from optc.ir.core import Module
from optc.passes.base import PassContext

STANDARD_INPUT = "-"
IR_SUFFIX = ".mlir"


def read_module(source: str, shapes: Mapping[str, Sequence[int]], dims: Mapping[str, int]) -> Module:
    """The module of a path (`.mlir`: IR text; else a model for the front ends), or of standard input for `-`.

    Raises:
        ModelError: the file cannot be read or is invalid.
        UsageError: a shape or dimension names nothing of the model.
    """
    if source != STANDARD_INPUT and not source.endswith(IR_SUFFIX):
        from optc.frontends import load_model

        return load_model(source, shapes, dims).module
    from optc.ir.parser import parse_module
    from optc.ir.resources import load_module
    from optc.ir.verifier import verify

    is_file = source != STANDARD_INPUT
    module = load_module(Path(source)) if is_file else parse_module(sys.stdin.read(), file="<stdin>")
    verify(module)
    if shapes or dims:
        from optc.frontends.binding import bind_inputs
        from optc.ops.inference import infer_types

        bound = bind_inputs({value.name: value.type for value in module.main.inputs}, shapes, dims, source)
        for value in module.main.inputs:
            value.type = bound[value.name]
        infer_types(module.main)
    return module


def pass_context(name: str | None) -> PassContext:
    """What passes may ask; without a target they get neither hardware facts, nor a cost model, nor a backend.

    Raises:
        UsageError: the target is unknown.
    """
    if name is None:
        return PassContext()
    from optc import targets
    from optc.backends import kernel_backend
    from optc.driver.context import pass_context as context_of

    target = targets.load(name)
    return context_of(target, kernel_backend(target.backends[0]) if target.backends else None)
