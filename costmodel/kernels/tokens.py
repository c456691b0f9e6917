"""The IR text of a kernel as numbers: words of the text, and numbers digit by digit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_TOKEN = re.compile(r"\d+\.\d+(?:e-?\d+)?|\d+|[A-Za-z_][\w.]*|->|\S")
_CONSTANT = re.compile(r'"sha256:[0-9a-f]+"')
PADDING, UNKNOWN, NUMBER = 0, 1, 2
DIGITS = {str(digit): 3 + digit for digit in range(10)}
FIRST_WORD = 13


def words_of(text: str) -> list[str]:
    """The words, numbers and signs of a text; contents of constants and value names say nothing and are left out."""
    kept = _CONSTANT.sub("", text)
    kept = re.sub(r"%\d+", "%", kept)
    kept = re.sub(r"(auto_pad|keepdims|noop_with_empty_axes) = [^,}]*,? ?", "", kept)
    return _TOKEN.findall(kept)


@dataclass(frozen=True)
class TokenVocabulary:
    """The words that a model knows, most frequent first; numbers need no word."""

    words: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many codes there are."""
        return FIRST_WORD + len(self.words)

    def encode(self, text: str, schedule: str, length: int) -> npt.NDArray[np.int64]:
        """Codes of a schedule and the text after it, cut or padded to `length`."""
        known = {word: FIRST_WORD + number for number, word in enumerate(self.words)}
        codes: list[int] = []
        for word in [*words_of(schedule), *words_of(text)]:
            if word[0].isdigit():
                codes.append(NUMBER)
                codes += [DIGITS[digit] for digit in word if digit in DIGITS][:6]
            else:
                codes.append(known.get(word, UNKNOWN))
        codes = codes[:length]
        return np.array(codes + [PADDING] * (length - len(codes)), np.int64)


def token_vocabulary(texts: Iterable[str], schedules: Sequence[str], fewest: int = 3) -> TokenVocabulary:
    """The words that occur in at least `fewest` texts or schedules."""
    counts: Counter[str] = Counter()
    for text in [*texts, *schedules]:
        counts.update({word for word in words_of(text) if not word[0].isdigit()})
    return TokenVocabulary(tuple(sorted(word for word, count in counts.items() if count >= fewest)))
