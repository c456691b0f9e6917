"""Halves of a split model, loaded so that several threads can run one at the same time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from optc.artifact.reading import ArtifactFiles, read
from optc.artifact.split_reading import check_half
from optc.artifact.split_record import MODEL, Half, HalfKind
from optc.errors import OptcError
from optc.runtime.loaded import Artifact
from optc.runtime.ort_session import first_line, open_session, run_session

if TYPE_CHECKING:
    from optc.runtime.split.tiers import NextTier


class Engine(Protocol):
    """A half that can be run from several threads at once."""

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """An array for each output. Raises OptcError when the half fails."""
        ...

    def close(self) -> None:
        """Free it; no run may be under way."""
        ...


class NativeEngine:
    """An artifact of `optc compile`, loaded up to `copies` times, because one runs one request at a time.

    Args:
        folder: the artifact.
        copies: how many requests may run at once; more than that wait. Weights are shared between copies.
        threads: of each run; None for what the artifact was compiled for.
    """

    def __init__(self, folder: Path, copies: int, threads: int | None) -> None:
        self._files: ArtifactFiles = read(folder)
        self._threads = threads
        self._idle: queue.LifoQueue[Artifact] = queue.LifoQueue()
        self._idle.put(Artifact(self._files, threads))
        self._spare = copies - 1
        self._lock = threading.Lock()

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        artifact = self._take()
        try:
            return artifact.run(inputs)
        finally:
            self._idle.put(artifact)

    def close(self) -> None:
        while not self._idle.empty():
            self._idle.get().close()

    def _take(self) -> Artifact:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            pass
        with self._lock:
            another = self._spare > 0
            self._spare -= another
        return Artifact(self._files, self._threads) if another else self._idle.get()


class OnnxEngine:
    """A model that onnxruntime runs; its sessions take several threads."""

    def __init__(self, folder: Path, copies: int, threads: int | None) -> None:
        path = folder / MODEL
        try:
            self._session: Any = open_session(
                str(path), purpose="running this half of the model needs", threads=threads or 0, polling=False
            )
        except OptcError:
            raise
        except Exception as fault:
            raise OptcError(
                "onnxruntime refuses a half of the model", where=str(path), why=first_line(fault)
            ) from fault
        self._where = str(path)
        self._names = [node.name for node in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            return dict(zip(self._names, run_session(self._session, self._names, inputs), strict=True))
        except Exception as fault:
            raise OptcError("a half of the model failed", where=self._where, why=first_line(fault)) from fault

    def close(self) -> None:
        self._session = None


def _split_engine(folder: Path, copies: int, threads: int | None, beyond: NextTier | None) -> Engine:
    # A client opens halves in turn.
    from optc.runtime.split.tiers import SplitEngine

    return SplitEngine(folder, copies, threads, beyond)


_ENGINES: dict[HalfKind, Callable[[Path, int, int | None, NextTier | None], Engine]] = {
    "native": lambda folder, copies, threads, _: NativeEngine(folder, copies, threads),
    "onnx": lambda folder, copies, threads, _: OnnxEngine(folder, copies, threads),
    "split": _split_engine,
}


def open_half(
    folder: Path, half: Half, copies: int = 1, threads: int | None = None, beyond: NextTier | None = None
) -> Engine:
    """Check a half's files and load it.

    Args:
        folder: of the split model.
        half: one of its halves.
        copies: requests that may run at once.
        threads: of each run.
        beyond: who computes the rest of a half that is split itself.

    Raises:
        OptcError: files are missing, damaged or of another split, or this machine cannot run them.
    """
    return _ENGINES[half.kind](check_half(folder, half), copies, threads, beyond)
