"""What is fuzzed: a place where bytes from outside come in, and what must hold there for any bytes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Surface:
    """A way in.

    Attributes:
        name: of the folder of its corpus.
        seeds: well-formed inputs to start from.
        run: takes any bytes; raises only where optc is at fault (an OptcError is the right answer to bad bytes).
        more_seeds: further ones, which take long to make.
        mutate: changes an input so that it stays nearly well-formed; None: bytes are changed anywhere.
    """

    name: str
    seeds: Callable[[], list[bytes]]
    run: Callable[[bytes], None]
    mutate: Callable[[bytes, random.Random], bytes] | None = None
    more_seeds: Callable[[], list[bytes]] = list
