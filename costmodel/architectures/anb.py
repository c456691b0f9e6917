"""The space of Accel-NASBench (Ahmad et al., 2023): seven MnasNet blocks with expansion, kernel, layers and SE."""

from __future__ import annotations

import numpy as np

from optc.costmodel.architectures.space import Codes, Features, parse_numbers, plain_space
from optc.costmodel.datasets.table import Table
from optc.errors import UsageError

BLOCKS = 7
CHOICES: dict[str, tuple[int, ...]] = {"e": (1, 4, 6), "k": (3, 5), "l": (1, 2, 3, 4), "se": (0, 1)}


def read(table: Table, id_column: str) -> Codes:
    """Architectures by the columns `e`, `k`, `l` and `se`."""
    return np.concatenate(
        [parse_numbers(table, name, "-", BLOCKS, allowed) for name, allowed in CHOICES.items()], axis=1
    )


def parse(text: str) -> tuple[int, ...]:
    """`e=6-1-…;k=3-5-…;l=1-3-…;se=0-1-…`. Raises UsageError for anything else."""
    fields = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    numbers: list[int] = []
    for name, allowed in CHOICES.items():
        parts = fields.get(name, "").split("-")
        if len(parts) != BLOCKS or not all(part.isdecimal() and int(part) in allowed for part in parts):
            hint = "; ".join(f"{key}=… (7 of {', '.join(map(str, values))})" for key, values in CHOICES.items())
            raise UsageError(f"'{text}' is no Accel-NASBench architecture", why=f"'{name}' is wrong", hint=hint)
        numbers += map(int, parts)
    return tuple(numbers)


def features(codes: Codes, style: str) -> Features:
    """The first layer and the further ones of each block, by expansion, kernel and SE."""
    expansion, kernel, layers, excite = (codes[:, part : part + BLOCKS] for part in range(0, 4 * BLOCKS, BLOCKS))
    columns = []
    for e in CHOICES["e"]:
        for k in CHOICES["k"]:
            for s in CHOICES["se"]:
                here = (expansion == e) & (kernel == k) & (excite == s)
                columns += [here, here * (layers - 1)]
    return np.concatenate(columns, axis=1).astype(np.float64)


def candidates() -> Codes:
    """Random architectures."""
    generator = np.random.default_rng(0)
    return np.concatenate([generator.choice(allowed, (2000, BLOCKS)) for allowed in CHOICES.values()], axis=1)


SPACE = plain_space("anb", read, parse, features, candidates)
