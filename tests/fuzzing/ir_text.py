"""The text form of the IR: what parses is verified, and its printed form parses to the same."""

from __future__ import annotations

import functools
import random
import re
from pathlib import Path

import numpy as np
from fuzzing.surface import Surface

from optc.errors import OptcError
from optc.ir.equality import equal
from optc.ir.parser import parse_module
from optc.ir.printer import print_module

_LIMIT = 1 << 16
_TOKEN = re.compile(r"\s+|[\w.]+|%[\w.]+|\"[^\"\n]*\"|.", re.DOTALL)
_TESTS = Path(__file__).parents[1]


def seeds() -> list[bytes]:
    """The text tests of the passes, split into their modules."""
    parts = []
    for path in sorted((_TESTS / "passes").rglob("*.mlir")):
        for part in path.read_text(encoding="utf-8").split("// -----"):
            lines = [line for line in part.splitlines() if not line.lstrip().startswith("//")]
            parts.append("\n".join(lines).strip().encode())
    return [part for part in dict.fromkeys(parts) if 0 < len(part) < 4096]


def run(data: bytes) -> None:
    """Parse; print and parse again."""
    text = data[:_LIMIT].decode("utf-8", errors="replace")
    try:
        module = parse_module(text)
    except OptcError as error:
        assert str(error)
        return
    resources: dict[str, np.ndarray] = {}
    printed = print_module(module, resources)
    difference = equal(module, parse_module(printed, resources), locations=False)
    assert difference is None, f"{difference}\n{printed}"


@functools.cache
def _words() -> list[str]:
    """The tokens of the seeds, and some that are never right."""
    tokens = {token for seed in seeds() for token in _TOKEN.findall(seed.decode())}
    absurd = ("9" * 5000, "-1", "1e999", "nan", "0x7fc00001", '"\\u{110000}"', "tensor<", "block(0, 0)", "(")
    return [*sorted(tokens), *absurd]


def mutate(data: bytes, choices: random.Random) -> bytes:
    """Exchange, drop, repeat or nest tokens."""
    tokens = _TOKEN.findall(data.decode("utf-8", errors="replace"))
    for _ in range(choices.randint(1, 4)):
        if not tokens:
            break
        at = choices.randrange(len(tokens))
        kind = choices.random()
        if kind < 0.5:
            tokens[at] = choices.choice(_words())
        elif kind < 0.65:
            tokens.insert(at, choices.choice(tokens))
        elif kind < 0.8:
            del tokens[at]
        elif kind < 0.95:
            other = choices.randrange(len(tokens))
            tokens[at], tokens[other] = tokens[other], tokens[at]
        else:
            tokens[at] = tokens[at] * choices.choice([2, 100, 3000])
    return "".join(tokens).encode()[:_LIMIT]


SURFACE = Surface("ir_text", seeds, run, mutate)
