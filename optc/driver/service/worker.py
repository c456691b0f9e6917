"""One compile in a process with limits, killed with all its children when it takes too long."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from optc.cache import cache_folder
from optc.driver.service.settings import Settings

MODEL, ARTIFACT = "model.onnx", "artifact"

_START = (
    "import sys; from optc.driver.service.sandbox import enter; enter(*map(int, sys.argv[1:5]));"
    "from optc.cli import main; main(sys.argv[5:])"
)
_PASSED = ("PATH", "LANG", "LC_ALL", "CC", "OPTC_CACHE_MAX", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""Of this process's environment; nothing else reaches a worker, the token least of all."""
_PHASE = "optc: "
_NO_MEMORY = (
    *("out of memory", "no memory for", "MemoryError", "bad_alloc", "Cannot allocate memory"),
    *("Failed to allocate memory", "failed to map segment", "cannot map zero-fill pages"),
)
"""How optc, Python, C++, the system's loader and onnxruntime say that an allocation failed."""


@dataclass(frozen=True)
class Ended:
    """How a worker ended: the exit code, and what it said where that is not 0."""

    code: int
    error: str = ""


class Worker:
    """A running compile; `stop` ends it from another thread."""

    def __init__(self, folder: Path, options: Sequence[str], settings: Settings) -> None:
        self._settings = settings
        temporary = folder / "tmp"
        temporary.mkdir(exist_ok=True)
        environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
        environment |= {"HOME": str(temporary), "TMPDIR": str(temporary), "OPTC_CACHE_DIR": str(cache_folder())}
        limits = (os.getpid(), settings.memory_bytes, self._processor_seconds(), settings.disk_bytes)
        words = ["compile", MODEL, "-o", ARTIFACT, "--json", *options]
        self.stopped = ""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, *map(str, limits), *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def _processor_seconds(self) -> int:
        return int(self._settings.seconds * (os.cpu_count() or 1)) + 1

    def wait(self, phase: Callable[[str], None]) -> Ended:
        """Wait for the end; phases are told as they come."""
        late = f"it took more than {self._settings.seconds:g} seconds"
        timer = threading.Timer(self._settings.seconds, self.stop, (late,))
        timer.start()
        lines: list[str] = []
        try:
            assert self._process.stderr is not None
            for line in self._process.stderr:
                if line.startswith(_PHASE):
                    phase(line.removeprefix(_PHASE).strip())
                else:
                    lines = [*lines[-20:], line.rstrip("\n")]
            code = self._process.wait()
        finally:
            timer.cancel()
            self.stop("the service stops")
        if code == 0:
            return Ended(0)
        if self.stopped and code < 0:
            return Ended(1, f"error: the compile was stopped: {self.stopped}")
        said = "\n".join(lines)
        if any(word in said for word in _NO_MEMORY):
            most = f"{self._settings.memory_bytes / 1e6:.0f} MB"
            return Ended(1, f"error: the compile needed more than {most} of memory\n  {_last(lines)}")
        if code == -signal.SIGXCPU:
            return Ended(
                1, f"error: the compile was stopped: it took more than {self._processor_seconds()} CPU seconds"
            )
        if code < 0:
            return Ended(1, f"error: the compile was ended by signal {-code}: it needed more than its limits allow")
        return Ended(code, said)

    def stop(self, why: str) -> None:
        """Kill the compile and its children, if it still runs."""
        if self._process.poll() is None:
            self.stopped = why
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _last(lines: Sequence[str]) -> str:
    """Of what a compile said, the line that names its failure."""
    named = [line for line in lines if any(word in line for word in _NO_MEMORY)]
    return named[-1].removeprefix("error: ").strip()


def read_json(path: Path) -> dict[str, object] | None:
    """A JSON object from a file; None where there is none."""
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
