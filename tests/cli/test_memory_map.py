"""`optc memory map` from the command line: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest

from optc.cli.app import run
from optc.passes.memory.game.problem_json import read_problem
from tests.onnx_kit import model, node, value

Capture = pytest.CaptureFixture[str]
TARGET = """base = "stm32h743i-eval"
memories = [
    { name = "near", bytes = 8_192, bandwidth = 1.0e9 },
    { name = "far", bytes = 1_000_000, bandwidth = 1.0e7 },
]
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three layers whose weights take turns in the near memory."""
    random = np.random.default_rng(0)
    weights = {f"w{i}": random.standard_normal((32, 32)).astype(np.float32) for i in range(3)}
    nodes = [node("MatMul", f"{'x' if not i else f'y{i - 1}'} w{i}", f"y{i}") for i in range(3)]
    path = tmp_path / "m.onnx"
    onnx.save(model(nodes, [value("x", (8, 32))], ["y2"], weights), path)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "board.toml"
    path.write_text(TARGET)
    return path


def test_a_model_is_mapped_drawn_and_written_as_a_game(
    source: Path, target: Path, tmp_path: Path, capsys: Capture
) -> None:
    plot, game = tmp_path / "map.svg", tmp_path / "game.json"
    options = ["--target", str(target), "--plot", str(plot), "--problem", str(game), "--json"]
    assert run(["memory", "map", str(source), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    times = found["by_solver"]
    assert found["seconds"] == min(times.values()) < times["home"]
    (near, _) = found["memories"]
    assert 0 < near["used"] <= near["bytes"] == 8192
    assert {step["name"] for step in found["steps"]} == set(read_problem(game).steps)
    texts = [title.text or "" for title in ElementTree.parse(plot).iter("{http://www.w3.org/2000/svg}title")]
    assert any(text.startswith("w1\n") for text in texts)
    assert run(["memory", "map", str(game), "--solver", "ilp", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["by_solver"]["ilp"] <= times["greedy"] * (1 + 1e-9)


def test_fewer_bits_need_fewer_bytes(source: Path, target: Path, tmp_path: Path) -> None:
    sizes = []
    for bits in ([], ["--bits", "8"]):
        game = tmp_path / "game.json"
        assert run(["memory", "map", str(source), "--target", str(target), "--problem", str(game), *bits]) == 0
        sizes.append(sum(tensor.size for tensor in read_problem(game).tensors if tensor.constant))
    assert sizes[0] == 3 * 4096 and sizes[1] == 3 * 1024


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["m.onnx"], "error: a model needs --target\n  hint: --target stm32h743i-eval, or tda4vm\n"),
        (
            ["m.onnx", "--target", "rpi4"],
            "error: the target 'rpi4' has no memories to choose from\n"
            "  its file has no list 'memories' of at least two\n"
            "  hint: stm32h743i-eval and tda4vm have; `optc targets` lists all\n",
        ),
        (
            ["g.json", "--bits", "8"],
            "error: a game has its own memories and shapes\n  at g.json\n  hint: give only the file\n",
        ),
        (["g.json"], "error: the game cannot be read\n  at g.json\n  No such file or directory\n"),
    ],
)
def test_what_cannot_be_mapped(
    source: Path, arguments: list[str], text: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent)
    assert run(["memory", "map", *arguments]) != 0
    assert capsys.readouterr().err == text


def test_weights_are_streamed(source: Path, capsys: Capture) -> None:
    options = ["--target", "rpi4", "--memory", "9000", "--storage", "1M", "--json"]
    assert run(["memory", "stream", str(source), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["weight_bytes"] == 3 * 4096 and found["memory_bytes"] <= 9000
    streamed = sum(load["bytes"] for load in found["loads"])
    assert streamed + found["locked_bytes"] == found["weight_bytes"]
    assert found["seconds"] >= streamed / (1 << 20)


def test_memory_that_is_too_small_for_a_step(source: Path, capsys: Capture) -> None:
    assert run(["memory", "stream", str(source), "--target", "rpi4", "--memory", "4000", "--storage", "1M"]) == 3
    assert capsys.readouterr().err == (
        "error: the weights cannot be streamed through 4000 bytes\n"
        "  some step needs 4096 bytes of them at once\n  hint: 4096 bytes work\n"
    )
