"""IREE's LLVM CPU backend at its highest optimization level."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.runtimes.peer import Peer, Run, Subject, bound, call


class Iree(Peer):
    name = "iree"
    package = "iree-base-compiler"
    optional = True

    def prepare(self, subject: Subject, folder: Path) -> None:
        bound(subject, folder / "bound.onnx")
        tools = Path(sys.executable).parent
        call([str(tools / "iree-import-onnx"), "bound.onnx", "-o", "model.mlir", "--opset-version", "17"], folder)
        flags = ["--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu"]
        flags += ["--iree-llvmcpu-target-cpu=host", "--iree-opt-level=O3"]
        call([str(tools / "iree-compile"), "model.mlir", *flags, "-o", "model.vmfb"], folder)
        for each in ("bound.onnx", "model.mlir"):
            (folder / each).unlink(missing_ok=True)

    def load(self, subject: Subject, folder: Path) -> Run:
        import iree.runtime as runtime

        runtime.flags.parse_flags(f"--task_topology_group_count={subject.threads}")
        module = runtime.load_vm_flatbuffer_file(str(folder / "model.vmfb"), driver="local-task")
        names = module.vm_module.function_names
        main = next(name for name in names if not name.startswith("_") and "$" not in name)
        function = module[main]

        def run() -> list[np.ndarray]:
            result = function(*subject.inputs.values())
            return [np.asarray(each) for each in (result if isinstance(result, (list, tuple)) else [result])]

        return run
