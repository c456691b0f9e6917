"""Training runs: configurations, units of work and loops that go on after a kill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from optc.costmodel.training.config import Config, read_config
from optc.costmodel.training.run import Run
from optc.errors import UsageError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "cache"))


def step(state: dict[str, np.ndarray], number: int) -> tuple[dict[str, np.ndarray], float]:
    """Gradient descent on (x - 3)², with noise that depends on the iteration alone."""
    noise = np.random.default_rng(number).normal() * 0.01
    x = state["x"] - 0.1 * (2 * (state["x"] - 3.0) + noise)
    return {"x": x}, float((x - 3.0) ** 2)


def start() -> dict[str, np.ndarray]:
    return {"x": np.array(0.0)}


def run(*, resume: bool = False, seed: int = 0) -> Run:
    made = Run(Config("test", "none", seed), resume=resume)
    made.bind("data")
    return made


def test_a_loop_that_was_killed_goes_on_to_the_same_end():
    whole = run().iterate("loop", start, step, 40, every=7)

    def killed(state: dict[str, np.ndarray], number: int) -> tuple[dict[str, np.ndarray], float]:
        if number == 23:
            raise KeyboardInterrupt
        return step(state, number)

    with pytest.raises(KeyboardInterrupt):
        run().iterate("loop", start, killed, 40, every=7)
    seen: list[int] = []

    def counted(state: dict[str, np.ndarray], number: int) -> tuple[dict[str, np.ndarray], float]:
        seen.append(number)
        return step(state, number)

    again = run(resume=True).iterate("loop", start, counted, 40, every=7)
    assert seen[0] == 21
    assert again["x"] == whole["x"]


def test_a_loop_stops_early_and_keeps_the_best_state():
    losses = [5.0, 3.0, 4.0, 4.0, 1.0]
    found = run().iterate("loop", start, lambda state, n: ({"x": np.array(float(n))}, losses[n]), 5, patience=2)
    assert found["x"] == 1.0


def test_a_finished_unit_is_not_computed_again():
    calls: list[int] = []

    def compute() -> dict[str, float]:
        calls.append(1)
        return {"value": 4.0}

    run().unit("a", compute)
    assert run(resume=True).unit("a", compute)["value"] == 4.0
    assert len(calls) == 1
    run().unit("a", compute)
    assert len(calls) == 2


def test_a_damaged_checkpoint_is_computed_again():
    first = run()
    first.unit("a", lambda: {"value": 1.0})
    for path in first.folder.glob("*.npz"):
        path.write_bytes(path.read_bytes()[:40])
    assert run(resume=True).unit("a", lambda: {"value": 2.0})["value"] == 2.0


def test_checkpoints_of_another_configuration_are_refused():
    run().unit("a", lambda: {"value": 1.0})
    with pytest.raises(UsageError, match="belong to another configuration or to other data"):
        run(resume=True, seed=1)


def test_tensorboard_gets_the_curves(tmp_path: Path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from optc.costmodel.training.scalars import Scalars

    scalars = Scalars(tmp_path / "logs")
    for number in range(3):
        scalars.add("loss", 1.0 / (1 + number), number)
    scalars.close()
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert [event.step for event in events.Tensors("loss")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "is no TOML file"),
        ('name = "a"', "has no 'set'"),
        ('name = "a"\nset = "b"\nspeed = 3', "'speed' is not understood"),
    ],
)
def test_configurations_that_are_none(tmp_path: Path, text: str, message: str):
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_config(path)


def test_options_are_checked():
    config = Config("a", "b", tables={"split": {"samples": "many"}})
    with pytest.raises(UsageError, match="samples = 'many' in \\[split\\] must be of type int"):
        config.options("split", {"samples": 1})
    with pytest.raises(UsageError, match=r"\[split\] has no option 'samples'"):
        config.options("split", {"share": 0.5})
