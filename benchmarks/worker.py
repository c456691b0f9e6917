"""A process that holds one peer. It is stopped while another one is measured, so that no spinning thread disturbs."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.runtimes import Peer, Run, Subject

TICKS = os.sysconf("SC_CLK_TCK")
WARM_UP = 0.1  # of the measured time
FEWEST_CALLS = 5


class WorkerError(RuntimeError):
    """What the peer said when it failed, on one line."""


class Worker:
    """A peer in a process of its own, stopped whenever it does not answer a question."""

    def __init__(self, peer: str, threads: int, pinned: bool = True) -> None:
        self.peer = peer
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        environment = {k: v.format(threads=threads) for k, v in Peer.registry[peer].environment.items()}
        cores = threads if pinned else 0
        self._process = context.Process(target=_serve, args=(peer, cores, theirs), daemon=pinned)
        with _environment(environment):
            self._process.start()
        theirs.close()

    def ask(self, question: str, *arguments: Any, timeout: float = 300.0) -> Any:
        """Let the process run until it has answered.

        Raises:
            WorkerError: it failed, ended, or did not answer in time (then it is gone).
        """
        self.send(question, *arguments)
        return self.answer(timeout)

    def send(self, question: str, *arguments: Any) -> None:
        """Wake the process and ask; `answer` must follow."""
        try:
            self._signal(signal.SIGCONT)
            self._connection.send((question, arguments))
        except (OSError, ValueError) as error:
            raise WorkerError(f"its process ended ({self._process.exitcode})") from error

    def answer(self, timeout: float = 300.0) -> Any:
        """What the process answers to `send`; then it is stopped."""
        try:
            if not self._connection.poll(timeout):
                self.end()
                raise WorkerError(f"no answer in {timeout:.0f} s")
            good, value = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join(5)
            raise WorkerError(f"its process ended ({self._process.exitcode})") from error
        self._signal(signal.SIGSTOP)
        if not good:
            raise WorkerError(value)
        return value

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def ticks(self) -> int:
        """Processor time that the process has used, in clock ticks."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])
        except (OSError, IndexError):
            return 0

    def end(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, number)


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Any:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def machine_ticks() -> int:
    """Processor time that all processes and the kernel have used, in clock ticks; time stolen by other guests too."""
    first = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    return sum(map(int, first)) - int(first[3]) - int(first[4]) - sum(map(int, first[8:10]))


def median_seconds(run: Callable[[], object], seconds: float) -> float:
    """The median time of one call, over about `seconds` of them.

    At least five are made, fewer where one takes longer than the whole time.
    """
    times: list[float] = []
    warm = time.perf_counter() + WARM_UP * seconds
    start = time.perf_counter()
    run()
    first = time.perf_counter() - start
    if first > seconds:
        return first
    while time.perf_counter() < warm:
        run()
    end = time.perf_counter() + seconds
    while len(times) < FEWEST_CALLS or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class _Service:
    """The questions that a worker answers."""

    def __init__(self, peer: str) -> None:
        self._peer = Peer.registry[peer]()
        self._run: Run | None = None

    def version(self) -> str:
        return self._peer.version()

    def prepare(self, subject: Subject, folder: Path) -> None:
        self._peer.prepare(subject, folder)

    def load(self, subject: Subject, folder: Path) -> tuple[list[np.ndarray], dict]:
        """Load and run once: copies of the outputs, and further facts."""
        self._run = None
        self._run = self._peer.load(subject, folder)
        outputs = [np.array(each) for each in self._run()]
        return outputs, self._peer.facts(subject, folder)

    def measure(self, seconds: float) -> float:
        assert self._run is not None
        return median_seconds(self._run, seconds)


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _serve(peer: str, cores: int, connection: Connection) -> None:
    _end_with_parent()
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(range(cores)))
    os.dup2(sys.stderr.fileno(), 1)  # what libraries print is no part of the table
    service = _Service(peer)
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            question, arguments = connection.recv()
            try:
                connection.send((True, getattr(service, question)(*arguments)))
            except Exception as error:
                connection.send((False, one_line(error)))


def one_line(error: BaseException) -> str:
    """The kind of an error and the first line of its message that is more than a place in the source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Traceback", "Check '"))] or lines
    return f"{type(error).__name__}: {telling[0][:160]}" if telling else type(error).__name__
