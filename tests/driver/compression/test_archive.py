"""Compressed files: the same model back, every damage refused, no more memory than allowed."""

from __future__ import annotations

import json
import struct
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnx_kit import model, node, value

from optc.cli.app import run
from optc.driver.compression.archive import MAGIC, pack, tensors_of, unpack
from optc.errors import LimitError, OptcError
from optc.passes.compression.codec import encode

MODEL = Path(__file__).parents[3] / "samples" / "models" / "cifar10_resnet8.onnx"


@pytest.fixture(scope="module")
def packed() -> bytes:
    return pack(onnx.load(MODEL))


def test_every_bit_comes_back(packed: bytes) -> None:
    original = onnx.load(MODEL)
    assert unpack(packed, "m") == original
    assert len(packed) < 0.85 * MODEL.stat().st_size


def test_levels_need_few_bits_and_come_back_exactly() -> None:
    random = np.random.default_rng(0)
    step = float(np.float32(0.037))
    weight = (np.rint(random.laplace(size=(64, 64))) * step + 0.0).astype(np.float32)
    made = model([node("MatMul", "x w", "y")], [value("x", ["n", 64])], ["y"], {"w": weight})
    content = pack(made, {"w": step})
    assert len(content) < weight.nbytes / 9
    assert unpack(content, "m") == made


def test_other_types_and_nested_graphs() -> None:
    then = helper.make_graph(
        [helper.make_node("Identity", ["inner"], ["t"])],
        "then",
        [],
        [value("t", None)],
        [helper.make_tensor("inner", onnx.TensorProto.FLOAT, [32], np.arange(32, dtype=np.float32))],
    )
    other = helper.make_graph(
        [helper.make_node("Constant", [], ["e"], value=numpy_helper.from_array(np.ones(40, np.float32)))],
        "other",
        [],
        [value("e", None)],
    )
    made = model(
        [node("If", "c", "y", then_branch=then, else_branch=other)],
        [value("c", [], onnx.TensorProto.BOOL)],
        ["y"],
        {"i": np.arange(100), "h": np.ones(50, np.float16), "short": np.ones(3, np.float32)},
    )
    found = unpack(pack(made), "m")
    assert len(list(tensors_of(found))) == 4
    np.testing.assert_array_equal(numpy_helper.to_array(found.graph.initializer[0]), np.arange(100))
    inner = next(each.g for each in found.graph.node[0].attribute if each.name == "then_branch")
    np.testing.assert_array_equal(numpy_helper.to_array(inner.initializer[0]), np.arange(32))


def test_any_damage_is_refused(packed: bytes) -> None:
    random = np.random.default_rng(1)
    for place in [0, 7, 9, 20, 60, len(packed) - 1, *random.integers(0, len(packed), 40).tolist()]:
        broken = bytearray(packed)
        broken[place] ^= 1 << random.integers(8)
        with pytest.raises(OptcError):
            unpack(bytes(broken), "m.optcz")
    for end in (0, 10, 100, len(packed) // 2, len(packed) - 1):
        with pytest.raises(OptcError):
            unpack(packed[:end], "m.optcz")


def test_what_it_says() -> None:
    with pytest.raises(OptcError) as caught:
        unpack(b"PK\x03\x04" + bytes(100), "m.zip")
    assert str(caught.value) == "this is no compressed model\n  at m.zip\n  hint: optc compress makes them"
    with pytest.raises(OptcError, match="this version of compressed models is unknown\n  at m\n  version 2"):
        unpack(MAGIC[:6] + b"\x02\n" + bytes(100), "m")


def forged(header: dict[str, object], parts: list[bytes]) -> bytes:
    text = json.dumps(header).encode()
    stored = encode(text, matches=True)
    return struct.pack("<8sII32s", MAGIC, len(stored), len(text), sha256(stored).digest()) + stored + b"".join(parts)


def test_a_file_that_would_fill_the_memory_is_refused() -> None:
    tensor = {"dtype": "f32", "count": 1 << 40, "coding": "planes"}
    with pytest.raises(LimitError, match=r"it decodes to 4,398,046,511,104 bytes, 8,589,934,592 are allowed"):
        unpack(forged({"graph": 0, "tensors": [tensor], "parts": [0]}, [b""]), "m")
    zeros = encode(bytes(1 << 20), matches=True)
    with pytest.raises(OptcError, match="a part has another size than the header says"):
        unpack(forged({"graph": 10, "tensors": [], "parts": [len(zeros)]}, [zeros]), "m")
    with pytest.raises(OptcError, match="the file is damaged"):
        unpack(forged({"graph": 10, "tensors": [{"dtype": "f32", "count": -4}], "parts": [0]}, [b""]), "m")


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small, back = tmp_path / "m.optcz", tmp_path / "m.onnx"
    assert run(["compress", str(MODEL), "-o", str(small), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ratio"] > 1.17
    assert run(["decompress", str(small), "-o", str(back)]) == 0
    pixels = {"pixels": np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)}
    first, second = (onnxruntime.InferenceSession(str(path)).run(None, pixels)[0] for path in (MODEL, back))
    np.testing.assert_array_equal(first, second)
    assert run(["decompress", str(small), "-o", str(tmp_path / "n.onnx"), "--limit", "1K"]) == 3
    assert "the model is larger than allowed" in capsys.readouterr().err and not (tmp_path / "n.onnx").exists()
    assert run(["compress", str(MODEL), "--ratio", "10"]) == 2
    assert "--ratio and --calib go together" in capsys.readouterr().err
