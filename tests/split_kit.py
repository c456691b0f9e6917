"""A hand-made split model: y = -(2 x), where the device doubles and the server negates."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from native_kit import SIZE, chain, contents, tensor

from optc import artifact
from optc.artifact.split_record import CutTensor, Half, Predicted, SplitRecord, Way, half_digest, write_record
from optc.program import Program
from optc.runtime.split import Server
from optc.targets.link import load_link

SECRET = b"a secret of the tests, long enough"
SOURCE = hashlib.sha256(b"y = -(2 x)").hexdigest()


def make_split(folder: Path, kernels: bytes, encodings: Sequence[str] = ("raw",), chosen: str = "cut0") -> Path:
    """Write a split model with the ways `local`, `remote` and a cut for each encoding; returns its folder."""
    ways = [
        Way("local", _half(folder, "local", kernels, "twice", "negate"), None, (), (), Predicted(1e-3, 0.0)),
        Way(
            "remote",
            None,
            _half(folder, "remote", kernels, "twice", "negate"),
            (_crossing("x"),),
            (_crossing("y"),),
            Predicted(0.0, 1e-3),
        ),
    ]
    for index, encoding in enumerate(encodings):
        place = f"cuts/{index}"
        ways.append(
            Way(
                f"cut{index}",
                _half(folder, f"{place}/device", kernels, "twice", result="h"),
                _half(folder, f"{place}/server", kernels, "negate", source="h"),
                (_crossing("h", encoding),),
                (_crossing("y"),),
                Predicted(5e-4, 5e-4),
            )
        )
    record = SplitRecord(
        model="test.onnx",
        source=SOURCE,
        device="cpu",
        server="cpu",
        idle_watts=1.0,
        link=load_link("wifi").to_dict(),
        objective="latency",
        inputs=(tensor("x"),),
        outputs=(tensor("y"),),
        ways=tuple(ways),
        chosen=chosen,
    )
    write_record(folder, record)
    return folder


def change_model(folder: Path) -> None:
    """Make it another split model, with the same files."""
    from optc.artifact.split_reading import read_record

    record = read_record(folder)
    write_record(folder, replace(record, source=hashlib.sha256(b"another").hexdigest()))


def expected(x: np.ndarray) -> np.ndarray:
    return -(2 * x)


def values(seed: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).standard_normal(SIZE).astype(np.float32)}


class InThread:
    """A server in a thread of this process; a context manager."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> InThread:
        self._thread.start()
        self.call(self.server.start())
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        return "{}:{}".format(*self.server.address)

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def stop(self) -> None:
        if self._thread.is_alive():
            self.call(self.server.stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(20)
            self._loop.close()


@contextlib.contextmanager
def serving(folder: Path, *arguments: str, secret_file: Path, prefix: Sequence[str] = ()) -> Iterator[tuple[int, int]]:
    """`optc serve` as a process of its own; its port and process id. It is stopped at the end, and must not mind."""
    process, port = start_server(folder, *arguments, secret_file=secret_file, prefix=prefix)
    try:
        yield port, process.pid
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
        if process.returncode != -signal.SIGKILL:
            assert process.returncode == 0, errors
        assert "Traceback" not in errors, errors


def start_server(
    folder: Path, *arguments: str, secret_file: Path, prefix: Sequence[str] = ()
) -> tuple[subprocess.Popen[str], int]:
    """Start `optc serve` and wait until it listens."""
    command = [*prefix, sys.executable, "-m", "optc", "serve", str(folder), "--secret-file", str(secret_file)]
    if "--port" not in arguments:
        command += ["--port", "0"]
    process = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.search(r"on \S+:(\d+)$", line)
    if match is None:
        process.kill()
        raise AssertionError(f"the server did not start: {line}{process.communicate()[1]}")
    return process, int(match[1])


def _half(folder: Path, place: str, kernels: bytes, *symbols: str, source: str = "x", result: str = "y") -> Half:
    program = chain(*symbols)
    program = Program((tensor(source),), (tensor(result),), program.arena_bytes, 0, program.steps)
    target = folder / place
    target.parent.mkdir(parents=True, exist_ok=True)
    artifact.write(target, contents(program, kernels))
    return Half(place, "native", "cpu", program.inputs, program.outputs, half_digest(target, "native"))


def _crossing(name: str, encoding: str = "raw") -> CutTensor:
    return CutTensor(name, "float32", (SIZE,), encoding, 4 * SIZE)
