"""Load an artifact and run it."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from optc.artifact.host import host_refusal
from optc.artifact.manifest import Manifest
from optc.artifact.reading import ArtifactFiles, read
from optc.artifact.writing import LIBRARY
from optc.errors import OptcError, UsageError
from optc.program import Program, TensorInfo, tensor_bytes
from optc.runtime.arrays import address_of, aligned_empty, check_inputs, numpy_dtype
from optc.runtime.library import NativeModel, StepTime, hollow_model
from optc.runtime.random_inputs import random_inputs
from optc.runtime.regions import FallbackRegions

MAX_THREADS = 1024
_HOLLOW_CALLS = 300


def load(path: str | Path, threads: int | None = None, *, runnable: bool = True) -> Artifact:
    """Check an artifact folder and make it ready to run.

    Args:
        path: the folder that the compiler wrote.
        threads: for each run; None for the number that it was compiled for, or all CPUs.
        runnable: False to also take one for other machines, which then refuses to run.

    Raises:
        OptcError: there is no artifact, it is damaged, or this machine cannot run it.
        UsageError: `threads` is out of range.
    """
    return Artifact(read(path, check_host=runnable), threads)


class Artifact:
    """A compiled model. Runs from several threads wait for each other; load it twice to run at the same time.

    Attributes:
        path: its folder.
        manifest: what the compiler wrote about it.
        program: the steps that it runs.
        decisions: what the passes chose and why.
    """

    def __init__(self, files: ArtifactFiles, threads: int | None = None) -> None:
        self.path = files.folder
        self.manifest: Manifest = files.manifest
        self.program: Program = files.program
        self.decisions: Mapping[str, Any] = files.decisions
        self._lock = threading.Lock()
        self._unplanned_inputs = [i for i, info in enumerate(self.inputs) if tensor_bytes(info) is None]
        # Shape and dtype of each output; None where only the run decides.
        self._output_types = [
            None if tensor_bytes(info) is None else (_static(info), numpy_dtype(info)) for info in self.outputs
        ]
        self._native: NativeModel | None = None
        self._refusal: OptcError | None = host_refusal(self.manifest.host, str(self.path))
        if self._refusal is None:
            self._start(threads)

    def _start(self, threads: int | None) -> None:
        if threads is not None and not (isinstance(threads, int) and 1 <= threads <= MAX_THREADS):
            raise UsageError(f"{threads!r} threads are out of the range 1 to {MAX_THREADS}")
        native = NativeModel(self.path, LIBRARY, len(self.inputs), len(self.outputs), threads or 0)
        self._regions = FallbackRegions(self.path, self.program, native.threads)
        if self._regions:
            native.set_fallback(self._regions.call)
        self._native = native

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        return self.program.inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        return self.program.outputs

    @property
    def runs_here(self) -> bool:
        """Whether this machine can run it."""
        return self._refusal is None

    @property
    def threads(self) -> int:
        """Threads of one run; assign to change."""
        return self._opened().threads

    @threads.setter
    def threads(self, threads: int) -> None:
        with self._lock:
            previous, regions = self._opened(), self._regions
            self._start(threads)
            previous.close()
            regions.close()

    @property
    def workspace_bytes(self) -> int:
        """Memory that the artifact holds beside its weights."""
        return self._opened().workspace_bytes

    def run(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Compute the outputs.

        Args:
            inputs: an array for each input, of exactly its type and shape. C-contiguous arrays whose data is 64-byte
                aligned are read in place.

        Returns:
            a new array for each output.

        Raises:
            UsageError: an input is missing, unknown, or of another type or shape.
            OptcError: a kernel or a fallback region failed, or the artifact is closed.
        """
        arrays = check_inputs(inputs, self.inputs)
        with self._lock:
            return self._run(self._opened(), arrays)

    def _run(self, native: NativeModel, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
        results = [None if kind is None else aligned_empty(*kind) for kind in self._output_types]
        regions = self._regions
        regions.failure = None
        regions.values = {self.inputs[index].name: arrays[index] for index in self._unplanned_inputs}
        addresses: list[int | None] = [address_of(array) if isinstance(array, np.ndarray) else None for array in arrays]
        try:
            native.run(addresses, [None if array is None else address_of(array) for array in results])
        except Exception:
            if regions.failure is not None:
                raise regions.failure from None
            raise
        outputs = {
            info.name: regions.value(info.name) if array is None else array
            for info, array in zip(self.outputs, results, strict=True)
        }
        regions.values = {}
        return outputs

    def profile(self, inputs: Mapping[str, Any], runs: int = 10) -> list[StepTime]:
        """Run `runs` times and return what each step of the program took, in the order of the program."""
        arrays = check_inputs(inputs, self.inputs)
        with self._lock:
            native = self._opened()
            self._run(native, arrays)
            native.profile(True)
            for _ in range(runs):
                self._run(native, arrays)
            times = native.step_times()
            native.profile(False)
            return times

    def call_seconds(self) -> float:
        """What a run takes beside its steps: the median of runs whose library computes nothing.

        Raises:
            OptcError: there is no C compiler.
        """
        if self._regions:
            return 0.0  # a region computes outputs, and takes far longer than the call
        arrays, times = random_inputs(self.inputs), []
        hollow = hollow_model(len(self.inputs), len(self.outputs))
        with self._lock:
            for _ in range(_HOLLOW_CALLS):
                start = time.perf_counter()
                self._run(hollow, check_inputs(arrays, self.inputs))
                times.append(time.perf_counter() - start)
        return statistics.median(times)

    def close(self) -> None:
        """Free the threads, the workspace and the mapped weights; the artifact cannot be run any more."""
        with self._lock:
            if self._native is not None:
                self._native.close()
                self._regions.close()
            self._native = None

    def __enter__(self) -> Artifact:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Artifact('{self.path}', target='{self.manifest.target}')"

    def _opened(self) -> NativeModel:
        if self._refusal is not None:
            raise self._refusal
        if self._native is None:
            raise UsageError("the artifact is closed", where=str(self.path))
        return self._native


def _static(info: TensorInfo) -> tuple[int, ...]:
    return tuple(extent for extent in info.shape or () if extent is not None)
