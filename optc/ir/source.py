"""Errors that point into a text: file, line, column, the source line and a caret."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from optc.errors import ModelError, OptcError

WIDTH = 110


def caret_lines(line: str, column: int, length: int = 1, *, width: int = WIDTH) -> str:
    """A source line and, below it, `^~~~` under `length` characters from the 1-based `column`.

    A line longer than `width` is cut to the part around the column.
    """
    line = line.replace("\t", " ")
    start = 0 if len(line) <= width else max(0, min(column - 1 - width // 2, len(line) - width))
    shown = line[start : start + width]
    lead = "… " if start else ""
    tail = " …" if start + width < len(line) else ""
    offset = column - 1 - start
    marks = "^" + "~" * (max(1, min(length, len(shown) - offset)) - 1)
    return f"{lead}{shown}{tail}\n{' ' * (len(lead) + offset)}{marks}"


def near(name: str, known: Iterable[str]) -> str | None:
    """`did you mean 'a' or 'b'?` for the known names that resemble `name`; None when none does."""
    pool = list(known)
    by_lower = {item.lower(): item for item in pool}
    cutoff = 0.7 if len(name) > 4 else 0.6
    matches = get_close_matches(name, pool, n=3, cutoff=cutoff) or [
        by_lower[item] for item in get_close_matches(name.lower(), list(by_lower), n=3, cutoff=0.7)
    ]
    return f"did you mean {' or '.join(repr(item) for item in matches)}?" if matches else None


@dataclass(frozen=True)
class Source:
    """A text and the file it came from."""

    text: str
    file: str

    def error(
        self,
        what: str,
        line: int,
        column: int,
        length: int = 1,
        *,
        why: str | None = None,
        hint: str | None = None,
        kind: type[OptcError] = ModelError,
    ) -> OptcError:
        """An error at a 1-based line and column, with the source line and a caret."""
        lines = self.text.split("\n")
        shown = lines[line - 1] if 0 < line <= len(lines) else ""
        # OptcError indents the first line of `why` by two.
        below = [caret_lines(shown, column, length), *([why] if why else [])]
        body = "\n".join(below).replace("\n", "\n  ")
        return kind(what, where=f"{self.file}:{line}:{column}", why=body, hint=hint)
