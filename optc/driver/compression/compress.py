"""A model in as few bytes as asked, or as its own bits allow."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from optc.backends.interface import Progress, silent
from optc.driver.compression.archive import SMALLEST, pack
from optc.driver.quantization.data import Data
from optc.driver.quantization.images import Preprocessing
from optc.driver.quantization.preparation import prepare
from optc.driver.quantization.sensitivity import Outputs, decibels
from optc.errors import LimitError, ModelError, OptcError, UsageError
from optc.frontends import load_model
from optc.ir.clone import clone_module
from optc.ir.core import CONSTANT, Module, Value
from optc.ops.onnx_export import to_onnx_model
from optc.passes.compression.entropy import entropy_bits, geometric_bits
from optc.passes.compression.steps import levels_of, steps_for

Levels = Mapping[Value, tuple[np.ndarray, float]]
"""Whole numbers and their step, by constant."""

_ROUNDS = 6
"""Budgets that are tried until the file has the wanted size."""

_WIDENING = 1.01
"""Of all steps, while a file is too large."""

_AIM = 0.98
"""Of the bits there are, what training aims at: it ends near its aim, not at it."""

_DEAD_ZONES = np.linspace(0.0, 0.4, 41)
"""Tried in turn while a trained file is too large."""


@dataclass(frozen=True)
class Compressed:
    """What came out.

    Attributes:
        content: of the file.
        model: what it decodes to.
        before: bytes of the model as it was given.
        snr: decibels at the worst output on the data; None where nothing was lost.
        zeros: the share of the weights that became zero.
        bits: of a weight, on average, in the file.
    """

    content: bytes
    model: onnx.ModelProto
    before: int
    snr: float | None = None
    zeros: float = 0.0
    bits: float = 32.0

    @property
    def ratio(self) -> float:
        """How many times smaller."""
        return self.before / max(1, len(self.content))


def compress_lossless(path: Path) -> Compressed:
    """A model with every bit kept.

    Raises:
        ModelError: it is no ONNX file.
    """
    model = _read(path)
    return Compressed(pack(model), model, _size(path, model))


def compress(
    path: Path,
    ratio: float,
    calib: Any,
    *,
    epochs: float = 2.0,
    limit: int | None = None,
    preprocessing: Preprocessing | None = None,
    progress: Progress = silent,
) -> Compressed:
    """A model at least `ratio` times smaller than its file.

    Every weight becomes a multiple of its tensor's step, coarser where the outputs feel it less, and the multiples are
    entropy coded. Training on the data, with the model's own answers as the aim, then takes back what that costs.

    Args:
        path: of an ONNX file.
        ratio: of its bytes to those of the result.
        calib: samples, as `Data` takes them; no labels are needed.
        epochs: passes over the data; 0 for no training.
        limit: samples read at most.
        preprocessing: of images.
        progress: called with (what, done, total, detail).

    Raises:
        LimitError: the ratio cannot be reached.
        UsageError: the samples do not fit.
    """
    if not ratio > 1.0:
        raise UsageError("a ratio must be above 1", where="--ratio", hint="--ratio 10")
    before = _size(path, _read(path))
    target = int(before / ratio)
    module = load_model(path).module
    prepare(module)
    values = _weights(module)
    if not values:
        raise ModelError("the model has no weights to compress", where=str(path))
    data = Data(calib, module.main.inputs, limit=limit, preprocessing=preprocessing)
    curvatures = _curvatures(module, values, data, progress)
    levels, bits = _within(module, values, curvatures, target)
    if epochs > 0:
        from optc.driver.compression.fine_tuning import fine_tune

        # The bound on the bits that training looks at lies above them by the same factor before and after.
        bound = sum(found.size * float(geometric_bits(np.abs(found).mean())) for found, _ in levels.values())
        actual = sum(entropy_bits(found) for found, _ in levels.values())
        steps = {value: step for value, (_, step) in levels.items()}
        aim = _AIM * bits * bound / actual
        trained = fine_tune(module, steps, aim, data, epochs=epochs, progress=progress)
        choices = [_trimmed(module, trained, target), _shrunk(module, trained, target), levels]
        levels = max(choices, key=lambda each: _snr(module, _with(module, each)[0], data))
    became, proto = _with(module, levels)
    content = pack(proto, _steps(proto, levels))
    count = sum(found.size for found, _ in levels.values())
    zeros = sum(int((found == 0).sum()) for found, _ in levels.values()) / count
    return Compressed(content, proto, before, _snr(module, became, data), zeros, 8.0 * len(content) / count)


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)
    except OSError as fault:
        raise OptcError("the model cannot be read", where=str(path), why=fault.strerror) from fault
    except Exception as fault:  # protobuf's own error has no public name
        raise ModelError("this is no ONNX file", where=str(path), why=str(fault).splitlines()[0]) from fault
    if not model.HasField("graph"):
        raise ModelError("this is no ONNX file", where=str(path), why="it holds no graph")
    return model


def _size(path: Path, model: onnx.ModelProto) -> int:
    """Of the file, with the weights that lie beside it."""
    return max(path.stat().st_size, model.ByteSize())


def _weights(module: Module) -> list[Value]:
    """The float constants that are coded."""
    found = [operation.result for operation in module.main if operation.name == CONSTANT]
    return [value for value in found if value.dtype.name == "f32" and value.tensor_type.elements >= SMALLEST]


def _curvatures(module: Module, values: list[Value], data: Data, progress: Progress) -> dict[str, float]:
    try:
        from optc.driver.quantization.curvature import hessian_diagonals
    except ImportError as fault:
        raise OptcError("--ratio needs PyTorch, which is not installed", hint="pip install optc[torch]") from fault
    diagonals = hessian_diagonals(module, values, data, progress=progress)
    return {str(place): float(diagonals[value].mean()) for place, value in enumerate(values)}


def _within(
    module: Module, values: list[Value], curvatures: Mapping[str, float], target: int
) -> tuple[dict[Value, tuple[np.ndarray, float]], float]:
    """Rounded weights whose file has the wanted size, and the bits that they take."""
    arrays = {str(place): np.asarray(value.constant) for place, value in enumerate(values)}
    bits = 8.0 * target
    for _ in range(_ROUNDS):
        steps = steps_for(arrays, curvatures, bits)
        levels = {
            value: (levels_of(arrays[str(place)], steps[str(place)]), steps[str(place)])
            for place, value in enumerate(values)
        }
        proto = _with(module, levels)[1]
        surplus = len(pack(proto, _steps(proto, levels))) - target
        if -0.005 * target <= surplus <= 0:
            break
        bits = max(0.0, bits - 8.0 * surplus - 0.002 * 8.0 * target)
    widened = {value: (arrays[str(place)], steps[str(place)]) for place, value in enumerate(values)}
    levels = _shrunk(module, widened, target)
    return levels, sum(entropy_bits(found) for found, _ in levels.values())


def _shrunk(
    module: Module, weights: Mapping[Value, tuple[np.ndarray, float]], target: int
) -> dict[Value, tuple[np.ndarray, float]]:
    """Levels of weights with given steps, or with steps that are as much wider as the size needs.

    Raises:
        LimitError: the file is too large with all weights zero.
    """
    factor = 1.0
    while True:
        steps = {value: float(np.float32(step * factor)) for value, (_, step) in weights.items()}
        found = {value: (levels_of(array, steps[value]), steps[value]) for value, (array, _) in weights.items()}
        proto = _with(module, found)[1]
        size = len(pack(proto, _steps(proto, found)))
        if size <= target:
            return found
        if not any(level.any() for level, _ in found.values()):
            why = f"the graph alone takes {size:,} bytes, {target:,} are allowed"
            raise LimitError("the ratio cannot be reached", where=module.name, why=why)
        factor *= max(_WIDENING, (size / target) ** 0.5)


def _trimmed(
    module: Module, weights: Mapping[Value, tuple[np.ndarray, float]], target: int
) -> dict[Value, tuple[np.ndarray, float]]:
    """Levels of trained weights, a few nearer to zero than the nearest where the size needs it.

    Other steps would undo what training did about rounding; a dead zone changes only what lies between two levels.
    """
    for dead in _DEAD_ZONES:
        found = {
            value: (levels_of(array, step, dead), float(np.float32(step))) for value, (array, step) in weights.items()
        }
        proto = _with(module, found)[1]
        if len(pack(proto, _steps(proto, found))) <= target:
            return found
    return _shrunk(module, weights, target)


def _with(module: Module, levels: Levels) -> tuple[Module, onnx.ModelProto]:
    """The module with rounded weights, and as ONNX."""
    mapping: dict[Value, Value] = {}
    copy = clone_module(module, mapping)
    for value, (level, step) in levels.items():
        before = mapping[value]
        made = copy.main.constant((level * np.float64(step)).astype(np.float32), before.name, before=before.producer)
        before.replace_by(made)
        assert before.producer is not None
        copy.main.erase(before.producer)
    return copy, to_onnx_model(copy)


def _steps(model: onnx.ModelProto, levels: Levels) -> dict[str, float]:
    """The step of each initializer, found by what it holds: exporting may rename it."""
    known = {_digest((level * np.float64(step)).astype(np.float32).tobytes()): step for level, step in levels.values()}
    found = {tensor.name: known.get(_digest(tensor.raw_data)) for tensor in model.graph.initializer}
    return {name: step for name, step in found.items() if step is not None}


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _snr(module: Module, became: Module, data: Data) -> float:
    return decibels(Outputs.of(module, data).noise_of(became))
