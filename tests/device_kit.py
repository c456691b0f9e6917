"""Devices on this machine: the server of `--rpc`, an ssh server of the current user, and a small artifact for them."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import onnx
import pytest
from native_kit import KERNELS, SIZE, compile_c, contents, weighted_sum
from onnx import TensorProto, helper

from optc import artifact
from optc.artifact.reading import ArtifactFiles, read
from optc.artifact.writing import LIBRARY
from optc.backends.host.link import link_runner, link_server
from optc.errors import OptcError
from optc.runtime.device.artifact import DeviceArtifact
from optc.runtime.device.description import RPC, SSH, Device
from optc.toolchain import find_compiler

SECRET = "a secret of the tests"
# Hangs in the place of the program.
HANG = ("sh", "-c", "touch hangs; sleep 60", "sh")


@functools.cache
def server_bytes() -> bytes:
    """The server for this machine; skips where no static C library is there."""
    try:
        return link_server(find_compiler())
    except OptcError as error:
        pytest.skip(f"no static C library: {error.why}")


def write_model(folder: Path) -> ArtifactFiles:
    """y = 2 (x + w) and z = w for this machine."""
    program, weights = weighted_sum()
    return read(artifact.write(folder, contents(program, compile_c(KERNELS), weights)))


def write_reference(path: Path, factor: int = 2) -> Path:
    """The same model as ONNX; another `factor` makes another one."""
    w = helper.make_tensor("w", TensorProto.FLOAT, [SIZE], [float(i) for i in range(SIZE)])
    f = helper.make_tensor("f", TensorProto.FLOAT, [], [float(factor)])
    nodes = [
        helper.make_node("Add", ["x", "w"], ["s"]),
        helper.make_node("Mul", ["s", "f"], ["y"]),
        helper.make_node("Identity", ["w"], ["z"]),
    ]
    x, y, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [SIZE]) for name in "xyz")
    graph = helper.make_graph(nodes, "sum", [x], [y, z], [w, f])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def there(files: ArtifactFiles, device: Device, timeout: float = 60.0, retries: int = 0) -> DeviceArtifact:
    """The artifact on a device that is this machine."""
    runner = link_runner(files.folder / LIBRARY, find_compiler(), "$ORIGIN")
    return DeviceArtifact(files, device, runner, 1, timeout, retries)


def waited(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Return when the condition holds; fails when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """The leader of a session, all of which is killed at the end."""
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Server:
    """The server of `--rpc` as a process, in a folder of its own."""

    def __init__(self, folder: Path, command: Sequence[str] = (), content: bytes | None = None) -> None:
        self.folder, self._command = folder, command
        self.secret = folder / "secret"
        self.secret.write_text(SECRET + "\n")
        self.program = folder / "server"
        self.program.write_bytes(server_bytes() if content is None else content)
        self.program.chmod(0o755)

    @contextlib.contextmanager
    def started(self, port: int = 0) -> Iterator[subprocess.Popen[str]]:
        words = [*self._command, str(self.program), "127.0.0.1", str(port), str(self.folder), str(self.secret)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
        with ended(process):
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on 127.0.0.1:")
            self.port = int(line.rsplit(":")[-1])
            yield process

    def device(self, prefix: Sequence[str] = ()) -> Device:
        return Device("board", RPC, "127.0.0.1", self.port, secret=str(self.secret), prefix=tuple(prefix))

    @property
    def left(self) -> list[str]:
        """The files of a session."""
        return sorted(path.name for path in (self.folder / "optc-session").iterdir())


class SshServer:
    """An ssh server that lets the current user in, by a key of its own."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if program is None or not shutil.which("ssh") or not shutil.which("ssh-keygen"):
            pytest.skip("no sshd is installed")
        self._program, self.folder = program, folder
        for name in ("host", "user", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "known").write_text(f"[127.0.0.1]:{self.port} {(folder / 'host.pub').read_text()}")
        (folder / "work").mkdir()
        (folder / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {folder}/user.pub\nPasswordAuthentication no\nStrictModes no\n"
        )

    @contextlib.contextmanager
    def started(self) -> Iterator[subprocess.Popen[str]]:
        log = self.folder / "log"
        with open(log, "w") as file:
            words = [self._program, "-D", "-e", "-f", str(self.folder / "config")]
            process = subprocess.Popen(words, stderr=file, text=True, start_new_session=True)
        with ended(process):
            waited(lambda: process.poll() is not None or "listening on" in log.read_text().lower())
            if process.poll() is not None:
                pytest.skip(f"sshd does not start here: {log.read_text().strip()}")
            yield process

    def device(self, prefix: Sequence[str] = (), key: str = "user", known: str = "known") -> Device:
        options = (f"UserKnownHostsFile={self.folder / known}", "GlobalKnownHostsFile=/dev/null", "IdentityAgent=none")
        return Device(
            "board",
            SSH,
            "127.0.0.1",
            self.port,
            getpass.getuser(),
            str(self.folder / key),
            folder=str(self.folder / "work"),
            options=options,
            prefix=tuple(prefix),
        )

    @property
    def left(self) -> list[str]:
        """What lies in the device's folder."""
        return sorted(path.name for path in (self.folder / "work").iterdir())
