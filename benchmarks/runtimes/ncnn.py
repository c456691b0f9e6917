"""ncnn, converted by pnnx, f32."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from benchmarks.runtimes.peer import Peer, Run, Subject, call

_TYPES = {"float32": "f32", "int64": "i64", "int32": "i32"}


class Ncnn(Peer):
    """pnnx drops a leading batch dimension of 1, and names inputs and outputs in0, out0 and so on."""

    name = "ncnn"
    package = "ncnn"

    def prepare(self, subject: Subject, folder: Path) -> None:
        copy = folder / "model.onnx"  # pnnx writes beside its input
        shutil.copy(subject.model, copy)
        shapes = ",".join(
            f"[{','.join(map(str, array.shape))}]{_TYPES[array.dtype.name]}" for array in subject.inputs.values()
        )
        converter = Path(sys.executable).with_name("pnnx")
        call([str(converter), str(copy), f"inputshape={shapes}", "fp16=0"], folder)
        copy.unlink()
        param = folder / "model.ncnn.param"
        if not param.exists():
            raise RuntimeError("pnnx wrote no ncnn model")
        kinds = [line.split()[0] for line in param.read_text().splitlines()[2:] if line.strip()]
        foreign = sorted({kind for kind in kinds if "." in kind or "::" in kind})
        if foreign:
            raise RuntimeError(f"pnnx leaves operations that ncnn lacks: {', '.join(foreign[:4])}")

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
