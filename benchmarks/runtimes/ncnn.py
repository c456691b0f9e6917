"""ncnn, converted by pnnx from ONNX or, where that fails, from the zoo's own PyTorch module; f32."""

from __future__ import annotations

import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.runtimes.peer import Peer, Run, Subject, call
from benchmarks.zoo import ZOO


class Ncnn(Peer):
    """pnnx drops a leading batch dimension of 1, and names inputs and outputs in0, out0 and so on."""

    name = "ncnn"
    package = "ncnn"

    def prepare(self, subject: Subject, folder: Path) -> None:
        copy = folder / "model.onnx"  # pnnx writes beside its input
        shutil.copy(subject.model, copy)
        try:
            _convert(subject, copy)
        except RuntimeError:
            build = ZOO[subject.name].module
            if build is None:
                raise
            traced = folder / "model.pt"
            _trace(build(subject.packages), subject, traced)
            _convert(subject, traced)
        for each in folder.glob("model.*"):
            if each.name not in ("model.ncnn.param", "model.ncnn.bin"):
                each.unlink()

    def load(self, subject: Subject, folder: Path) -> Run:
        import ncnn

        network = ncnn.Net()
        network.opt.num_threads = subject.threads
        network.opt.use_fp16_packed = network.opt.use_fp16_storage = network.opt.use_fp16_arithmetic = False
        network.opt.use_bf16_storage = False
        if network.load_param(str(folder / "model.ncnn.param")) or network.load_model(str(folder / "model.ncnn.bin")):
            raise RuntimeError("ncnn cannot load the model")
        inputs = []
        for array in subject.inputs.values():
            array = array.astype(np.int32) if array.dtype.kind == "i" else array
            inputs.append(ncnn.Mat(np.ascontiguousarray(array[0] if array.ndim > 1 else array)).clone())
        count = len(network.output_names())

        def run() -> list[np.ndarray]:
            extractor = network.create_extractor()
            for index, value in enumerate(inputs):
                extractor.input(f"in{index}", value)
            results = []
            for index in range(count):
                code, value = extractor.extract(f"out{index}")
                if code:
                    raise RuntimeError(f"ncnn fails with code {code}")
                results.append(np.array(value))
            return results

        return run


def _convert(subject: Subject, source: Path) -> None:
    files = [f"input{number}.npy" for number in range(len(subject.inputs))]
    for file, array in zip(files, subject.inputs.values(), strict=True):
        np.save(source.parent / file, array)
    converter = Path(sys.executable).with_name("pnnx")
    call([str(converter), source.name, f"input={','.join(files)}", "fp16=0"], source.parent)
    param = source.with_name("model.ncnn.param")
    if not param.exists():
        raise RuntimeError("pnnx wrote no ncnn model")
    kinds = [line.split()[0] for line in param.read_text().splitlines()[2:] if line.strip()]
    if foreign := sorted({kind for kind in kinds if "." in kind or "::" in kind}):
        raise RuntimeError(f"pnnx leaves operations that ncnn lacks: {', '.join(foreign[:4])}")


def _trace(module: Any, subject: Subject, path: Path) -> None:
    import torch

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(module.eval(), tuple(map(torch.from_numpy, subject.inputs.values()))).save(str(path))
