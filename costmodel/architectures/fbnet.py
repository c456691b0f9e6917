"""The FBNet space (Wu et al., 2019): 22 layers, each one of nine blocks, written as `7-8-1-…`."""

from __future__ import annotations

import numpy as np

from optc.costmodel.architectures.space import Codes, Features, parse_numbers, plain_space
from optc.costmodel.datasets.table import Table
from optc.errors import UsageError

LAYERS, BLOCKS, SKIP = 22, 9, 8
COLUMN = "op_idx"


def read(table: Table, id_column: str) -> Codes:
    """Architectures by the column `op_idx`."""
    return parse_numbers(table, COLUMN, "-", LAYERS, range(BLOCKS))


def parse(text: str) -> tuple[int, ...]:
    """22 digits 0 … 8 joined by '-'. Raises UsageError for anything else."""
    parts = text.split("-")
    if len(parts) != LAYERS or not all(part.isdecimal() and int(part) < BLOCKS for part in parts):
        raise UsageError(f"'{text}' is no FBNet architecture", hint=f"{LAYERS} numbers 0 … {BLOCKS - 1} joined by '-'")
    return tuple(map(int, parts))


def features(codes: Codes, style: str) -> Features:
    """Which block each layer is, without the skip, and how many layers are none."""
    chosen = (codes[:, :, None] == np.arange(SKIP)).reshape(len(codes), -1)
    return np.concatenate([chosen, (codes == SKIP).sum(1, keepdims=True)], axis=1).astype(np.float64)


def candidates() -> Codes:
    """Random architectures."""
    return np.random.default_rng(0).integers(0, BLOCKS, (2000, LAYERS))


SPACE = plain_space("fbnet", read, parse, features, candidates)
