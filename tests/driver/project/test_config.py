"""Project files: what they say becomes command lines, and what they cannot say is refused with the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from optc.driver.project.building import selected
from optc.driver.project.config import read_project
from optc.driver.project.jobs import words
from optc.errors import OptcError, UsageError

GOOD = """
[project]
output = "made"
jobs = 3

[defaults]
tune = 0
targets = ["cpu", "boards/mine.toml"]

[models.net]
file = "models/net.onnx"
shapes = { x = [1, 3, 8, 8], "a b" = [2] }
verify = false

[models.net.on.cpu]
threads = 2
emit = ["static", "shared"]

[models.other]
file = "other.onnx"
targets = ["wasm"]
tune = "30s"
dims = { batch = 1 }
calib = "data/samples"
max_drop = "0.5%"
options = ["--keep-float", "fc"]
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "optc.toml"
    file.write_text(text)
    return file


def test_each_model_and_target_is_a_command_line(tmp_path: Path) -> None:
    project = read_project(write(tmp_path, GOOD))
    assert (project.output, project.jobs) == (tmp_path / "made", 3)
    assert [unit.name for unit in project.units] == ["net/cpu", "net/mine", "other/wasm"]
    net = [str(tmp_path / "models/net.onnx"), "--target"]
    shapes = ["--shape", "x=1,3,8,8", "--shape", "a b=2", "--no-verify"]
    emit = ["--threads", "2", "--emit", "static", "--emit", "shared"]
    mine = str(tmp_path / "boards/mine.toml")
    assert [words(unit) for unit in project.units] == [
        ["compile", *net, "cpu", "-o", str(tmp_path / "made/net/cpu"), "--json", "--tune", "0", *shapes, *emit],
        ["compile", *net, mine, "-o", str(tmp_path / "made/net/mine"), "--json", "--tune", "0", *shapes],
        ["compile", str(tmp_path / "other.onnx"), "--target", "wasm", "-o", str(tmp_path / "made/other/wasm"), "--json",
         "--tune", "30s", "--dim", "batch=1", "--calib", str(tmp_path / "data/samples"), "--max-drop", "0.5%",
         "--keep-float", "fc"],
    ]  # fmt: skip
    assert project.units[2].data == (tmp_path / "data/samples",)


def test_units_are_selected_by_model_and_target(tmp_path: Path) -> None:
    project = read_project(write(tmp_path, GOOD))
    assert [unit.name for unit in selected(project, ["net"], None)] == ["net/cpu", "net/mine"]
    assert [unit.name for unit in selected(project, [], "mine")] == ["net/mine"]
    with pytest.raises(UsageError, match="the project has no model 'nte'"):
        selected(project, ["nte"], None)
    with pytest.raises(UsageError, match="nothing is compiled for 'wasm'"):
        selected(project, ["net"], "wasm")


MODEL = '[models.net]\nfile = "net.onnx"\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it names no model\n  hint: [models.NAME] with file = \"NAME.onnx\""),
        ("[models.net]\n", "[models.net] names no file\n  hint: file = \"model.onnx\""),
        (MODEL + "tun = 0", "[models.net] holds the unknown key 'tun'\n  hint: did you mean 'tune'?"),
        (MODEL + "threads = true", "[models.net] threads is not a number"),
        (MODEL + "dims = { batch = \"1\" }", "[models.net] dims is not a table of numbers: { batch = 1 }"),
        (MODEL + "targets = \"cpu\"", "[models.net] targets is no list of names\n  hint: targets = [\"cpu\"]"),
        (MODEL + "[models.net.on.wasm]\n", "[models.net] has options for 'wasm', which is none of its targets"),
        (MODEL + "[models.net.on.cpu]\nemit = \"static\"", "[models.net.on.cpu] emit is not a list: [\"static\"]"),
        (MODEL + "[project]\njobs = 0", "[project] jobs is no number of at least 1"),
        ("[models.\"../net\"]\nfile = \"x\"",
         "'../net' is no name for a model\n  hint: use letters, digits, '_', '-' and '.'"),
        ("models = 3", "'models' in the file is no table"),
    ],
)  # fmt: skip
def test_what_a_project_cannot_say(tmp_path: Path, text: str, why: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(UsageError) as failure:
        read_project(file)
    assert str(failure.value) == f"the project file is wrong\n  at {file}\n  {why}"


def test_a_file_that_is_missing_or_no_toml(tmp_path: Path) -> None:
    with pytest.raises(OptcError) as failure:
        read_project(tmp_path / "optc.toml")
    assert failure.value.hint == "write one, or give it with --file"
    with pytest.raises(UsageError, match="the project file is no TOML"):
        read_project(write(tmp_path, "= 1"))
