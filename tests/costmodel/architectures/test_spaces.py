"""The other spaces: what their columns and strings mean, and the shipped predictors of every space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from optc.costmodel import predictors
from optc.costmodel.architectures import anb, fbnet, hat, kind, ofa
from optc.costmodel.architectures.space import SPACES, load_space
from optc.costmodel.datasets import dataset
from optc.costmodel.datasets.table import DataError, Table
from optc.errors import UsageError

KERNELS, EXPANSIONS = "7-5-5-5-7-7-5-7-5-7-3-7-5-3-7-3-5-3-5-3", "6-4-4-6-6-3-4-3-3-6-3-3-3-6-3-4-6-4-3-6"
CARDS = [card for card in predictors.cards() if card.kind == kind.KIND and card.folder.parent.name == "predictors_data"]


def table(**columns: str) -> Table:
    return Table(Path("a.csv"), {name: [cell] for name, cell in columns.items()})


def test_ofa_blocks_beyond_the_depth_do_not_count():
    columns = {"ks": KERNELS, "e": EXPANSIONS, "d": "2-2-2-2-3", "r": "204"}
    code = ofa.read(table(**columns), "arch_idx")
    text = ";".join(f"{name}={cell}" for name, cell in columns.items())
    assert (code[0] == ofa.parse(text)).all()
    area = (204 / 224) ** 2
    features = ofa.features(code, "plain")[0]
    assert features[0] == pytest.approx(area)
    assert features[1:91].sum() == 2 + 2 + 2 + 2 + 3
    assert features[91:] == pytest.approx(features[1:91] * area)
    other = ofa.read(table(**{**columns, "ks": KERNELS[:4] + "3-3" + KERNELS[7:]}), "arch_idx")
    assert (ofa.features(other, "plain") == features).all()


def test_fbnet_features_name_each_layers_block():
    code = np.array([fbnet.parse("-".join(["8"] * 20 + ["0", "7"]))])
    features = fbnet.features(code, "plain")[0]
    assert np.flatnonzero(features).tolist() == [20 * 8, 21 * 8 + 7, 22 * 8]
    assert features[-1] == 20


def test_anb_counts_first_and_further_layers():
    code = np.array([anb.parse("e=1-1-1-1-1-1-6;k=3-3-3-3-3-3-5;l=1-1-1-1-1-1-3;se=0-0-0-0-0-0-1")])
    features = anb.features(code, "plain")[0].reshape(-1, 2, 7)
    assert features[0, 0].tolist() == [1] * 6 + [0]
    assert features[-1, :, 6].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("space", "text"), [("fbnet", "1-2-3"), ("ofa", "ks=3"), ("hat", "1,2"), ("anb", "e=9"), ("hat", "a,b")]
)
def test_other_texts_are_refused(space: str, text: str):
    with pytest.raises(UsageError, match=r"is no .* architecture"):
        load_space(space).parse(text)


def test_a_bad_cell_is_named_by_file_and_row():
    with pytest.raises(DataError, match=r"'1-2-9'.*\n  at a\.csv: row 2, column 'op_idx'"):
        fbnet.read(table(op_idx="1-2-9"), "arch_idx")


def test_a_space_that_nobody_knows():
    with pytest.raises(UsageError, match="no search space is called 'nb301'"):
        load_space("nb301")


@pytest.mark.parametrize("name", SPACES)
def test_every_space_has_candidates_with_features(name: str):
    space = load_space(name)
    codes = space.candidates()[:50]
    for style in space.styles:
        features = space.features(codes, style)
        assert features.shape[0] == 50 and np.isfinite(features).all()
    assert len(space.groups(codes)) == 50


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_shipped_predictors_predict_and_state_their_figures(card: predictors.Card):
    source = dataset.load(card.data_set)
    assert (card.source, card.licence) == (source.upstream, source.licence)
    assert set(card.figures) == set(card.rows) == set(card.targets)
    codes = load_space(card.details["space"]).candidates()
    codes = codes[load_space(card.details["space"]).regular(codes)][:200]
    for target in card.targets:
        predictor = kind.load(card, target)
        found = predictor.predict(codes)
        assert ((0 < found.low) & (found.low <= found.value) & (found.value <= found.high)).all()
    coverage = [card.figures[target]["coverage"] for target in card.targets]
    assert 0.85 <= np.mean(coverage) <= 0.95
    assert min(coverage) >= 0.8


def test_a_table_of_a_small_space_says_the_same():
    card = predictors.find("raspi4", "help_nb201")
    predictor = kind.load(card, "raspi4")
    codes = predictor.space.candidates()[100:300]
    assert predictor.tabulated()(codes).value == pytest.approx(predictor.predict(codes).value, rel=1e-6)


def test_hat_reads_averages():
    text = "512,6,1877.333,6.0,640,3,1706.667,6.0,2.666667,1.333333"
    columns = dict(zip(hat.COLUMNS, text.split(","), strict=True))
    assert hat.read(table(**columns), "row")[0].tolist() == list(hat.parse(text))


def test_hat_targets_name_a_part_or_both():
    source = dataset.load("hat_transformer")
    cells = table(latency_mean_encoder="2.0", latency_mean_decoder="5.5")
    found = {name: source.measured(cells, f"wmt_cpu{name}").tolist() for name in ("", "_encoder", "_decoder")}
    assert found == {"": [7.5], "_encoder": [2.0], "_decoder": [5.5]}
