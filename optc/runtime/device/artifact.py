"""An artifact that runs on a device: what it computes there, and how long that takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from optc.artifact.host import HostRequirements
from optc.artifact.reading import ArtifactFiles
from optc.artifact.writing import LIBRARY, WEIGHTS
from optc.errors import OptcError
from optc.program import TensorInfo
from optc.runtime.arrays import pack, unpack
from optc.runtime.bench import MIN_RUNS, BenchResult, summarize
from optc.runtime.device.description import Device
from optc.runtime.device.session import DeviceLost, Facts, Finished, Session, open_session

Result = TypeVar("Result")

TIMEOUT = 120.0
"""Seconds that a program may take on a device, beside the time to measure for."""

RETRIES = 2
"""Further attempts where a device is lost."""

RUNNER = "run_once"
PAUSE = 1.0  # seconds before another attempt
_ORPHANED = 30  # seconds after the limit, when a program ends by itself that nobody could stop
# As `uname` names them there.
_SYSTEMS = {"linux": "Linux", "darwin": "Darwin"}
_MACHINES = {"armv7": ("armv7l", "armv8l"), "aarch64": ("aarch64", "arm64"), "x86_64": ("x86_64", "amd64")}


class DeviceArtifact:
    """A compiled model on a device; a context manager, which leaves nothing there.

    Attributes:
        inputs, outputs: the model's interface.
        device: where it runs.
    """

    def __init__(
        self,
        files: ArtifactFiles,
        device: Device,
        runner: bytes,
        threads: int | None = None,
        timeout: float = TIMEOUT,
        retries: int = RETRIES,
    ) -> None:
        """Take an artifact; nothing is sent before it runs.

        Args:
            files: the artifact, whose shapes no run decides.
            device: where it shall run.
            runner: the program that runs its library there (`link_runner`).
            threads: of a run; None for the artifact's.
            timeout: seconds that a program may take there, beside the time to measure for.
            retries: further attempts where the device is lost.
        """
        self.inputs: tuple[TensorInfo, ...] = files.program.inputs
        self.outputs: tuple[TensorInfo, ...] = files.program.outputs
        self.device = device
        self._folder, self._needed = files.folder, files.manifest.host
        self._runner, self._threads, self._timeout, self._retries = runner, threads or 0, timeout, retries
        self._session: Session | None = None

    def run(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Compute the outputs there; arguments and result as of `Artifact.run`.

        Raises:
            UsageError: an input is missing, unknown, or of another type or shape.
            DeviceLost: the device vanished, and did not come back.
            OptcError: the program fails there, or takes too long.
        """
        given = pack(inputs, self.inputs)
        return self._attempted(lambda session: self._call(session, given, self._threads, ())[0])

    def bench(
        self, inputs: Mapping[str, Any], seconds: float, threads: int | None = None
    ) -> tuple[BenchResult, dict[str, np.ndarray]]:
        """Run there for about `seconds` after a warm-up of a fifth of that: latencies, and the first run's outputs.

        Raises:
            UsageError, DeviceLost, OptcError: as of `run`.
        """
        given, limit = pack(inputs, self.inputs), self._limit(seconds)
        timing = (f"{seconds:g}", str(MIN_RUNS), str(int(limit) + _ORPHANED))
        used = self._threads if threads is None else threads

        def work(session: Session) -> tuple[BenchResult, dict[str, np.ndarray]]:
            outputs, finished = self._call(session, given, used, timing, limit)
            return self._times(finished), outputs

        return self._attempted(work)

    @property
    def facts(self) -> Facts:
        """Of the device."""
        return self._attempted(lambda session: session.facts)

    def close(self) -> None:
        """Remove what was sent, and end the connection."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def __enter__(self) -> DeviceArtifact:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _limit(self, seconds: float) -> float:
        return self._timeout + 1.2 * seconds

    def _attempted(self, work: Callable[[Session], Result]) -> Result:
        """What `work` returns; from the start again where the device is lost."""
        for left in range(self._retries, -1, -1):
            try:
                return work(self._opened())
            except DeviceLost as fault:
                self.close()
                if not left:
                    if self._retries:
                        fault.why = f"{fault.why} ({self._retries + 1} attempts)"
                    raise
            time.sleep(PAUSE)
        raise AssertionError("the last attempt returns or raises")

    def _opened(self) -> Session:
        """A session with the artifact in its folder."""
        if self._session is None:
            session = open_session(self.device)
            self._session = session
            try:
                check_kind(self.device, session.facts, self._needed, "the artifact was compiled", str(self._folder))
            except OptcError:
                self.close()
                raise
            for name in (LIBRARY, WEIGHTS):
                session.put(name, self._folder / name, executable=name == LIBRARY)
            session.put(RUNNER, self._runner, executable=True)
        return self._session

    def _call(
        self, session: Session, given: bytes, threads: int, timing: tuple[str, ...], limit: float | None = None
    ) -> tuple[dict[str, np.ndarray], Finished]:
        session.put("inputs", given)
        words = [*self.device.prefix, f"./{RUNNER}", ".", "inputs", "outputs", str(threads), *timing]
        finished = session.run(words, self._timeout if limit is None else limit)
        if finished.code != 0:
            raise self._failed(finished)
        content = session.get("outputs")
        try:
            return unpack(content, self.outputs), finished
        except ValueError as fault:
            raise self._nonsense(f"it wrote {len(content)} bytes of outputs") from fault

    def _failed(self, finished: Finished) -> OptcError:
        hint = None
        if "GLIBC_" in finished.errors:
            hint = "link for an older C library: pip install 'optc[zig]', then compile the model again"
        what = f"the model fails on the device '{self.device.name}'"
        return OptcError(what, where=self.device.place, why=why_failed(finished), hint=hint)

    def _times(self, finished: Finished) -> BenchResult:
        words, *lines = finished.output.splitlines() or [""]
        try:
            threads = int(words.removeprefix("threads "))
            seconds = [int(line) * 1e-9 for line in lines]
        except ValueError as fault:
            raise self._nonsense("it printed no times") from fault
        if len(seconds) < MIN_RUNS:
            raise self._nonsense("it printed too few times")
        return summarize(seconds, threads)

    def _nonsense(self, why: str) -> OptcError:
        what = f"the program answers with nonsense on the device '{self.device.name}'"
        return OptcError(what, where=self.device.place, why=why, hint="look whether --prefix changes what it prints")


def check_kind(device: Device, facts: Facts, needed: HostRequirements, what: str, where: str | None = None) -> None:
    """Refuse a device of another kind, unless an emulator may stand before the program.

    Args:
        device: which.
        facts: what it says of itself.
        needed: by code for it.
        what: `the artifact was compiled`.
        where: of the error; None for the device's place.

    Raises:
        OptcError: the code is for another system or processor.
    """
    machines = _MACHINES.get(needed.architecture, (needed.architecture,))
    if device.prefix or (facts.system == _SYSTEMS.get(needed.system) and facts.machine in machines):
        return
    raise OptcError(
        f"{what} for another kind of machine than the device '{device.name}'",
        where=where or device.place,
        why=f"it needs {needed.system} on {needed.architecture}, and that is {facts.system} on {facts.machine}",
        hint="compile the model again with the --target of that device" if where else "give its --target",
    )


def why_failed(finished: Finished) -> str:
    """The last thing that a program printed which failed, or how it ended."""
    lines = [line for line in finished.errors.splitlines() if line.strip()]
    if finished.code > 128 and not lines:
        return f"signal {finished.code - 128} ended it"
    return lines[-1].strip().removeprefix("error: ") if lines else f"exit code {finished.code}"
