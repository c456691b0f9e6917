"""Bad models, options and machines through `optc compile`: the message, the exit code, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_kit import model, node, value

from optc.cli.app import run
from optc.targets import available

Capture = pytest.CaptureFixture[str]

X = [value("x", [2, 3])]
WEIGHTS = np.arange(12, dtype=np.float32).reshape(3, 4)
GOOD = model([node("MatMul", "x w", "y", "fc")], X, ["y"], {"w": WEIGHTS})


def _with_nan() -> onnx.ModelProto:
    broken = WEIGHTS.copy()
    broken[1, 2] = np.nan
    return model([node("MatMul", "x fc.weight", "y")], X, ["y"], {"fc.weight": broken})


BAD = {
    "image": (
        b"\x89PNG\r\n\x1a\n" + bytes(50),
        "error: The file is not an ONNX model, or it is truncated\n  at net.onnx\n"
        "  its 58 bytes are no ModelProto message\n"
        "  hint: Download or export it again; `optc` reads .onnx and .pt2 files.\n",
    ),
    "truncated": (
        GOOD.SerializeToString()[:-20],
        "error: The file is not an ONNX model, or it is truncated\n  at net.onnx\n"
        f"  its {GOOD.ByteSize() - 20} bytes are no ModelProto message\n"
        "  hint: Download or export it again; `optc` reads .onnx and .pt2 files.\n",
    ),
    "cycle": (
        model([node("Add", "x b", "a", "first"), node("Relu", "a", "b", "second")], X, ["b"]),
        "error: The graph has a cycle\n  at net.onnx\n"
        "  these nodes read each other: 'first' → 'second' → 'first'\n"
        "  hint: A loop must be written as a Loop node; export the model again.\n",
    ),
    "initializer": (
        model([node("MatMul", "x weight", "y", "fc")], X, ["y"], {"weights": WEIGHTS}),
        "error: The node 'fc' (MatMul) reads 'weight', which is no input, initializer or node output\n  at net.onnx\n"
        "  hint: Did the exporter mean 'weights'?\n",
    ),
    "operation": (
        model([node("Convolution", "x", "y")], X, ["y"]),
        "error: The node 'Convolution_0' uses the unknown operation 'Convolution'\n  at net.onnx\n"
        "  ONNX opset 17 has no such operation\n"
        "  hint: Export the model with standard operations.\n",
    ),
    "domain": (
        model([node("Magic", "x", "y", "m", domain="acme.ai")], X, ["y"], acme_ai=1),
        "error: The node 'm' uses the unknown operation 'Magic' of the domain 'acme.ai'\n  at net.onnx\n"
        "  neither ONNX, onnxruntime nor a function of the model defines it\n"
        "  hint: Export the model with standard ONNX operations, or with the operation's function body.\n",
    ),
    "shapes": (
        model([node("MatMul", "x w", "y", "fc")], X, ["y"], {"w": np.ones((4, 5), np.float32)}),
        "error: The node 'fc' (MatMul, opset 17) cannot be imported\n  at net.onnx\n"
        "  the matrices (2, 3) and (4, 5) do not fit: 3 is not 4\n"
        "  hint: Its inputs: 'x' (2, 3), 'w' (4, 5)\n",
    ),
    "nan": (
        _with_nan(),
        "error: The weight 'fc.weight' holds NaN\n  at net.onnx\n"
        "  1 of its 12 elements is not a number\n"
        "  hint: The training diverged or the file is damaged; export the model again from good weights.\n",
    ),
    "dynamic": (
        model([node("Relu", "x", "y")], [value("x", ["batch", 3, "size", "size"])], ["y"]),
        "error: the model has inputs of dynamic shape\n"
        "  'x' is (batch, 3, size, size)\n"
        "  hint: bind them, for instance with --shape x=1,3,1,1 or --dim batch=1 --dim size=1\n",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def save(content: bytes | onnx.ModelProto, name: str = "net.onnx") -> None:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.SerializeToString())


def files() -> dict[str, bytes]:
    """Everything in the working folder, hidden files included."""
    return {str(path): path.read_bytes() for path in Path(".").rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_model(name: str, capsys: Capture) -> None:
    content, expected = BAD[name]
    save(content)
    before = files()
    assert run(["compile", "net.onnx", "-o", "out"]) == 1
    captured = capsys.readouterr()
    assert (captured.err, captured.out) == (expected, "")
    assert files() == before and sorted(os.listdir()) == ["net.onnx"]


def test_a_failed_compile_leaves_the_previous_artifact_alone(capsys: Capture) -> None:
    save(GOOD)
    assert run(["compile", "net.onnx", "-o", "out", "--tune", "0"]) == 0
    artifact = {name: content for name, content in files().items() if name.startswith("out/")}
    save(_with_nan())
    assert run(["compile", "net.onnx", "-o", "out", "--tune", "0"]) == 1
    assert {name: content for name, content in files().items() if name != "net.onnx"} == artifact
    assert "NaN" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["--target", "rpi9"],
            "error: there is no target 'rpi9'\n"
            f"  known: {', '.join(available())}\n"
            "  hint: did you mean 'rpi5' or 'rpi4'?\n",
        ),
        (
            ["--targt", "cpu"],
            "error: no option is called '--targt'\n  at optc compile\n  hint: did you mean --target or --storage?\n",
        ),
        (
            ["--tune", "fast"],
            "error: 'fast' is no tuning budget\n  hint: give seconds (30s, 5m), 0 for none, or auto\n",
        ),
        (
            ["--backend", "cuda"],
            "error: 'cuda' is no backend of the target 'cpu'\n  hint: it has: tvm, onnx\n",
        ),
        (
            ["--shape", "x=2,4"],
            "error: Dimension 1 of the input 'x' is fixed to 3 and cannot be 4\n  at net.onnx\n"
            "  the model declares (2, 3), the given shape is (2, 4)\n"
            "  hint: Export the model with a dynamic dimension there, or give the fixed value.\n",
        ),
        (
            ["--dim", "batch=1"],
            "error: The model has no dimension 'batch'\n  at net.onnx\n  hint: All its dimensions are fixed.\n",
        ),
    ],
)
def test_a_bad_option(options: list[str], expected: str, capsys: Capture) -> None:
    save(GOOD)
    assert run(["compile", "net.onnx", "-o", "out", *options]) == 2
    captured = capsys.readouterr()
    assert (captured.err, captured.out) == (expected, "")
    assert os.listdir() == ["net.onnx"]


def test_an_output_that_is_a_file(capsys: Capture, folder: Path) -> None:
    save(GOOD)
    Path("out").write_text("mine")
    assert run(["compile", "net.onnx", "-o", "out"]) == 1
    assert capsys.readouterr().err == (
        f"error: the output exists and is no folder\n  at {folder / 'out'}\n"
        "  hint: choose another output folder, or remove it yourself\n"
    )
    assert Path("out").read_text() == "mine"


def mounted(options: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m optc` where the folder `small` is a file system of its own, which only that process sees."""
    script = f'mount -t tmpfs -o {options} tmpfs small && "$@"; code=$?; ls -A small >&2; exit $code'
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this system does not let users mount file systems")
    Path("small").mkdir()
    command = [unshare, "-rm", "sh", "-c", script, "sh", sys.executable, "-m", "optc", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("options", "why", "hint"),
    [
        ("size=16k", "No space left on device", "free some space"),
        ("ro", "Read-only file system", "choose another output folder"),
    ],
)
def test_a_folder_that_takes_no_artifact(options: str, why: str, hint: str, folder: Path) -> None:
    save(GOOD)
    done = mounted(options, "compile", "net.onnx", "-o", "small/out", "--tune", "0")
    assert done.returncode == 1
    # On a slow machine lines that show the progress stand before it.
    assert done.stderr[done.stderr.find("error:") :] == (
        f"error: the artifact cannot be written\n  at {folder / 'small' / 'out'}\n  {why}\n  hint: {hint}\n"
    )
