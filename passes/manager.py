"""Runs a pipeline: times each pass, verifies and dumps where asked, and names what broke."""

from __future__ import annotations

import logging
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from optc.errors import InternalError, OptcError
from optc.ir.clone import clone_module
from optc.ir.core import Module, Operation
from optc.ir.printer import print_operation
from optc.ir.resources import save_module
from optc.ir.verifier import InvalidModule, verify
from optc.passes.base import Pass, PassContext
from optc.passes.pipeline import print_pass, print_pipeline

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class PassRun:
    """What one pass did: seconds of wall time, whether it changed the module, operations (nested ones too)."""

    name: str
    seconds: float
    changed: bool
    operations_before: int
    operations_after: int


OnPass = Callable[[int, Pass, Module, PassRun], None]
"""Called after every pass with its position, the pass, the module and what it did."""


def run_pipeline(
    module: Module,
    passes: Sequence[Pass],
    context: PassContext,
    *,
    verify_each: bool = False,
    dump: Path | None = None,
    on_pass: OnPass | None = None,
) -> list[PassRun]:
    """Run passes over a module in place.

    Args:
        module: rewritten in place.
        passes: in order.
        context: given to every pass.
        verify_each: check the module after every pass.
        dump: a folder that gets `00-input.mlir`, `01-<pass>.mlir` … with their weights.
        on_pass: called after every pass.

    Raises:
        InternalError: a pass failed or left an invalid module. The input of that pass is saved, and the hint is the
            `optc opt` command that replays the failure.
        OptcError: a pass refused the user's input; passed through unchanged.
    """
    original = clone_module(module)
    if dump is not None:
        save_module(module, dump / "00-input.mlir")
    runs: list[PassRun] = []
    before = _count(module)
    for position, item in enumerate(passes):
        start = time.perf_counter()
        try:
            changed = item.run(module, context)
        except OptcError as error:
            if not isinstance(error, InternalError):
                raise
            raise _failure(original, passes[: position + 1], context, error) from error
        except Exception as error:
            raise _failure(original, passes[: position + 1], context, error) from error
        seconds = time.perf_counter() - start
        after = _count(module)
        runs.append(PassRun(item.name, seconds, changed, before, after))
        _LOG.debug("%s: %.1f ms, %d operations before, %d after", print_pass(item), 1e3 * seconds, before, after)
        before = after
        if dump is not None:
            save_module(module, dump / f"{position + 1:02}-{item.name}.mlir")
        if verify_each:
            try:
                verify(module)
            except OptcError as error:
                raise _failure(original, passes[: position + 1], context, error) from error
        if on_pass is not None:
            on_pass(position, item, module, runs[-1])
    return runs


def _count(module: Module) -> int:
    return sum(1 for _ in module.walk())


def _failure(original: Module, passes: Sequence[Pass], context: PassContext, error: Exception) -> InternalError:
    """The error for the last of `passes`, with a reproducer on disk and the command that replays it."""
    *before, failed = passes
    invalid = isinstance(error, InvalidModule)
    what = f"the pass {print_pass(failed)} {'left an invalid module' if invalid else 'failed'}"
    lines = [str(error)] if isinstance(error, OptcError) else [f"{type(error).__name__}: {error}"]
    if (operation := _culprit(error)) is not None and not invalid:
        lines.append(f"while it handled {print_operation(operation)}")
    lines.append(f"passes before it: {print_pipeline(before) or 'none'}")
    place = Path(tempfile.mkdtemp(prefix="optc-reproducer-")) / f"{failed.name}.mlir"
    try:
        save_module(original, place)
        command = ["optc", "opt", str(place), "--passes", print_pipeline(passes), "--verify-each"]
        command += ["--target", context.target.name] if context.target is not None else []
        hint = f"replay it with: {shlex.join(command)}"
    except OptcError as failure:
        hint = f"no reproducer could be saved: {failure.why}"
    why = "\n".join(lines).replace("\n", "\n  ")
    return InternalError(what, why=why, hint=hint)


def _culprit(error: BaseException) -> Operation | None:
    """The operation that the innermost frame below the pass was working on."""
    found = None
    trace = error.__traceback__
    while trace is not None:
        local = trace.tb_frame.f_locals.get("operation")
        found = local if isinstance(local, Operation) else found
        trace = trace.tb_next
    return found
