"""A training run that was stopped ends with the same network as one that was not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from optc.errors import OptcError
from optc.passes.memory.game.agent import load_weights

torch = pytest.importorskip("torch")


def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    from optc.passes.memory.game.train import LOG, Training, train

    training = Training(rounds=2, games=2, updates=3, batch=16, simulations=4, seed=1)
    whole = train(tmp_path / "whole", [], training, lambda line: None)
    train(tmp_path / "parts", [], replace(training, rounds=1), lambda line: None)
    lines: list[object] = []
    parts = train(tmp_path / "parts", [], training, lines.append)
    assert len(lines) == 1
    assert [json.loads(line)["round"] for line in (tmp_path / "parts" / LOG).read_text().splitlines()] == [1, 2]
    expected = load_weights(whole)
    for name, array in load_weights(parts).items():
        np.testing.assert_array_equal(array, expected[name])


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    from optc.passes.memory.game.train import CHECKPOINT, Training, train

    (tmp_path / CHECKPOINT).write_bytes(b"half of it")
    with pytest.raises(OptcError) as caught:
        train(tmp_path, [], Training(rounds=1), lambda line: None)
    assert caught.value.what == "the checkpoint cannot be read"
    assert caught.value.where == str(tmp_path / CHECKPOINT)
