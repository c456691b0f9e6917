"""The C interface of libmodel.so (optc_model.h) through ctypes."""

from __future__ import annotations

import _ctypes
import ctypes
import os
import tempfile
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from optc import native
from optc.errors import OptcError

ABI = 1
_OK = 0
_DAMAGED = 8


class _Options(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_uint32),
        ("threads", ctypes.c_int32),
        ("pin", ctypes.c_int32),
        ("spin_us", ctypes.c_int32),
    )


class _StepInfo(ctypes.Structure):
    _fields_ = (
        ("label", ctypes.c_char_p),
        ("symbol", ctypes.c_char_p),
        ("calls", ctypes.c_uint64),
        ("nanoseconds", ctypes.c_uint64),
    )


@dataclass(frozen=True)
class StepTime:
    """What one step of the program took while profiling was on.

    Attributes:
        label: the names of the model's nodes.
        symbol: the kernel, the fallback file, or `copy`.
        calls: how often it ran.
        seconds: of all calls together.
    """

    label: str
    symbol: str
    calls: int
    seconds: float


FallbackCallback = Callable[[int, Sequence[int | None], Sequence[int | None]], int]
_Pointers = ctypes.POINTER(ctypes.c_void_p)
_FALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int32, _Pointers, _Pointers)

_SIGNATURES = {
    "optc_model_abi": (ctypes.c_uint32, ()),
    "optc_model_init": (ctypes.c_int, (_Pointers, ctypes.c_char_p, ctypes.POINTER(_Options))),
    "optc_model_init_weights": (
        ctypes.c_int,
        (_Pointers, ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(_Options)),
    ),
    "optc_model_free": (None, (ctypes.c_void_p,)),
    "optc_model_error": (ctypes.c_char_p, (ctypes.c_void_p,)),
    "optc_model_threads": (ctypes.c_int32, (ctypes.c_void_p,)),
    "optc_model_workspace_bytes": (ctypes.c_size_t, (ctypes.c_void_p,)),
    "optc_model_run": (ctypes.c_int, (ctypes.c_void_p, _Pointers, _Pointers)),
    "optc_model_set_fallback": (None, (ctypes.c_void_p, _FALLBACK, ctypes.c_void_p)),
    "optc_model_profile": (None, (ctypes.c_void_p, ctypes.c_int32)),
    "optc_model_step_count": (ctypes.c_int32, (ctypes.c_void_p,)),
    "optc_model_step": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_int32, ctypes.POINTER(_StepInfo))),
}


class DamagedWeights(OptcError):
    """Weights are no longer what was compiled."""


class NativeModel:
    """A handle of the native library; not thread-safe, and closed when it is no longer referenced.

    Args:
        folder: a checked artifact.
        library: the name of the shared library in it.
        inputs: the number of inputs.
        outputs: the number of outputs.
        threads: 0 for the number that the model was compiled for.
        weights: used in place of the folder's: uint8, 64-byte aligned; the caller keeps it, and may change it.

    Raises:
        OptcError: the library cannot be loaded, is of another version, or refuses.
    """

    def __init__(
        self,
        folder: Path,
        library: str,
        inputs: int,
        outputs: int,
        threads: int = 0,
        weights: np.ndarray | None = None,
    ) -> None:
        self._where = str(folder)
        self._library = _open(folder / library)
        handle = ctypes.c_void_p()
        options = _Options(ctypes.sizeof(_Options), threads, 0, -1)
        if weights is None:
            code = self._library.optc_model_init(ctypes.byref(handle), os.fsencode(folder), ctypes.byref(options))
        else:
            start = weights.ctypes.data
            code = self._library.optc_model_init_weights(
                ctypes.byref(handle), start, weights.nbytes, ctypes.byref(options)
            )
        self._weights = weights
        if code != _OK:
            message = self._library.optc_model_error(None)
            _ctypes.dlclose(self._library._handle)
            raise OptcError("the native library does not start", where=self._where, why=_text(message))
        self._handle = handle
        self._callback = _FALLBACK()
        self._inputs = (ctypes.c_void_p * max(inputs, 1))()
        self._outputs = (ctypes.c_void_p * max(outputs, 1))()
        self.close = weakref.finalize(self, _close, self._library, handle)

    @property
    def threads(self) -> int:
        return self._library.optc_model_threads(self._handle)

    @property
    def workspace_bytes(self) -> int:
        return self._library.optc_model_workspace_bytes(self._handle)

    def run(self, inputs: Sequence[int | None], outputs: Sequence[int | None]) -> None:
        """One inference over buffers at these addresses; None for a tensor without a planned place.

        Raises:
            DamagedWeights: the model has a guard, and weights changed.
            OptcError: a kernel or a fallback region failed.
        """
        self._inputs[: len(inputs)] = list(inputs)
        self._outputs[: len(outputs)] = list(outputs)
        code = self._library.optc_model_run(self._handle, self._inputs, self._outputs)
        if code != _OK:
            message = _text(self._library.optc_model_error(self._handle))
            if code == _DAMAGED:
                raise DamagedWeights("the weights are damaged", where=self._where, why=message)
            raise OptcError("the native library failed", where=self._where, why=message)

    def set_fallback(self, callback: FallbackCallback) -> None:
        """Have `callback(region, input addresses, output addresses)` compute the fallback regions; 0 means done."""

        def call(_: int | None, region: int, inputs: Any, outputs: Any) -> int:
            return callback(region, inputs, outputs)

        self._callback = _FALLBACK(call)
        self._library.optc_model_set_fallback(self._handle, self._callback, None)

    def profile(self, enable: bool) -> None:
        """Forget all times, and measure from now on or no longer."""
        self._library.optc_model_profile(self._handle, int(enable))

    def step_times(self) -> list[StepTime]:
        """The times of all steps in the order of `optc.program.timed_steps`."""
        info = _StepInfo()
        times = []
        for index in range(self._library.optc_model_step_count(self._handle)):
            self._library.optc_model_step(self._handle, index, ctypes.byref(info))
            times.append(StepTime(_text(info.label), _text(info.symbol), info.calls, info.nanoseconds * 1e-9))
        return times


def hollow_model(inputs: int, outputs: int) -> NativeModel:
    """A model that computes nothing. Raises OptcError where there is no C compiler."""
    with tempfile.TemporaryDirectory(prefix="optc-load-") as name:
        library = Path(name) / "hollow.so"
        library.write_bytes(native.built("optc.runtime", "hollow.c", f"-DABI={ABI}"))
        return NativeModel(library.parent, library.name, inputs, outputs)


def _open(path: Path) -> ctypes.CDLL:
    """Load under a name of its own: the dynamic linker hands out a library that it loaded under the same name before,
    even if the file is another one now."""
    try:
        with tempfile.TemporaryDirectory(prefix="optc-load-") as folder:
            link = Path(folder) / path.name
            link.symlink_to(path.resolve())
            library = ctypes.CDLL(str(link), mode=os.RTLD_NOW | os.RTLD_LOCAL)
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as fault:
        raise OptcError("the native library cannot be loaded", where=str(path), why=str(fault)) from fault
    if (abi := library.optc_model_abi()) != ABI:
        hint = "compile the model again"
        raise OptcError(f"the native library has interface version {abi} instead of {ABI}", where=str(path), hint=hint)
    return library


def _close(library: ctypes.CDLL, handle: ctypes.c_void_p) -> None:
    library.optc_model_free(handle)
    _ctypes.dlclose(library._handle)


def _text(message: bytes | None) -> str:
    return (message or b"").decode(errors="replace")
