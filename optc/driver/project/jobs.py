"""Compiles in processes of their own, several at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from optc.driver.project.config import Unit

_START = (
    "import sys; from optc.processes import die_with_parent; die_with_parent(int(sys.argv[1]));"
    "from optc.cli import main; main(sys.argv[2:])"
)
_PHASE = "optc: "

Phase = Callable[[Unit, str], None]


@dataclass(frozen=True)
class Outcome:
    """How a compile ended.

    Attributes:
        unit: what was compiled.
        code: the exit code of `optc compile`.
        seconds: that it took.
        error: its message on standard error where it failed.
        record: what `--json` printed.
    """

    unit: Unit
    code: int
    seconds: float
    error: str = ""
    record: dict[str, Any] | None = None


def words(unit: Unit) -> list[str]:
    """The words of `optc` that compile a unit."""
    return ["compile", str(unit.file), "--target", unit.target, "-o", str(unit.output), "--json", *unit.options]


def compile_unit(unit: Unit, phase: Phase = lambda _unit, _text: None) -> Outcome:
    """Compile a unit in a process that ends when this one does; its phases are told as they come."""
    start = time.monotonic()
    command = [sys.executable, "-c", _START, str(os.getpid()), *words(unit)]
    errors: list[str] = []
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith(_PHASE):
                    phase(unit, line.removeprefix(_PHASE).strip())
                else:
                    errors.append(line.rstrip("\n"))
            code = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        printed.seek(0)
        output = printed.read()
    try:
        record = json.loads(output)
    except ValueError:
        record = None
    if code < 0:
        errors.append(f"error: the compile was ended by signal {-code}")
    return Outcome(unit, abs(code), time.monotonic() - start, "\n".join(errors[-12:]) if code else "", record)


def compile_all(units: Sequence[Unit], jobs: int, phase: Phase, finished: Callable[[Outcome], None]) -> list[Outcome]:
    """Compile units, so many at a time, in their order; `finished` is called for each, one call at a time."""
    lock = threading.Lock()

    def work(unit: Unit) -> Outcome:
        phase(unit, "starting")
        outcome = compile_unit(unit, phase)
        with lock:
            finished(outcome)
        return outcome

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        futures = [pool.submit(work, unit) for unit in units]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise
