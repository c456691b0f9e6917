"""The Once-for-All space (Cai et al., 2020): MobileNetV3 with elastic kernels, expansions, depths and resolution."""

from __future__ import annotations

import numpy as np

from optc.costmodel.architectures.space import Codes, Features, parse_numbers, plain_space
from optc.costmodel.datasets.table import Table
from optc.errors import UsageError

STAGES, DEPTH = 5, 4
KERNELS, EXPANSIONS, DEPTHS = (3, 5, 7), (3, 4, 6), (2, 3, 4)
SIDES = range(128, 225)
_BLOCKS = STAGES * DEPTH
_FULL_SIDE = 224.0


def read(table: Table, id_column: str) -> Codes:
    """Architectures by the columns `ks`, `e`, `d` and `r`."""
    return _normal(
        np.concatenate(
            [
                parse_numbers(table, "ks", "-", _BLOCKS, KERNELS),
                parse_numbers(table, "e", "-", _BLOCKS, EXPANSIONS),
                parse_numbers(table, "d", "-", STAGES, DEPTHS),
                parse_numbers(table, "r", "-", 1, SIDES),
            ],
            axis=1,
        )
    )


def parse(text: str) -> tuple[int, ...]:
    """`ks=7-5-…;e=6-4-…;d=2-3-…;r=204`. Raises UsageError for anything else."""
    fields = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    wanted = {"ks": (_BLOCKS, KERNELS), "e": (_BLOCKS, EXPANSIONS), "d": (STAGES, DEPTHS), "r": (1, SIDES)}
    numbers: list[int] = []
    for name, (count, allowed) in wanted.items():
        parts = fields.get(name, "").split("-")
        if len(parts) != count or not all(part.isdecimal() and int(part) in allowed for part in parts):
            hint = "ks=… (20 of 3, 5, 7); e=… (20 of 3, 4, 6); d=… (5 of 2, 3, 4); r=128 … 224"
            raise UsageError(f"'{text}' is no Once-for-All architecture", why=f"'{name}' is wrong", hint=hint)
        numbers += map(int, parts)
    return tuple(_normal(np.array([numbers]))[0].tolist())


def features(codes: Codes, style: str) -> Features:
    """Counts of each block that runs by stage, place, kernel and expansion: once as they are, once by pixels."""
    count = len(codes)
    runs = codes[:, :_BLOCKS] > 0
    kernel = np.searchsorted(KERNELS, codes[:, :_BLOCKS])
    expansion = np.searchsorted(EXPANSIONS, codes[:, _BLOCKS : 2 * _BLOCKS])
    place = np.arange(_BLOCKS) // DEPTH * 2 + (np.arange(_BLOCKS) % DEPTH > 0)
    block = (place * len(KERNELS) + kernel) * len(EXPANSIONS) + expansion
    width = 2 * STAGES * len(KERNELS) * len(EXPANSIONS)
    cells = (np.arange(count)[:, None] * width + block)[runs]
    counts = np.bincount(cells, minlength=count * width).reshape(count, width).astype(np.float64)
    area = (codes[:, -1:] / _FULL_SIDE) ** 2
    return np.concatenate([area, counts, counts * area], axis=1)


def candidates() -> Codes:
    """Random architectures."""
    generator = np.random.default_rng(0)
    parts = [
        generator.choice(allowed, (2000, count)) for allowed, count in ((KERNELS, 20), (EXPANSIONS, 20), (DEPTHS, 5))
    ]
    return _normal(np.concatenate([*parts, generator.choice(SIDES[::4], (2000, 1))], axis=1))


def _normal(codes: Codes) -> Codes:
    """Zeros for the blocks beyond a stage's depth: they do not run."""
    depths = codes[:, 2 * _BLOCKS : 2 * _BLOCKS + STAGES]
    runs = np.repeat(depths, DEPTH, axis=1) > np.tile(np.arange(DEPTH), STAGES)
    codes = codes.copy()
    codes[:, :_BLOCKS] *= runs
    codes[:, _BLOCKS : 2 * _BLOCKS] *= runs
    return codes


SPACE = plain_space("ofa", read, parse, features, candidates)
