"""The runtimes that benchmarks/peers.py compares, each a small class that registers itself."""

from __future__ import annotations

from benchmarks.runtimes import (  # noqa: F401
    compiled,
    inductor,
    iree,
    mnn,
    ncnn,
    onnx_runtime,
    open_vino,
    stock_tvm,
)
from benchmarks.runtimes.peer import Inputs, Peer, Run, Subject

__all__ = ["Inputs", "Peer", "Run", "Subject"]
