"""Words of the command line that stand in files: `optc compile @args.txt`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from optc.errors import UsageError

DEEPEST = 8
"""So many files may name one another."""


def expanded(argv: Sequence[str]) -> list[str]:
    """The words with `@FILE` replaced by the words in FILE, as a shell splits them; `#` begins a comment there.

    Words behind `--` stay as they are.

    Raises:
        UsageError: a file cannot be read, has an open quotation, or names itself.
    """
    end = list(argv).index("--") if "--" in argv else len(argv)
    return [*_expanded(argv[:end], ()), *argv[end:]]


def _expanded(words: Sequence[str], inside: tuple[str, ...]) -> Iterator[str]:
    for word in words:
        if not word.startswith("@") or len(word) == 1:
            yield word
            continue
        if len(inside) >= DEEPEST:
            raise UsageError("files of arguments name one another", where=f"@{inside[-1]}")
        try:
            text = Path(word[1:]).read_text(encoding="utf-8")
            found = shlex.split(text, comments=True)
        except (OSError, UnicodeDecodeError) as fault:
            why = (fault.strerror or str(fault)) if isinstance(fault, OSError) else "it is no text in UTF-8"
            raise UsageError("the file of arguments cannot be read", where=word, why=why) from fault
        except ValueError as fault:
            raise UsageError("the file of arguments has an open quotation", where=word) from fault
        yield from _expanded(found, (*inside, word[1:]))
