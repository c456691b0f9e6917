"""TVM as it comes: Relax from ONNX, the default CPU pipeline, which schedules nothing and so runs on one thread.

Its tuner needs one to three minutes for each layer, which is hours for a network; it is not run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from benchmarks.runtimes.peer import Peer, Run, Subject, bound


class StockTvm(Peer):
    name = "tvm"
    package = "apache-tvm"
    environment = {"TVM_NUM_THREADS": "{threads}"}  # noqa: RUF012

    def prepare(self, subject: Subject, folder: Path) -> None:
        import tvm
        from tvm import relax
        from tvm.relax.frontend.onnx import from_onnx

        from optc import targets

        bound(subject, folder / "bound.onnx")
        module = from_onnx(onnx.load(str(folder / "bound.onnx")), keep_params_in_input=False)
        (folder / "bound.onnx").unlink()
        module = relax.transform.DecomposeOpsForInference()(module)
        executable = tvm.compile(module, tvm.target.Target({"kind": "llvm", **_cpu(targets.load("cpu").llvm)}))
        executable.export_library(str(folder / "model.so"))

    def load(self, subject: Subject, folder: Path) -> Run:
        import tvm
        from tvm import relax

        machine = relax.VirtualMachine(tvm.runtime.load_module(str(folder / "model.so")), tvm.cpu())
        inputs = [tvm.runtime.tensor(array) for array in subject.inputs.values()]

        def run() -> list[np.ndarray]:
            result = machine["main"](*inputs)
            return [each.numpy() for each in ([result] if hasattr(result, "numpy") else result)]

        return run


def _cpu(llvm: object) -> dict[str, str]:
    """The processor's name, from the target that optc itself compiles for."""
    return {"mcpu": str(dict(llvm)["mcpu"])}  # type: ignore[call-overload]
