"""MNN, converted by its own tool, f32."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.runtimes.peer import Peer, Run, Subject, call, output_names


class Mnn(Peer):
    name = "mnn"
    package = "MNN"

    def prepare(self, subject: Subject, folder: Path) -> None:
        converter = Path(sys.executable).with_name("mnnconvert")
        files = ["--modelFile", str(subject.model.resolve()), "--MNNModel", str(folder / "model.mnn")]
        call([str(converter), "-f", "ONNX", *files, "--bizCode", "optc"], folder)

    def load(self, subject: Subject, folder: Path) -> Run:
        import MNN.expr
        import MNN.nn

        settings = {"backend": 0, "numThread": subject.threads, "precision": "high"}
        runtime = MNN.nn.create_runtime_manager((settings,))
        outputs = output_names(subject.model)
        network = MNN.nn.load_module_from_file(
            str(folder / "model.mnn"), list(subject.inputs), outputs, runtime_manager=runtime, shape_mutable=False
        )
        variables = []
        for array in subject.inputs.values():
            kind = MNN.expr.float if array.dtype.kind == "f" else MNN.expr.int
            array = array if array.dtype.kind == "f" else array.astype(np.int32)
            variable = MNN.expr.placeholder(list(array.shape), MNN.expr.NCHW, kind)
            variable.write(array)
            variables.append(variable)
        return lambda: [np.array(result.read()) for result in network.forward(variables)]
