"""A model with a trained bottleneck as a way of a split: cut there, its values in as few bytes as they need."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from optc.artifact.split_record import CutTensor
from optc.driver.quantization.running import Runner
from optc.driver.split.halves import Cut, cut
from optc.driver.split.interface import typed
from optc.driver.split.sizes import LOSSLESS, Feeds, encoding_of
from optc.driver.split.trained import WAY, TrainedWay, read_trained
from optc.errors import ModelError, UsageError
from optc.frontends import load_model
from optc.ir.captures import free_values
from optc.ir.core import Graph, Module, Operation, Value
from optc.ir.source import near
from optc.ops.onnx_export import to_onnx_model
from optc.passes.split.graph import crossing_values, operations_of
from optc.runtime.split.codec.entropy import Entropy, frequencies_of, tables_file

BOTTLENECK = "codes"
"""The value that a model is cut at, where no other is named."""

NAME = "bottleneck"
_FEWEST = 16  # batches to count tables on and, others, to measure bytes on


def bottleneck(
    given: Any, inputs: Sequence[Value], batches: Sequence[Feeds], encoding: str, counted: bool
) -> TrainedWay:
    """What `--bottleneck` names.

    Args:
        given: a `TrainedWay`; a folder of `write_trained`; or a model with a bottleneck, `FILE` or `FILE@VALUE`.
        inputs: of the model that it stands for.
        batches: inputs of that model, which bytes are measured on.
        encoding: of a bottleneck whose values are floats.
        counted: whether the batches are samples, so that tables of what is likely can be counted on them.

    Raises:
        OptcError: it cannot be read.
        UsageError: there is no such value.
        ModelError: the model cannot be cut there.
    """
    if isinstance(given, TrainedWay):
        return given
    if isinstance(given, str | Path) and Path(given, WAY).is_file():
        return read_trained(given)
    path, value = given, BOTTLENECK
    if isinstance(given, str) and "@" in given and not Path(given).exists():
        path, _, value = given.rpartition("@")
    parts = cut_at(path, value, {each.name: each.tensor_type.static_shape for each in inputs})
    assert parts.device is not None and parts.server is not None
    ((name, sent),) = parts.sent
    runner = Runner(parts.device)
    place = parts.device.main.output_names.index(name)
    arrays = [runner.run(feeds)[place] for feeds in batches]
    coding, size, files = _coding(sent, name, arrays, encoding, counted)
    halves = to_onnx_model(parts.device), to_onnx_model(parts.server)
    return TrainedWay(NAME, *halves, encodings={name: coding}, sizes={name: size}, files=files)


def cut_at(model: Any, name: str, shapes: Mapping[str, tuple[int, ...]]) -> Cut:
    """Both halves of a model around one value.

    Args:
        model: anything that `load_model` takes.
        name: of the value.
        shapes: of the inputs.
    """
    module = load_model(model, dict(shapes)).module
    value = _value(module, name, str(model) if isinstance(model, str | Path) else module.name)
    parts = cut(module, _needed(module.main, value))
    others = [other for other, _ in parts.sent if other != name]
    if others or parts.device is None or parts.server is None or len(parts.sent) != 1:
        why = f"'{others[0]}' would have to be sent as well" if others else "nothing is computed after it"
        raise ModelError(
            f"'{name}' is no bottleneck",
            where=module.name,
            why=why,
            hint="FILE@VALUE names a value that all data pass through",
        )
    return parts


def _value(module: Module, name: str, where: str) -> Value:
    known = {value.name: value for value in crossing_values(module.main) if value.producer is not None}
    if name not in known:
        hint = near(name, known) or "FILE@VALUE names another; optc inspect shows the names"
        raise UsageError(f"no value is called '{name}'", where=f"--bottleneck {where}", hint=hint)
    return known[name]


def _needed(graph: Graph, value: Value) -> list[Operation]:
    """The operations of a graph that a value depends on, the one that makes it included."""
    found: set[Operation] = set()
    waiting = [value]
    while waiting:
        producer = waiting.pop().producer
        if producer is not None and producer not in found:
            found.add(producer)
            waiting += free_values(producer)
    return [operation for operation in operations_of(graph) if operation in found]


def _coding(
    value: Value, name: str, arrays: Sequence[np.ndarray], encoding: str, counted: bool
) -> tuple[str, int, dict[str, bytes]]:
    """The encoding of a value, its mean bytes, and the files that the codec reads."""
    from optc.runtime.split.codec import Place, open_codec

    dtype, shape = typed(value.tensor_type)
    enough = counted and len(arrays) >= _FEWEST
    if dtype == "int8" and len(shape) > 1 and enough and importlib.util.find_spec("constriction") is not None:
        # Every second batch is counted, the bytes are those of the others.
        frequencies = frequencies_of(counts(np.concatenate(arrays[::2])))
        coding, file, content = tables_file(frequencies)
        codec: Any = Entropy(frequencies, shape)
        return coding, _mean_bytes(codec, arrays[1::2]), {file: content}
    coding = encoding_of(value, encoding) if value.tensor_type.dtype.is_float else LOSSLESS
    codec = open_codec(Place(CutTensor(name, dtype, shape, coding, 0)))
    return coding, _mean_bytes(codec, arrays), {}


def counts(codes: np.ndarray) -> np.ndarray:
    """How often each code -128..127 occurs in each channel: int8 [n, channels, …] to [channels, 256]."""
    rows = np.moveaxis(codes, 1, 0).reshape(codes.shape[1], -1).astype(np.int64) + 128
    return np.array([np.bincount(row, minlength=256) for row in rows], np.float64)


def _mean_bytes(codec: Any, arrays: Sequence[np.ndarray]) -> int:
    return -(-sum(memoryview(codec.encode(array)).nbytes for array in arrays) // len(arrays))
