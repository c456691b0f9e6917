"""Measure the host: a small C program, built where it runs, times chains of arithmetic and reads of working sets."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from optc.errors import OptcError
from optc.toolchain import find_compiler


@dataclass(frozen=True)
class Measurement:
    """Measured figures of one core (bytes/s, FLOP/s), and of all cores where named so.

    Attributes:
        flops: f32 fused multiply-adds, two operations each.
        cache_bandwidth: reading a working set of half of each cache level, from L1 outwards.
        memory_bandwidth: reading a working set far beyond the caches.
        memory_bandwidth_all: the same, all cores at once.
        when: the day, ISO 8601.
        byte_operations: of dot products of four bytes, two for each product; 0 where they were not measured.
    """

    flops: float
    cache_bandwidth: tuple[float, ...]
    memory_bandwidth: float
    memory_bandwidth_all: float
    when: str
    byte_operations: float = 0.0


def measure(*, vector_bytes: int, cores: int, cache_bytes: Sequence[int]) -> Measurement:
    """Build and run the program.

    Args:
        vector_bytes: width of a SIMD register.
        cores: threads for the all-core figure.
        cache_bytes: capacities of the data caches, from L1 outwards.

    Raises:
        OptcError: no C compiler, or the program failed.
    """
    compiler = find_compiler()
    source = files("optc.targets").joinpath("calibrate.c").read_text(encoding="utf-8")
    beyond_caches = max([64 * 1024 * 1024, *(4 * each for each in cache_bytes[-1:])])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "calibrate.c").write_text(source, encoding="utf-8")
        flags = ["-O3", "-march=native", "-ffp-contract=fast", f"-DVECTOR_BYTES={vector_bytes}", "-pthread"]
        compiler.run([*flags, "calibrate.c", "-o", "calibrate"], path)
        sizes = [str(each // 2) for each in cache_bytes] + [str(beyond_caches)]
        output = _checked([str(path / "calibrate"), str(cores), *sizes], path, "the calibration program failed")
    flops, byte_operations, memory_all, *bandwidths = (float(word) for word in output.split())
    today = time.strftime("%Y-%m-%d")
    return Measurement(flops, tuple(bandwidths[:-1]), bandwidths[-1], memory_all, today, byte_operations)


def _checked(command: Sequence[str], folder: Path, failure: str) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OptcError(failure, why=str(error)) from error
    if done.returncode:
        raise OptcError(failure, why=done.stderr.strip()[-400:] or f"exit status {done.returncode}")
    return done.stdout


def _path(identity: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "optc" / "calibration" / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"


def store(identity: str, measurement: Measurement) -> Path:
    """Keep a measurement for the machine called `identity`, in the user's cache folder.

    Raises:
        OptcError: the folder cannot be written.
    """
    path = _path(identity)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(dataclasses.asdict(measurement), indent=1), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise OptcError("the measured figures cannot be stored", where=str(path), why=error.strerror) from error
    return path


def recall(identity: str) -> Measurement | None:
    """What `store` kept; None when there is nothing, or nothing that can be used."""
    try:
        fields = json.loads(_path(identity).read_text(encoding="utf-8"))
        return Measurement(**{**fields, "cache_bandwidth": tuple(fields["cache_bandwidth"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
