"""The errors that a user can cause, each with what, where, why and a hint, and the exit code of the command line."""

from __future__ import annotations


class OptcError(Exception):
    """The input or the machine is at fault (exit code 1).

    Args:
        what: one sentence that says what failed.
        where: the place in the user's own words (file, node name, line), if there is one.
        why: the cause, when `what` does not say it.
        hint: what the user can do next.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, why: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  at {self.where}")
        if self.why:
            lines.append(f"  {self.why}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class ModelError(OptcError):
    """The model file cannot be read, is invalid, or holds something outside the tensor subset."""


class UsageError(OptcError):
    """An option, a name or an argument is wrong."""

    exit_code = 2


class LimitError(OptcError):
    """A limit that the user set (memory, accuracy, time) cannot be met."""

    exit_code = 3


class VerificationFailed(OptcError):
    """The artifact's numbers differ from the reference by more than the tolerance."""

    exit_code = 4


class InternalError(OptcError):
    """A bug in optc: an invariant of its own does not hold."""

    exit_code = 70
