"""What a peer is: something that prepares files from an ONNX model, and runs them on pinned cores."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx

Inputs = dict[str, np.ndarray]
Run = Callable[[], list[np.ndarray]]


@dataclass(frozen=True)
class Subject:
    """What is measured: a model of the zoo with its inputs, on a number of threads.

    Attributes:
        name: in the zoo.
        model: the ONNX file.
        inputs: by name, in the order of the graph's inputs.
        threads: of a run.
        packages: folder of unpacked wheels, for models that exist as PyTorch code.
    """

    name: str
    model: Path
    inputs: Inputs
    threads: int
    packages: Path


class Peer(ABC):
    """Something that runs a model. Registers itself by being defined with a `name`.

    Attributes:
        name: in tables and options.
        package: its distribution on the package index, for the version.
        by_threads: whether the prepared files depend on the thread count.
        optional: whether it is left out unless asked for.
        environment: variables that its process starts with; `{threads}` is replaced.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    by_threads: ClassVar[bool] = False
    optional: ClassVar[bool] = False
    environment: ClassVar[dict[str, str]] = {}
    registry: ClassVar[dict[str, type[Peer]]] = {}

    def __init_subclass__(cls) -> None:
        Peer.registry[cls.name] = cls

    def version(self) -> str:
        """What prepared files depend on.

        Raises:
            PackageNotFoundError: it is not installed.
        """
        return importlib.metadata.version(self.package)

    def prepare(self, subject: Subject, folder: Path) -> None:  # noqa: B027  (most peers read the ONNX file itself)
        """Convert or compile the model into files in `folder`, which is empty."""

    @abstractmethod
    def load(self, subject: Subject, folder: Path) -> Run:
        """A function that runs the prepared model once on the inputs and returns the outputs in the graph's order."""

    def facts(self, subject: Subject, folder: Path) -> dict:
        """What else to record beside the latency."""
        return {}


def output_names(model: Path) -> list[str]:
    """The graph's outputs."""
    return [value.name for value in onnx.load(str(model), load_external_data=False).graph.output]


def bound(subject: Subject, path: Path) -> None:
    """Write the model to `path` with the inputs' shapes bound and everything folded that then is constant.

    onnxruntime's basic optimizations do that; they keep to standard operations. A model that contradicts the shapes (in
    a branch that they never take) stays as it is.
    """
    import onnxruntime

    model = onnx.load(str(subject.model))
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        for dim, extent in zip(dims, subject.inputs[value.name].shape, strict=True):
            dim.dim_value = extent
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # its errors share no base of their own
        shutil.copy(subject.model, path)


def call(command: Sequence[str], folder: Path) -> None:
    """Run a converter in `folder`.

    Raises:
        RuntimeError: it failed; the message is the end of what it said.
    """
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        telling = [line for line in said if "error" in line.lower() or "not supported" in line.lower()] or said
        raise RuntimeError(f"{Path(command[0]).name} failed: {telling[-1] if telling else done.returncode}")
