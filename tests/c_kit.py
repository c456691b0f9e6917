"""Small quantized models, and what C compilers and emulators make of the generated source."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from optc import targets
from optc.backends.c.backend import CBackend
from optc.backends.c.source import Model, Port, header, identifier, source
from optc.driver.artifacts.source_model import source_model
from optc.driver.compile import plan
from optc.driver.options import CompileOptions
from optc.frontends import load_model

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")


@dataclass
class Quantized:
    """Writes a QDQ model layer by layer; values are named by what `add` returns."""

    seed: int = 0
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def name(self, prefix: str) -> str:
        return f"{prefix}{len(self.nodes)}_{len(self.constants)}"

    def constant(self, array: np.ndarray) -> str:
        name = self.name("c")
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, kind: str, operands: Sequence[str], **attributes: object) -> str:
        name = self.name(kind.lower())
        self.nodes.append(helper.make_node(kind, list(operands), [name], name=name, **attributes))
        return name

    def coded(self, value: str, scale: float, zero: int, dtype: type = np.uint8) -> str:
        """The value through QuantizeLinear and DequantizeLinear."""
        operands = [self.constant(np.float32(scale)), self.constant(np.array(zero, dtype))]
        return self.add("DequantizeLinear", [self.add("QuantizeLinear", [value, *operands]), *operands])

    def weights(self, shape: Sequence[int], axis: int, scale: float = 0.02) -> tuple[str, np.ndarray]:
        """Random int8 codes with a scale for each slice along an axis."""
        codes = self.random.integers(-127, 128, shape).astype(np.int8)
        scales = (scale * self.random.uniform(0.3, 1.0, shape[axis])).astype(np.float32)
        zeros = np.zeros(shape[axis], np.int8)
        operands = [self.constant(codes), self.constant(scales), self.constant(zeros)]
        return self.add("DequantizeLinear", operands, axis=axis), scales

    def bias(self, scales: np.ndarray, data_scale: float) -> str:
        """Random int32 codes in the units of the products."""
        codes = self.random.integers(-2000, 2000, scales.shape).astype(np.int32)
        operands = [self.constant(codes), self.constant((scales * np.float32(data_scale)).astype(np.float32))]
        return self.add("DequantizeLinear", operands, axis=0)

    def model(self, shape: Sequence[int], result: str, name: str = "small") -> onnx.ModelProto:
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))]
        outputs = [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def model_of(proto: onnx.ModelProto, target: str = "cortex-m7") -> Model:
    """What the c backend makes of a model."""
    loaded = load_model(proto, {}, {})
    chosen, backend = targets.load(target), CBackend()
    plan(loaded.module, backend, chosen, CompileOptions())
    return source_model(loaded.module, backend, chosen, "small").model


def write(model: Model, folder: Path) -> str:
    """Put the two files there; returns the identifier."""
    name = identifier(model.name)
    (folder / f"{name}.c").write_text(source(model))
    (folder / f"{name}.h").write_text(header(model))
    return name


class Built:
    """A model compiled by the host's compiler."""

    def __init__(self, model: Model, folder: Path, flags: Sequence[str] = ("-O2",)) -> None:
        self.model, self.name = model, write(model, folder)
        library = folder / f"{self.name}.so"
        command = ["gcc", *WARNINGS, *flags, "-shared", "-fPIC", f"{self.name}.c", "-o", str(library), "-lm"]
        subprocess.run(command, cwd=folder, check=True)
        self.library = ctypes.CDLL(str(library))
        for role, ports in (("input", model.inputs), ("output", model.outputs)):
            for index in range(len(ports)):
                getattr(self.library, f"{self.name}_{role}_{index}").restype = ctypes.c_void_p

    def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Takes and gives reals as the model does; codes are worked out here."""
        for index, (array, port) in enumerate(zip(inputs, self.model.inputs, strict=True)):
            stored = stored_input(port, array)
            ctypes.memmove(getattr(self.library, f"{self.name}_input_{index}")(), stored.ctypes.data, stored.nbytes)
        getattr(self.library, f"{self.name}_run")()
        results = []
        for index, port in enumerate(self.model.outputs):
            result = np.empty(port.stored_shape, port.dtype)
            place = getattr(self.library, f"{self.name}_output_{index}")()
            ctypes.memmove(result.ctypes.data, place, result.nbytes)
            results.append(known_output(port, result))
        return results


def stored_input(port: Port, array: np.ndarray) -> np.ndarray:
    """An input as the C function wants it."""
    if port.quantization is not None:
        rounded = np.rint(array / np.float32(port.quantization.scale[0])) + port.quantization.zero_point[0]
        array = np.clip(rounded, -128, 127).astype(np.int8)
    return np.ascontiguousarray(array.transpose(port.permutation) if port.permutation else array)


def known_output(port: Port, stored: np.ndarray) -> np.ndarray:
    """An output as the user knows it."""
    array = stored.transpose(np.argsort(port.permutation)) if port.permutation else stored
    if port.quantization is None:
        return array
    scale, zero = np.float32(port.quantization.scale[0]), port.quantization.zero_point[0]
    return (array.astype(np.float32) - zero) * scale


def missing(*tools: str) -> str:
    """Which of some programs are not installed; empty when all are. A compiler named `gcc:FILE` must know that file."""
    return ", ".join(tool for tool in tools if not _installed(*tool.split(":")))


def _installed(program: str, file: str = "") -> bool:
    if shutil.which(program) is None:
        return False
    command = [program, f"-print-file-name={file}"]
    # A compiler answers with the bare name where it has no such file.
    return not file or subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() != file
