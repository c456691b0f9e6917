"""OpenVINO in f32 with its latency hint."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmarks.runtimes.peer import Peer, Run, Subject


class OpenVino(Peer):
    name = "openvino"
    package = "openvino"

    def load(self, subject: Subject, folder: Path) -> Run:
        import openvino

        core = openvino.Core()
        network = core.read_model(str(subject.model))
        bound = {name: list(array.shape) for name, array in subject.inputs.items()}
        try:
            network.reshape(bound)
        except RuntimeError:  # a branch that the bound shapes contradict: leave the shapes to the run
            network = core.read_model(str(subject.model))
        settings = {
            "INFERENCE_NUM_THREADS": subject.threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        request = core.compile_model(network, "CPU", settings).create_infer_request()

        def run() -> list[np.ndarray]:
            results = request.infer(subject.inputs, share_inputs=True, share_outputs=True)
            return [results[index] for index in range(len(results))]

        return run


class OpenVinoAvx2(OpenVino):
    """Its convolutions and matrix products held to AVX2, as its execution graph confirms (`jit_avx2_I8`)."""

    name = "openvino-avx2"
    optional = True
    environment: ClassVar[dict[str, str]] = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
