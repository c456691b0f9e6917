"""Run the fallback regions of a program in onnxruntime."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optc.errors import InternalError, OptcError
from optc.program import Program, fallback_calls
from optc.runtime.arrays import array_at, numpy_dtype
from optc.runtime.ort_session import first_line, open_session, run_session

if TYPE_CHECKING:
    import onnxruntime


class FallbackRegions:
    """The regions of one artifact; their sessions are made when they are first needed.

    Attributes:
        values: tensors without a planned place, by name: model inputs, what passes from region to region, outputs.
        failure: what went wrong in the last call.
    """

    def __init__(self, folder: Path, program: Program, threads: int) -> None:
        self._calls = fallback_calls(program)
        self._threads = threads
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        # Opened now: the folder may be replaced by a newer artifact while this one is in use.
        self._files = {name: os.open(folder / name, os.O_RDONLY) for name in {call.model for call in self._calls}}
        self.close = weakref.finalize(self, _close_files, list(self._files.values()))
        self.values: dict[str, Any] = {}
        self.failure: BaseException | None = None

    def __bool__(self) -> bool:
        return bool(self._calls)

    def value(self, name: str) -> Any:
        """A tensor without a planned place. Raises InternalError when no region of this run has made it."""
        if name not in self.values:
            raise InternalError(f"no step of this run has computed '{name}'")
        return self.values[name]

    def call(self, region: int, inputs: Sequence[int | None], outputs: Sequence[int | None]) -> int:
        """Compute a region between buffers at these addresses. Returns 0, or 1 with the exception in `failure`."""
        try:
            self._compute(region, inputs, outputs)
        except BaseException as failure:  # an exception cannot pass through the C code that called
            self.failure = failure
            return 1
        return 0

    def _compute(self, region: int, inputs: Sequence[int | None], outputs: Sequence[int | None]) -> None:
        call = self._calls[region]
        feeds: dict[str, Any] = {}
        for (info, place), address in zip(call.inputs, inputs, strict=False):
            if place is None:
                feeds[info.name] = self.value(info.name)
            else:
                feeds[info.name] = array_at(address or 0, _static(info.shape), numpy_dtype(info))
        try:
            results = run_session(self._session(call.model), [info.name for info, _ in call.outputs], feeds)
        except OptcError:
            raise
        except Exception as fault:  # onnxruntime's exceptions have no common base
            why = first_line(fault)
            raise OptcError("onnxruntime failed in a fallback region", where=call.label, why=why) from fault
        for (info, place), address, result in zip(call.outputs, outputs, results, strict=False):
            if info.dtype in ("int4", "uint4"):
                result = result.astype(numpy_dtype(info))
            if place is None:
                self.values[info.name] = result
                continue
            shape = _static(info.shape)
            if result.shape != shape:
                why = f"'{info.name}' has the shape {list(result.shape)} instead of {list(shape)}"
                raise OptcError("a fallback region gave another shape than planned", where=call.label, why=why)
            np.copyto(array_at(address or 0, shape, numpy_dtype(info)), result)

    def _session(self, model: str) -> onnxruntime.InferenceSession:
        if model not in self._sessions:
            self._sessions[model] = _make_session(self._files[model], self._threads)
        return self._sessions[model]


def _static(shape: tuple[int | None, ...] | None) -> tuple[int, ...]:
    return tuple(extent for extent in shape or () if extent is not None)


def _make_session(file: int, threads: int) -> onnxruntime.InferenceSession:
    with os.fdopen(os.dup(file), "rb") as content:
        content.seek(0)
        # Threads that poll would hold the cores that the native kernels need next.
        return open_session(
            content.read(), purpose="this artifact computes a part of the model in", threads=threads, polling=False
        )


def _close_files(files: list[int]) -> None:
    for file in files:
        os.close(file)
