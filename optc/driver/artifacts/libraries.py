"""The libraries that `--emit` asks for, as further files of an artifact."""

from __future__ import annotations

from dataclasses import replace

from optc.artifact import Contents
from optc.backends.c.source import identifier
from optc.backends.host.custom_op import custom_op
from optc.backends.host.library import CUSTOM_OP, check_kinds, check_name, libraries
from optc.backends.host.platform import platform_of
from optc.driver.options import CompileOptions
from optc.driver.verification.emulation import Linkable
from optc.errors import UsageError
from optc.targets.foreign import compiler_for, is_foreign
from optc.targets.library import host_of
from optc.targets.target import Target
from optc.toolchain import Tools


def with_libraries(
    contents: Contents, linkable: Linkable, model: str, target: Target, options: CompileOptions
) -> Contents:
    """The contents with the libraries that the options name; as they are where these name none.

    Raises:
        UsageError: the target has no such libraries, or their name is none.
        OptcError: a tool is missing or fails.
    """
    kinds = check_kinds(options.emit)
    if not kinds:
        return contents
    name = check_name(identifier(options.library_name or model))
    if target.llvm.get("kind") == "c":
        hint = "the artifact holds the model's C source: add it to your build"
        raise UsageError(f"'{target.name}' takes C source, no libraries", where="--emit", hint=hint)
    options.progress("making libraries", 0, 1)
    weights = [bytes(piece) for piece in contents.weights]
    tools = Tools(host_of(target).toolchain.get("prefix", "") if is_foreign(target) else "")
    compiler, platform = compiler_for(target), platform_of(target)
    made: dict[str, bytes] = {}
    if linked := [kind for kind in kinds if kind != CUSTOM_OP]:
        made |= libraries(name, linked, linkable.entry, linkable.objects, weights, compiler, tools, platform)
    if CUSTOM_OP in kinds:
        made |= custom_op(name, contents.program, linkable.entry, linkable.objects, weights, compiler, platform)
    return replace(contents, weights=weights, extra={**contents.extra, **made})
