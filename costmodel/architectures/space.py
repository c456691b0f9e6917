"""A search space: how its architectures are written, which features they have, and which of them are the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import numpy.typing as npt

from optc.costmodel.datasets.table import Table
from optc.errors import UsageError

Codes = npt.NDArray[np.int64]
Features = npt.NDArray[np.float64]

SPACES: dict[str, str] = {
    "nb201": "optc.costmodel.architectures.nb201",
    "fbnet": "optc.costmodel.architectures.fbnet",
    "ofa": "optc.costmodel.architectures.ofa",
    "hat": "optc.costmodel.architectures.hat",
    "anb": "optc.costmodel.architectures.anb",
}
"""Name (and value of `--format`) → the module that defines `SPACE`."""


@dataclass(frozen=True)
class Space:
    """A search space.

    Attributes:
        name: its key in SPACES.
        styles: ways in which runtimes execute an architecture; each has its own features.
        read: a table of candidates, and the name of its id column → codes, one row of whole numbers each.
        parse: one architecture as the space's papers write it → its code. Raises UsageError.
        features: codes (n, d) and a style → (n, f): counts of work, so that latency is close to linear in them.
        groups: codes → a label each; equal labels mean the same function, which no split may tear apart.
        regular: codes → whether each is a network that a predictor may be trained on.
        candidates: architectures to choose samples from.
        position: codes → their rows in `candidates`, where that is the whole space; None where it is too large. A small
            space has its linear model corrected by a kernel, and can be predicted once for all.
        hollow: codes and a style → which of them compute nothing of their input, so that a runtime of this style drops
            what comes before their last cells. They are no networks either.
    """

    name: str
    styles: tuple[str, ...]
    read: Callable[[Table, str], Codes]
    parse: Callable[[str], tuple[int, ...]]
    features: Callable[[Codes, str], Features]
    groups: Callable[[Codes], npt.NDArray[np.int64]]
    regular: Callable[[Codes], npt.NDArray[np.bool_]]
    candidates: Callable[[], Codes]
    position: Callable[[Codes], npt.NDArray[np.int64]] | None = None
    hollow: Callable[[Codes, str], npt.NDArray[np.bool_]] | None = None


def load_space(name: str) -> Space:
    """The space of a name. Raises UsageError when there is none."""
    if name not in SPACES:
        raise UsageError(f"no search space is called '{name}'", where="--format", hint=f"one of {', '.join(SPACES)}")
    found: Space = import_module(SPACES[name]).SPACE
    return found


def plain_space(
    name: str,
    read: Callable[[Table, str], Codes],
    parse: Callable[[str], tuple[int, ...]],
    features: Callable[[Codes, str], Features],
    candidates: Callable[[], Codes],
) -> Space:
    """A large space whose codes are unique, all of them networks, executed alike by every runtime."""
    return Space(name, ("plain",), read, parse, features, labels_of_rows, all_regular, candidates)


def labels_of_rows(codes: Codes) -> npt.NDArray[np.int64]:
    """The same label for equal rows: the groups of a space whose codes are unique."""
    return np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def all_regular(codes: Codes) -> npt.NDArray[np.bool_]:
    """Every architecture is a network."""
    return np.ones(len(codes), dtype=bool)


def parse_numbers(table: Table, column: str, separator: str, count: int, allowed: range | tuple[int, ...]) -> Codes:
    """The cells of a column as `count` whole numbers each. Raises DataError that names the row."""
    rows = []
    for index, cell in enumerate(table.text(column)):
        parts = cell.split(separator)
        if len(parts) != count or not all(part.isdecimal() and int(part) in allowed for part in parts):
            what = f"'{cell}' is not {count} numbers out of {_listed(allowed)}, joined by '{separator}'"
            raise table.error(index, what, column)
        rows.append([int(part) for part in parts])
    return np.array(rows, dtype=np.int64).reshape(-1, count)


def _listed(allowed: range | tuple[int, ...]) -> str:
    return f"{allowed[0]} … {allowed[-1]}" if isinstance(allowed, range) else ", ".join(map(str, allowed))
