"""The space of hardware-aware transformers (Wang et al., 2020), by averages over layers, as its authors publish."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np

from optc.costmodel.architectures.space import Codes, Features, plain_space
from optc.costmodel.datasets.table import Table
from optc.errors import UsageError

COLUMNS = (
    "encoder_embed_dim", "encoder_layer_num", "encoder_ffn_embed_dim_avg", "encoder_self_attention_heads_avg",
    "decoder_embed_dim", "decoder_layer_num", "decoder_ffn_embed_dim_avg", "decoder_self_attention_heads_avg",
    "decoder_ende_attention_heads_avg", "decoder_arbitrary_ende_attn_avg",
)  # fmt: skip
_UNIT = 1000.0  # codes are whole numbers of thousandths
_TYPICAL = np.array([512, 6, 2048, 4, 512, 6, 2048, 4, 4, 1])
_DECODER_LAYERS = COLUMNS.index("decoder_layer_num")


def read(table: Table, id_column: str) -> Codes:
    """Architectures by the ten columns of averages."""
    columns = [table.numbers(name) for name in COLUMNS]
    return np.round(np.stack(columns, axis=1) * _UNIT).astype(np.int64)


def parse(text: str) -> tuple[int, ...]:
    """The ten numbers in the order of COLUMNS, joined by ','. Raises UsageError for anything else."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != len(COLUMNS):
        raise UsageError(f"'{text}' is no HAT architecture", hint=f"{len(COLUMNS)} numbers: {','.join(COLUMNS)}")
    return tuple(round(number * _UNIT) for number in numbers)


def features(codes: Codes, style: str) -> Features:
    """The averages, their products, and the decoder's by its number of layers."""
    scaled = codes / _UNIT / _TYPICAL
    pairs = [scaled[:, a] * scaled[:, b] for a, b in combinations_with_replacement(range(len(COLUMNS)), 2)]
    layers = scaled[:, _DECODER_LAYERS]
    deep = [layers * scaled[:, a] * scaled[:, b] for a, b in combinations_with_replacement(range(4, len(COLUMNS)), 2)]
    return np.stack([*scaled.T, *pairs, *deep], axis=1)


def candidates() -> Codes:
    """Random architectures."""
    generator = np.random.default_rng(0)
    choices = [(512, 640), (6,), range(512, 3073, 256), range(2, 9), (512, 640), range(1, 7)]
    choices += [range(512, 3073, 256), range(2, 9), range(2, 9), (-1, 1, 2)]
    return np.stack([generator.choice(allowed, 2000) for allowed in choices], axis=1) * int(_UNIT)


SPACE = plain_space("hat", read, parse, features, candidates)
