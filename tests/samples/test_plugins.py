"""The plug-in sample, installed by pip: its pass, target and backend are found and used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_kit import model, node, value

ROOT = Path(__file__).parents[2]

USE = """
import json, sys
from optc import targets
from optc.cli.app import run
from optc.frontends import load_model
from optc.passes.base import PassContext
from optc.passes.pipeline import parse_pipeline
code = run(["compile", "net.onnx", "--target", "sample-board", "-o", "out", "--tune", "0", "--no-verify", "--json"])
context = PassContext()
parse_pipeline("count-operations{least=2}")[0].run(load_model("net.onnx").module, context)
assert [(each.what, each.reason) for each in context.remarks] == [
    ("onnx.MatMul", "occurs 2 times"), ("optc.constant", "occurs 2 times")
]
assert targets.load("sample-board").caches[0].bytes == 32768
sys.exit(code)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed sample."""
    folder = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "optc-sample"
    subprocess.run(["cp", "-r", ROOT / "samples" / "plugins" / "optc-sample", source], check=True)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(folder)]
    done = subprocess.run([sys.executable, "-m", "pip", "install", *options, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_pass_target_and_backend(installed: Path, tmp_path: Path) -> None:
    weights = {"large": np.ones((40, 40), np.float32), "small": np.ones((40, 4), np.float32)}
    nodes = [node("MatMul", "x large", "a", "left out"), node("Relu", "a", "b"), node("MatMul", "b small", "y", "kept")]
    onnx.save(model(nodes, [value("x", [3, 40])], ["y"], weights), tmp_path / "net.onnx")
    paths = os.pathsep.join([str(installed), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths, "OPTC_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout[: done.stdout.rindex("}") + 1])
    assert result["target"] == "sample-board"
    assert [entry["reason"] for entry in result["fallbacks"]] == ["its weights are more than 1024 elements"]
    assert "left out" in result["fallbacks"][0]["label"]
