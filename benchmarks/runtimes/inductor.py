"""torch.compile's backend Inductor: weights frozen, compiled ahead of time, so that no Python guard is in the way."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.runtimes.peer import Peer, Run, Subject, bound
from benchmarks.torch_models import import_timm
from benchmarks.zoo import ZOO

_FROZEN = {"freezing": True}


class Inductor(Peer):
    """The zoo's own PyTorch module where it has one, else the ONNX file, folded, through onnx2torch.

    With frozen weights Inductor itself turns convolutions to channels-last.
    """

    name = "inductor"
    package = "torch"
    by_threads = True
    environment = {"OMP_NUM_THREADS": "{threads}"}  # noqa: RUF012

    def prepare(self, subject: Subject, folder: Path) -> None:
        import torch
        import torch._inductor.exc

        torch.set_num_threads(subject.threads)
        example = tuple(map(torch.from_numpy, subject.inputs.values()))
        torch._inductor.config.worker_start_method = "subprocess"
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = _exported(_module(subject, folder), example)
            package = str(folder / "model.pt2")
            try:
                torch._inductor.aoti_compile_and_package(program, package_path=package, inductor_configs=_FROZEN)
            except torch._inductor.exc.InductorError:  # some models only compile with weights that may change
                torch._inductor.aoti_compile_and_package(program, package_path=package)

    def load(self, subject: Subject, folder: Path) -> Run:
        import torch

        torch.set_num_threads(subject.threads)
        torch.set_grad_enabled(False)
        compiled = torch._inductor.aoti_load_package(str(folder / "model.pt2"))
        example = tuple(map(torch.from_numpy, subject.inputs.values()))

        def run() -> list[np.ndarray]:
            return [each.numpy() for each in _tensors(compiled(*example))]

        return run


def _exported(module: Any, example: tuple[Any, ...]) -> Any:
    """By torch.export or, since that takes shapes that lie among the weights for unknown, through a trace."""
    import torch

    try:
        return torch.export.export(module, example)
    except Exception:
        from torch._export.converter import TS2EPConverter

        try:
            traced = torch.jit.trace(module, example, check_trace=False)
            return TS2EPConverter(traced, example).convert()
        except Exception as error:
            raise RuntimeError(f"torch.export fails, and through a trace: {str(error).splitlines()[0]}") from error


def _module(subject: Subject, folder: Path) -> Any:
    build = ZOO[subject.name].module
    if build is not None:
        return build(subject.packages).eval()
    import_timm(subject.packages)  # onnx2torch imports torchvision too
    import onnx2torch

    bound(subject, folder / "bound.onnx")
    module = onnx2torch.convert(str(folder / "bound.onnx")).eval()
    (folder / "bound.onnx").unlink()
    return module


def _tensors(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (list, tuple)) else [result]
