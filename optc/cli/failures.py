"""Errors as the user sees them: what, where, why and a hint on standard error, an exit code, no traceback."""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
import traceback
from collections.abc import Sequence

import click

from optc.errors import InternalError, OptcError, UsageError

INTERRUPTED = 130
_MACHINE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR),
    *(errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EIO, errno.ENOMEM),
}


def report(error: BaseException, argv: Sequence[str], *, verbose: bool, as_json: bool) -> int:
    """Print an error and return the exit code.

    Args:
        error: whatever ended the command.
        argv: the command line, for the replay command of a bug.
        verbose: whether to print the traceback too.
        as_json: whether standard output gets the error as a JSON object.
    """
    if isinstance(error, KeyboardInterrupt | click.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # The reader of standard output has gone; a later flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if verbose:
        traceback.print_exception(error, file=sys.stderr)
    known = translate(error, argv)
    print(render(known), file=sys.stderr)
    if as_json:
        fields = {"what": known.what, "where": known.where, "why": known.why, "hint": known.hint}
        print(json.dumps({"error": {**fields, "exit_code": known.exit_code}}, ensure_ascii=False))
    return known.exit_code


def render(error: OptcError) -> str:
    """`error: what`, then `  at where`, `  why` and `  hint: …` where they exist."""
    return f"error: {error}"


def translate(error: BaseException, argv: Sequence[str]) -> OptcError:
    """The error in optc's own terms; whatever nobody foresaw is a bug of optc."""
    command = shlex.join(["optc", *argv])
    if isinstance(error, InternalError):
        replay = f"replay it with: {command}"
        hint = error.hint if error.hint and "replay it with" in error.hint else replay
        return InternalError(f"a bug in optc: {error.what}", where=error.where, why=error.why, hint=hint)
    if isinstance(error, OptcError):
        return error
    if isinstance(error, click.ClickException):
        return _usage(error)
    if isinstance(error, MemoryError):
        return OptcError("the machine is out of memory", hint="close other programs, or bind smaller shapes")
    if isinstance(error, OSError) and error.errno in _MACHINE:
        where = str(error.filename) if error.filename else None
        return OptcError("the machine refused a file operation", where=where, why=error.strerror)
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("optc"):
        hint = "optc doctor shows what is installed"
        return OptcError(f"the Python package '{error.name.split('.')[0]}' is missing", hint=hint)
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else None
    why = f"{type(error).__name__}: {error}"
    return InternalError("a bug in optc", where=where, why=why, hint=f"replay it with: {command} -v")


def _usage(error: click.ClickException) -> UsageError:
    """A mistake that click found, with the command it was made in and near names."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "optc"
    help_hint = f"{path} --help"
    if isinstance(error, click.NoSuchOption):
        near = error.possibilities
        hint = f"did you mean {' or '.join(near)}?" if near else help_hint
        return UsageError(f"no option is called '{error.option_name}'", where=path, hint=hint)
    message = error.format_message().strip().rstrip(".")
    return UsageError(message[:1].lower() + message[1:], where=path, hint=help_hint)
