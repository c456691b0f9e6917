"""onnxruntime, default optimizations."""

from __future__ import annotations

from pathlib import Path

from benchmarks.runtimes.peer import Peer, Run, Subject


class OnnxRuntime(Peer):
    name = "onnxruntime"
    package = "onnxruntime"

    def load(self, subject: Subject, folder: Path) -> Run:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = subject.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(subject.model), options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, subject.inputs)
