"""Runs a module in onnxruntime and hands out any of its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from optc.errors import ModelError, OptcError
from optc.ir.clone import clone_module
from optc.ir.core import Module, Value
from optc.ir.types import TensorType
from optc.ops.onnx_export import to_onnx_model
from optc.runtime.ort_session import Optimizations, first_line, open_session

CHUNK_BYTES = 256 << 20
"""Of the values that one run hands out to `Runner.each`."""


class Runner:
    """A session over a module.

    Args:
        module: not changed, and not read again.
        values: what `run` may be asked for; None for the outputs.
        deployed: whether onnxruntime may put its own integer kernels in place of what the module says.

    Raises:
        ModelError: onnxruntime refuses the model.
    """

    def __init__(self, module: Module, values: Sequence[Value] | None = None, *, deployed: bool = False) -> None:
        mapping: dict[Value, Value] = {}
        copy = clone_module(module, mapping)
        values = module.main.outputs if values is None else values
        self._names = {value: f"watched.{number}" for number, value in enumerate(values)}
        copy.main.set_outputs([mapping[value] for value in self._names], list(self._names.values()))
        model = to_onnx_model(copy).SerializeToString()
        try:
            self._session = open_session(
                model, purpose="calibration needs", threads=1, optimizations="all" if deployed else _harmless(copy)
            )
        except OptcError:
            raise
        except Exception as fault:  # onnxruntime's exceptions have no common base
            raise ModelError("onnxruntime cannot run the model", where=module.name, why=first_line(fault)) from fault
        self._inputs = {node.name for node in self._session.get_inputs()}
        self._chunks: list[list[Value]] = []

    def run(self, feeds: Mapping[str, np.ndarray], values: Sequence[Value] | None = None) -> list[np.ndarray]:
        """Some of the values (default: all) for one batch."""
        names = [self._names[value] for value in values] if values is not None else list(self._names.values())
        return self._session.run(names, {name: array for name, array in feeds.items() if name in self._inputs})

    def each(self, feeds: Mapping[str, np.ndarray]) -> Iterator[tuple[Value, np.ndarray]]:
        """Every value of one batch, in several runs where all of them together would take too much memory."""
        self._chunks = self._chunks or self._chunked(feeds)
        for chunk in self._chunks:
            yield from zip(chunk, self.run(feeds, chunk), strict=True)

    def _chunked(self, feeds: Mapping[str, np.ndarray]) -> list[list[Value]]:
        """The values in groups whose arrays together stay within CHUNK_BYTES (or are one array)."""
        chunks: list[list[Value]] = [[]]
        room = CHUNK_BYTES
        for value in self._names:
            type = value.tensor_type
            size = type.bytes if type.is_static else self.run(feeds, [value])[0].nbytes
            if chunks[-1] and size > room:
                chunks.append([])
                room = CHUNK_BYTES
            chunks[-1].append(value)
            room -= size
        return [chunk for chunk in chunks if chunk]


def _harmless(module: Module) -> Optimizations:
    """What onnxruntime may do to a module without changing its numbers: it confuses the two halves of QDQ pairs in E5M2
    (seen in 1.31: 13 dB become -2)."""
    types = (value.type for operation in module.walk() for value in operation.results)
    coarse = any(isinstance(type, TensorType) and type.dtype.name == "f8e5m2" for type in types)
    return "none" if coarse else "basic"
