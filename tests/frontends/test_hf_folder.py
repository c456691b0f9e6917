"""Folders of transformers: a tiny random model has PyTorch's numbers; what is not safe is refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import optc
from optc.errors import ModelError, UsageError
from optc.frontends import load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    path = tmp_path_factory.mktemp("hf") / "tiny"
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, num_labels=3,
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).eval().save_pretrained(path)
    return path


def test_a_tiny_model_has_the_numbers_of_pytorch(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    import transformers

    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path))
    artifact = optc.compile(folder, shapes={"input_ids": (2, 8)}, tune=0)
    tokens = np.random.default_rng(0).integers(0, 40, (2, 8))
    mask = np.array([[1] * 8, [1] * 5 + [0] * 3])
    (found,) = artifact.run({"input_ids": tokens, "attention_mask": mask}).values()
    model = transformers.BertForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = model(input_ids=torch.tensor(tokens), attention_mask=torch.tensor(mask)).logits.numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match=r"\(2,\) is no shape of 'input_ids'"):
        load_model(folder, {"input_ids": (2,)})
    with pytest.raises(UsageError, match="the model has no input 'pixels'"):
        load_model(folder, {"pixels": (2,)})


@pytest.mark.parametrize(
    ("config", "files", "message"),
    [
        ({"architectures": ["BertModel"], "auto_map": {}}, ["model.safetensors"], "needs code from its folder"),
        ({"architectures": ["BertModel"]}, ["pytorch_model.bin"], "its weights are pickles, which may run code"),
        ({"architectures": ["BertModel"]}, [], "holds no weights in safetensors"),
        ({"architectures": ["os.system"]}, ["model.safetensors"], "names no architecture"),
        ({"architectures": 3}, ["model.safetensors"], "names no architecture"),
        ([], ["model.safetensors"], "names no architecture"),
    ],
)
def test_what_is_not_read(config: object, files: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name in files:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["pipeline", "NoSuchModel"])
def test_a_name_that_is_no_model(name: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [name]}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=f"transformers has no model '{name}'"):
        load_model(tmp_path)


def test_without_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError) as failure:
        load_model(tmp_path)
    assert failure.value.hint == "pip install 'optc[transformers]'"
