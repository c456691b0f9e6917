"""Artifacts whose weights lie packed in the folder: the same numbers, fewer bytes, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_kit import model, node, value

import optc
from optc.errors import OptcError
from optc.runtime.library import NativeModel

SIZE = 192


@pytest.fixture(scope="module")
def network() -> onnx.ModelProto:
    random = np.random.default_rng(0)
    held = {name: (random.normal(size=(SIZE, SIZE)) / 14).astype(np.float32) for name in "abcd"}
    nodes = [
        node("MatMul", "x a", "h"), node("Relu", "h", "r"), node("MatMul", "r b", "i"), node("Relu", "i", "s"),
        node("MatMul", "s c", "j"), node("Relu", "j", "t"), node("MatMul", "t d", "y"),
    ]  # fmt: skip
    return model(nodes, [value("x", [4, SIZE])], [value("y", [4, SIZE])], held, opset=18)


@pytest.fixture(scope="module")
def folders(network: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The artifact with weights as they are, and with packed ones, of which a guard sees every bit on opening."""
    folder = tmp_path_factory.mktemp("weights")
    for name, options in {"plain": {}, "packed": {"compress_weights": True, "guard_weights": True}}.items():
        optc.compile(network, output=folder / name, threads=2, tune=0, **options).close()
    return folder / "plain", folder / "packed"


def test_the_numbers_are_the_same_and_the_bytes_fewer(folders: tuple[Path, Path]) -> None:
    feeds = {"x": np.random.default_rng(1).normal(size=(4, SIZE)).astype(np.float32)}
    found = []
    for folder in folders:
        for threads in (1, 3):
            with optc.load(folder, threads=threads) as artifact:
                found.append(artifact.run(feeds)["y"])
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])
    plain, packed = ((folder / "weights.bin").stat().st_size for folder in folders)
    assert plain == 4 * SIZE * SIZE * 4 and packed < 0.87 * plain
    manifest = json.loads((folders[1] / "manifest.json").read_text())
    assert manifest["program"]["weights_bytes"] == plain and manifest["cost"]["weights_stored"] == packed
    assert json.loads((folders[1] / "plan.json").read_text())["program"]["weights_stored"] == packed


def test_what_does_not_get_smaller_stays_as_it_is(tmp_path: Path) -> None:
    proto = model(
        [node("Add", "x c", "y")], [value("x", [16])], [value("y", [16])], {"c": np.arange(16, dtype=np.float32)}
    )
    with optc.compile(proto, output=tmp_path / "m", tune=0, compress_weights=True) as artifact:
        assert "weights_stored" not in artifact.manifest.cost
        np.testing.assert_array_equal(artifact.run({"x": np.ones(16, np.float32)})["y"], np.arange(16) + 1.0)


def test_damage_is_said_by_the_library_itself(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """The checksums of the folder would say it first; the C interface has none."""
    folder = tmp_path / "copy"
    shutil.copytree(folders[1], folder)
    content = bytearray((folder / "weights.bin").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    (folder / "weights.bin").write_bytes(content)
    with pytest.raises(OptcError) as caught:
        NativeModel(folder, "libmodel.so", 1, 1)
    assert "cannot be decoded" in str(caught.value.why) or "the weights have changed" in str(caught.value.why)
    (folder / "weights.bin").write_bytes(b"OPTCPW\x00\x02" + bytes(content[8:]))
    with pytest.raises(OptcError) as caught:
        NativeModel(folder, "libmodel.so", 1, 1)
    assert caught.value.why == f"{folder}/weights.bin holds no weights of {4 * SIZE * SIZE * 4} bytes"
    with pytest.raises(OptcError, match="the artifact is damaged"):
        optc.load(folder)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weight_memory": "1M"}, "--compress-weights with --weight-memory"),
        ({"emit": ["static"]}, "--compress-weights with --emit"),
        ({"target": "wasm"}, "--compress-weights with --target wasm"),
    ],
)
def test_what_cannot_be_combined(network: onnx.ModelProto, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptcError) as caught:
        optc.compile(network, output=tmp_path / "m", compress_weights=True, **options)
    assert caught.value.where == words and not (tmp_path / "m").exists()
