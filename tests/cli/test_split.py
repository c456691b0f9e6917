"""`optc split` says what it would do, why, and what is wrong with what was asked."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import split_lab

from optc.cli.app import run
from optc.driver.split.bottlenecks import cut_at
from optc.driver.split.trained import TrainedWay, write_trained
from optc.ops.onnx_export import to_onnx_model

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("lab")
    device, server = split_lab.targets(folder)
    onnx.save(split_lab.network(), folder / "net.onnx")
    link = folder / "lab.toml"
    fields = {key: value for key, value in split_lab.LINK.to_dict().items() if key not in ("name", "description")}
    link.write_text("\n".join(f"{key} = {value}" for key, value in fields.items()))
    return ["split", str(folder / "net.onnx"), "--device", device, "--server", server, "--link", str(link)]


def test_the_table_and_the_choice(arguments: list[str], capsys: Capture) -> None:
    assert run(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    header = next(line for line in lines if line.startswith("way"))
    assert header.split() == ["way", "sent", "device", "link", "server", "total", "bytes", "energy", "device", "memory"]
    chosen = next(line for line in lines if " * " in line)
    assert "r2 (q8)" in chosen
    assert any(line.startswith("chosen") and "fastest of" in line for line in lines)
    assert any(line.startswith("runner-up") and "× as much" in line for line in lines)


def test_replay_picture_and_artifacts(arguments: list[str], tmp_path: Path, capsys: Capture) -> None:
    trace = tmp_path / "drive.csv"
    trace.write_text("seconds,mbps\n" + "\n".join(f"{second},{1 + second % 3}" for second in range(12)))
    more = ["--simulate", str(trace), "--plot", str(tmp_path / "split.svg"), "-o", str(tmp_path / "split"), "--json"]
    assert run([*arguments, *more]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["replay"]["policies"]) == {"local", "remote", "split", "adaptive", "oracle"}
    assert found["chosen"] == json.loads((tmp_path / "split" / "split.json").read_text())["chosen"]
    assert len(found["identity"]) == 64
    picture = (tmp_path / "split.svg").read_text()
    assert picture.count('class="way"') == len(found["ways"]) and picture.count('class="policy"') == 10


def test_a_bottleneck_stands_beside_the_plain_cuts(arguments: list[str], tmp_path: Path, capsys: Capture) -> None:
    parts = cut_at(split_lab.network(), "r2", {})
    assert parts.device is not None and parts.server is not None
    halves = to_onnx_model(parts.device), to_onnx_model(parts.server)
    write_trained(TrainedWay("thin", *halves, sizes={"r2": 40}, drop=0.006), tmp_path / "thin")
    assert run([*arguments, "--bottleneck", str(tmp_path / "thin")]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert any(line.startswith("thin * r2 (thin) ") for line in lines)
    place = next(number for number, line in enumerate(lines) if line.startswith("thin ") and "without training" in line)
    assert "as much as 2, the best without training" in lines[place]
    assert lines[place + 1] == "80 bytes, 72% less than 2 (281 bytes)"
    assert lines[place + 2] == "loses 0.60 points of accuracy, as its training states"


def test_a_next_tier_gets_its_own_halves(arguments: list[str], tmp_path: Path) -> None:
    fast, link = arguments[5], arguments[7]
    more = ["--beyond", fast, "--beyond-link", link, "--cuts", "0", "--tune", "0", "-o", str(tmp_path / "split")]
    assert run([*arguments, *more]) == 0
    inner = json.loads((tmp_path / "split" / "remote" / "split.json").read_text())
    assert (inner["device"], inner["server"]) == ("fast", "fast")
    assert (tmp_path / "split" / "remote" / "remote" / "model.onnx").is_file()


def test_energy_needs_figures(arguments: list[str], tmp_path: Path, capsys: Capture) -> None:
    device = tmp_path / "plain.toml"
    text = Path(arguments[3]).read_text()
    device.write_text(text[: text.index("[energy]")])
    given = [*arguments[:3], str(device), *arguments[4:]]
    assert run([*given, "--objective", "energy"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: the target 'plain' states no energy figures\n  at --objective energy\n"
    )
    assert run(given) == 0
    assert "unknown" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--max-drop", "1%"], 2, "error: --max-drop needs --calib\n  hint: --calib images/\n"),
        (["--bandwidth", "0"], 2, "error: a link of 0 Mbit/s carries nothing\n  at --bandwidth\n"),
        (["--link", "wify"], 2, "error: there is no link 'wify'\n"),
        (["--keep", "r22"], 2, "error: no value is called 'r22'\n"),
        (["--encoding", "q9"], 1, "error: no encoding is called 'q9'\n"),
        (["--memory-limit", "10", "--private"], 3, "error: no split fits into 10 bytes of the device\n"),
    ],
)
def test_mistakes(more: list[str], code: int, message: str, arguments: list[str], capsys: Capture) -> None:
    assert run([*arguments, *more]) == code
    assert capsys.readouterr().err.startswith(message)
