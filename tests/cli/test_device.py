"""`optc device`, and bench and verify with --device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from device_kit import Server, write_model, write_reference

from optc.cli.app import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    with made.started():
        yield made


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("device") / "model").folder)


@pytest.fixture
def board(server: Server, capsys: Capture) -> Server:
    assert run(["device", "add", "board", "--rpc", f"127.0.0.1:{server.port}", "--secret", str(server.secret)]) == 0
    capsys.readouterr()
    return server


def _json(capsys: Capture) -> Any:
    return json.loads(capsys.readouterr().out)


def test_add_list_remove(tmp_path: Path, capsys: Capture) -> None:
    assert run(["device", "list"]) == 0
    assert capsys.readouterr().out == "no devices; add one with: optc device add NAME --ssh user@host\n"
    (tmp_path / "key").touch()
    words = ["--key", str(tmp_path / "key"), "--folder", "/data", "--prefix", "taskset -c 3"]
    assert run(["device", "add", "pi", "--ssh", "me@10.0.0.2:2222", *words]) == 0
    assert capsys.readouterr().out == "pi is ssh me@10.0.0.2:2222; optc device check pi connects to it\n"
    assert run(["device", "list"]) == 0
    assert capsys.readouterr().out == (
        "device  reached by             prefix\npi      ssh me@10.0.0.2:2222  taskset -c 3\n".replace(
            "by     ", "by    "
        )
    )
    assert run(["device", "list", "--json"]) == 0
    assert _json(capsys)["devices"]["pi"] == {
        "kind": "ssh",
        "host": "10.0.0.2",
        "port": 2222,
        "user": "me",
        "key": str(tmp_path / "key"),
        "secret": "",
        "folder": "/data",
        "options": [],
        "prefix": ["taskset", "-c", "3"],
    }
    assert run(["device", "remove", "pi"]) == 0
    assert capsys.readouterr().out == "pi (ssh me@10.0.0.2:2222) removed\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pi"], "error: one of --ssh and --rpc is needed\n  hint: optc device add pi --ssh user@host\n"),
        (["pi", "--ssh", "a", "--rpc", "b:1"], "error: one of --ssh and --rpc is needed\n"),
        (["pi", "--ssh", "a", "--secret", "x"], "error: --secret does not go with --ssh\n"),
        (["pi", "--rpc", "a:1", "--key", "x"], "error: --key does not go with --rpc\n"),
        (["pi", "--rpc", "me@a:1"], "error: 'me@a:1' is no address\n  at --rpc\n  the server knows no users\n"),
        (["pi", "--ssh", "a", "--prefix", "'"], "error: ''' is no command\n  at --prefix\n  No closing quotation\n"),
    ],
)
def test_what_cannot_be_added(words: list[str], message: str, capsys: Capture) -> None:
    assert run(["device", "add", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_key_that_is_not_there(tmp_path: Path, capsys: Capture) -> None:
    assert run(["device", "add", "pi", "--ssh", "a", "--key", str(tmp_path / "key")]) == 1
    assert capsys.readouterr().err == f"error: the key does not exist\n  at {tmp_path}/key\n"


def test_check(board: Server, capsys: Capture) -> None:
    assert run(["device", "check", "board"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"device                  board (rpc 127.0.0.1:{board.port})\nsystem                  Linux ")
    assert run(["device", "check", "board", "--json"]) == 0
    assert _json(capsys)["system"] == "Linux"


def test_bench(board: Server, model: str, tmp_path: Path, capsys: Capture) -> None:
    reference = str(write_reference(tmp_path / "m.onnx"))
    words = ["bench", model, "--device", "board", "--seconds", "0.01", "--threads", "1"]
    assert run([*words, "--reference", reference, "--threads", "2", "--json"]) == 0
    found = _json(capsys)
    assert (found["device"], found["place"]) == ("board", f"rpc 127.0.0.1:{board.port}")
    assert [result["threads"] for result in found["results"]] == [1, 2]
    assert found["verification"]["passed"] is True
    assert run(words) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"measured on  board (rpc 127.0.0.1:{board.port}; Linux on ")
    assert "numbers      not compared (--reference MODEL compares them)\n" in out


def test_numbers_that_differ(board: Server, model: str, tmp_path: Path, capsys: Capture) -> None:
    reference = str(write_reference(tmp_path / "m.onnx", factor=3))
    words = ["bench", model, "--device", "board", "--seconds", "0.01", "--reference", reference]
    assert run(words) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(
        f"error: output 'y' of the device 'board' differs from the reference\n  at rpc 127.0.0.1:{board.port}\n"
    )


def test_verify(board: Server, model: str, tmp_path: Path, capsys: Capture) -> None:
    good, bad = write_reference(tmp_path / "m.onnx"), write_reference(tmp_path / "n.onnx", factor=3)
    assert run(["verify", model, "--device", "board", "--reference", str(good)]) == 0
    assert "DIFFERS" not in capsys.readouterr().out
    assert run(["verify", model, "--device", "board", "--reference", str(bad)]) == 4
    assert "DIFFERS" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "nobody"], "error: no device is called 'nobody'\n"),
        (["--device", "board", "--profile"], "error: --profile does not go with --device\n"),
        (["--reference", "m.onnx"], "error: --reference goes with --device\n"),
    ],
)
def test_wrong_options(words: list[str], message: str, model: str, capsys: Capture) -> None:
    assert run(["bench", model, *words]) == 2
    assert message in capsys.readouterr().err


def test_the_server_is_written(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "server"
    assert run(["device", "server", "-o", str(path), "--json"]) == 0
    assert _json(capsys)["bytes"] == path.stat().st_size
    assert path.read_bytes()[:4] == b"\x7fELF" and path.stat().st_mode & 0o100
    assert run(["device", "server", "--target", "wasm", "-o", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("error: the server needs Linux\n  at --target wasm\n")
    assert not (tmp_path / "none").exists()
