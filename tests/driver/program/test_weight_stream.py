"""Models whose weights do not fit: the numbers of the plain artifact, no more memory than said, and clear refusals."""

from __future__ import annotations

import gc
import os
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_kit import model, node, value

import optc
from optc.cli.app import run
from optc.errors import LimitError, OptcError, UsageError

LAYERS = 6
WIDTH = 192
LAYER = 4 * WIDTH * WIDTH + 4 * WIDTH  # bytes of its weights
LEAST = LAYER


@pytest.fixture(scope="module")
def layers() -> onnx.ModelProto:
    """Six dense layers, and a constant of the first that the last uses again."""
    random = np.random.default_rng(0)
    weights: dict[str, object] = {}
    nodes = []
    for number in range(LAYERS):
        weights[f"w{number}"] = random.normal(0, 0.1, (WIDTH, WIDTH)).astype(np.float32)
        weights[f"b{number}"] = random.normal(0, 0.1, WIDTH).astype(np.float32)
        nodes.append(node("MatMul", f"x{number} w{number}", f"m{number}", f"dense{number}"))
        nodes.append(node("Add", f"m{number} b{number}", f"a{number}"))
        nodes.append(node("Relu", f"a{number}", f"x{number + 1}"))
    return model(nodes, [value("x0", [3, WIDTH])], [value(f"x{LAYERS}", [3, WIDTH])], weights)


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (20, 3, WIDTH)).astype(np.float32)


def answers(artifact: optc.Artifact, samples: np.ndarray) -> list[np.ndarray]:
    return [next(iter(artifact.run({"x0": sample}).values())) for sample in samples]


@pytest.fixture(scope="module")
def expected(layers: onnx.ModelProto, samples: np.ndarray) -> list[np.ndarray]:
    with optc.compile(layers, threads=2, tune=0, verify=False) as plain:
        return answers(plain, samples)


@pytest.fixture(scope="module")
def small(layers: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With two layers of six in memory."""
    folder = tmp_path_factory.mktemp("stream") / "small"
    optc.compile(layers, output=folder, threads=2, tune=0, weight_memory=2 * LAYER, storage="1G").close()
    return folder


@pytest.mark.parametrize("size", [LEAST, 2 * LAYER + 1000, 4 * LAYER, LAYERS * LAYER])
def test_the_same_numbers(size: int, layers: onnx.ModelProto, samples: np.ndarray, expected: list[np.ndarray]) -> None:
    with optc.compile(layers, threads=2, tune=0, verify=False, weight_memory=size, storage="200M") as artifact:
        for threads in (2, 1, 3):
            artifact.threads = threads
            for one, other in zip(answers(artifact, samples), expected, strict=True):
                np.testing.assert_array_equal(one, other)
        stated = artifact.manifest.cost["weight_stream"]
        assert stated["memory_bytes"] <= size
        assert stated["locked_bytes"] + stated["streamed_bytes"] == LAYERS * LAYER
        assert (stated["streamed_bytes"] == 0) == (size >= LAYERS * LAYER)
        plain = artifact.manifest.cost["predicted_seconds"]
        assert stated["predicted_seconds"] == pytest.approx(plain + stated["stall_seconds"])


def test_what_inspect_says(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(small)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert re.search(r"in memory .* of weights at most, .* of them always; .* read in each run", text)
    assert re.search(r"with reading predicted .*s, .*s of it waiting for loads", text)


def anonymous_bytes() -> int:
    """Resident memory of this process that no file backs."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"RssAnon:\s+(\d+) kB", status)[1])  # type: ignore[index]


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="no /proc")
def test_memory_stays_within_the_limit(tmp_path: Path) -> None:
    """8 layers of 1 MiB through 2 MiB: weights.bin is not mapped, and no more is held than that and the arena."""
    random = np.random.default_rng(0)
    weights = {f"w{number}": random.normal(0, 0.1, (512, 512)).astype(np.float32) for number in range(8)}
    nodes = [node("MatMul", f"x{number} w{number}", f"x{number + 1}") for number in range(8)]
    large = model(nodes, [value("x0", [1, 512])], [value("x8", [1, 512])], weights)
    path = tmp_path / "large"
    optc.compile(large, output=path, threads=1, tune=0, verify=False, weight_memory="2M", storage="1G").close()
    del large, weights
    gc.collect()
    x = {"x0": np.ones((1, 512), np.float32)}
    before = anonymous_bytes()
    with optc.load(path) as artifact:
        for _ in range(10):
            artifact.run(x)
        held = anonymous_bytes() - before
        mapped = Path("/proc/self/smaps").read_text()
    assert f"{path}/weights.bin" not in mapped
    assert held <= (2 << 20) + artifact.manifest.program["arena_bytes"] + (2 << 20)


def test_files_that_change(small: Path, samples: np.ndarray, expected: list[np.ndarray], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(small, folder)
    weights = folder / "weights.bin"
    content = weights.read_bytes()
    with optc.load(folder) as artifact:
        answers(artifact, samples[:2])
        os.truncate(weights, 64)
        with pytest.raises(OptcError, match=r"the weights of dense\d.* cannot be loaded: weights.bin no longer has by"):
            for _ in range(3):
                answers(artifact, samples[:1])
        weights.write_bytes(content)
        np.testing.assert_array_equal(answers(artifact, samples[:1])[0], expected[0])
        weights.unlink()
        np.testing.assert_array_equal(answers(artifact, samples[:1])[0], expected[0])


def test_too_little_memory(layers: onnx.ModelProto, tmp_path: Path) -> None:
    """The message names the least that works, and it does; nothing is left behind."""
    onnx.save(layers, tmp_path / "m.onnx")
    output = tmp_path / "m"
    command = ["compile", str(tmp_path / "m.onnx"), "-o", str(output), "--tune", "0", "--weight-memory"]
    assert run([*command, str(LEAST - 1)]) == LimitError.exit_code == 3
    assert not output.exists()
    with pytest.raises(LimitError) as caught:
        optc.compile(layers, output=output, tune=0, weight_memory=LEAST - 1)
    lines = str(caught.value).splitlines()
    assert lines[:2] == [f"{LEAST - 1} bytes cannot hold the weights that are needed at once", "  at --weight-memory"]
    assert re.fullmatch(rf"  most are in use in dense0.* \({LEAST} bytes\)", lines[2])
    assert lines[3] == f"  hint: --weight-memory {LEAST} works"


def refusal(source: onnx.ModelProto, tmp_path: Path, **options: object) -> str:
    with pytest.raises(UsageError) as caught:
        optc.compile(source, output=tmp_path / "m", tune=0, verify=False, **options)  # type: ignore[arg-type]
    assert not (tmp_path / "m").exists()
    return str(caught.value)


def test_what_does_not_go_together(layers: onnx.ModelProto, tmp_path: Path) -> None:
    only = "weights are read while the model runs only on processors under Linux or macOS\n  at --weight-memory with "
    for target in ("wasm", "cortex-m7"):
        assert refusal(layers, tmp_path, weight_memory="1M", target=target) == f"{only}--target {target}"
    assert refusal(layers, tmp_path, weight_memory="1M", guard_weights=True) == (
        "weights that are not all in memory cannot be guarded\n  at --weight-memory with --guard-weights\n"
        "  hint: leave out one of the two"
    )
    assert refusal(layers, tmp_path, weight_memory="1M", emit=("static",)) == (
        "a library with the weights inside has no file to read them from\n  at --weight-memory with --emit\n"
        "  hint: leave out one of the two"
    )
    assert refusal(layers, tmp_path, storage="1M") == (
        "no weights are read while the model runs\n  at --storage\n  hint: give --weight-memory too"
    )
    assert refusal(layers, tmp_path, weight_memory="1M", storage=0) == (
        "the storage has no speed\n  at --storage\n  hint: --storage 40M"
    )


def test_branches_are_refused(tmp_path: Path) -> None:
    branches = [
        onnx.helper.make_graph([node(kind, "x", f"{kind}_y")], kind, [], [value(f"{kind}_y", [4])])
        for kind in ("Neg", "Exp")
    ]
    choice = node("If", "c", "y", "choice", then_branch=branches[0], else_branch=branches[1])
    inputs = [value("c", [], onnx.TensorProto.BOOL), value("x", [4])]
    source = model([choice], inputs, [value("y", [4])])
    assert refusal(source, tmp_path, weight_memory="1M") == (
        "weights are read while the model runs only where every run makes the same native calls\n"
        "  at --weight-memory, 'choice'\n  this part takes one of two ways"
    )
    assert "this part runs in onnxruntime" in refusal(source, tmp_path, weight_memory="1M", backend="onnx")
