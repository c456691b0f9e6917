"""A device that is reached by the system's ssh; it needs a POSIX shell and nothing else."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optc.errors import OptcError
from optc.processes import die_with_parent
from optc.runtime.device.description import Device
from optc.runtime.device.session import Facts, Finished, lost, not_read, not_written, refused, too_long, unreachable

_CONNECT_SECONDS = 10
_ALIVE_SECONDS = 5  # between questions whether the device is still there; three without an answer end the connection
_SHORT = 20.0  # seconds for a command that has nothing to compute
_LONGEST_FETCH = 600.0
_SLOWEST_LINK = 100e3  # bytes/s, below which a transfer is given up
_FAILED = 255  # ssh's own exit code
_STALE_MINUTES = 24 * 60
_PREFIX = "optc-run-"
_RUNNING = "running the model"

_REFUSALS = {
    "Permission denied": "log in once by hand, and give the key with --key",
    "Host key verification failed": "log in once by hand to accept the device's key",
    "REMOTE HOST IDENTIFICATION HAS CHANGED": "remove the old key with ssh-keygen -R, if you trust the device",
    "Too many authentication failures": "give the key with --key",
}


class SshSession:
    """One connection (ssh's ControlMaster) that all commands of a measurement share.

    Files go through `cat`: small systems have an ssh server without sftp.
    """

    def __init__(self, device: Device) -> None:
        """Connect. Raises DeviceLost, OptcError."""
        self._device = device
        self._folder = ""
        if not shutil.which("ssh"):
            raise OptcError("ssh is not installed", where=device.place, hint="install the OpenSSH client")
        self._local = tempfile.TemporaryDirectory(prefix="optc-ssh-", dir=_short_folder())
        self._master: subprocess.Popen[bytes] | None = None
        try:
            self._connect()
            self.facts = self._open_folder()
        except BaseException:
            self.close()
            raise

    def put(self, name: str, content: bytes | Path, *, executable: bool = False) -> None:
        path = shlex.quote(f"{self._folder}/{name}")
        script = f"cat > {path}" + (f" && chmod 755 {path}" if executable else "")
        doing = f"sending '{name}'"
        if isinstance(content, Path):
            with open(content, "rb") as file:
                done = self._shell(script, doing, _transfer(content.stat().st_size), stdin=file)
        else:
            done = self._shell(script, doing, _transfer(len(content)), content=content)
        if done.returncode != 0:
            raise not_written(self._device, name, _last_line(done))

    def get(self, name: str) -> bytes:
        path = shlex.quote(f"{self._folder}/{name}")
        # The size comes first: half a file must not pass for a whole one.
        done = self._shell(f"wc -c < {path} && cat {path}", f"fetching '{name}'", _LONGEST_FETCH)
        size, newline, content = done.stdout.partition(b"\n")
        if done.returncode != 0 or not newline or int(size) != len(content):
            raise not_read(self._device, name, _last_line(done))
        return content

    def run(self, words: Sequence[str], seconds: float) -> Finished:
        pid = shlex.quote(f"{self._folder}/pid")
        # As a child of the shell: a signal that ends it is then an exit code, and not a failure of ssh.
        script = f"cd {shlex.quote(self._folder)} && {{ {shlex.join(words)} & echo $! > {pid}; wait $!; }}"
        try:
            done = self._shell(script, _RUNNING, seconds)
        except subprocess.TimeoutExpired as fault:
            self._shell(f"kill -9 $(cat {pid})", _RUNNING, _SHORT)
            raise too_long(self._device, seconds) from fault
        return Finished(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def close(self) -> None:
        with contextlib.suppress(OptcError, OSError, subprocess.SubprocessError):
            if self._folder:
                self._shell(f"rm -rf {shlex.quote(self._folder)}", "leaving it", _SHORT)
        self._folder = ""
        if self._master is not None:
            self._master.terminate()
            self._master.wait()
            self._master = None
        self._local.cleanup()

    def _words(self) -> list[str]:
        device, socket = self._device, f"{self._local.name}/c"
        options = ["BatchMode=yes", f"ConnectTimeout={_CONNECT_SECONDS}", f"ControlPath={socket}"]
        options += [f"ServerAliveInterval={_ALIVE_SECONDS}", "ServerAliveCountMax=3", "LogLevel=ERROR"]
        options += ["ForwardAgent=no", "ForwardX11=no", "RequestTTY=no", *device.options]
        words = ["ssh", *(part for option in options for part in ("-o", option))]
        words += ["-p", str(device.port)] if device.port else []
        words += ["-l", device.user] if device.user else []
        words += ["-i", device.key, "-o", "IdentitiesOnly=yes"] if device.key else []
        return words

    def _connect(self) -> None:
        """Start the master, which ends with this process's session, and wait until it is connected."""
        command = [*self._words(), "-o", "ControlMaster=yes", "-o", "ControlPersist=no", "-N", "--", self._device.host]
        log = Path(self._local.name) / "log"
        with open(log, "wb") as file:
            self._master = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,  # an interrupt from the keyboard leaves it to `close`
                preexec_fn=functools.partial(die_with_parent, os.getpid()),
            )
        socket = Path(self._local.name) / "c"
        end = time.monotonic() + 2 * _CONNECT_SECONDS
        while not socket.exists():
            if self._master.poll() is not None:
                raise self._not_connected(log.read_text(errors="replace").strip())
            if time.monotonic() > end:
                raise unreachable(self._device, f"no answer within {2 * _CONNECT_SECONDS} s")
            time.sleep(0.02)

    def _not_connected(self, said: str) -> OptcError:
        lines = said.splitlines()
        for sign, hint in _REFUSALS.items():
            if found := next((line for line in lines if sign in line), None):
                return refused(self._device, found.strip(), hint)
        return unreachable(self._device, lines[-1].strip() if lines else "ssh gave no message")

    def _open_folder(self) -> Facts:
        base = shlex.quote(self._device.folder)
        stale = f"find {base} -maxdepth 1 -name '{_PREFIX}*' -mmin +{_STALE_MINUTES} -exec rm -rf {{}} + 2>/dev/null"
        cpus = "{ nproc || getconf _NPROCESSORS_ONLN || echo 1; } 2>/dev/null"
        script = f"{stale}; cd {base} && mktemp -d {_PREFIX}XXXXXX && uname -s && uname -m && {cpus}"
        done = self._shell(script, "making a folder", _SHORT)
        lines = done.stdout.decode(errors="replace").split()
        if lines and lines[0].startswith(_PREFIX):
            self._folder = f"{self._device.folder.rstrip('/')}/{lines[0]}"
        if done.returncode != 0 or len(lines) != 4 or not lines[3].isdigit():
            raise not_written(self._device, self._device.folder, _last_line(done))
        return Facts(lines[1], lines[2], int(lines[3]))

    def _shell(
        self, script: str, doing: str, seconds: float, content: bytes | None = None, stdin: object = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a script of a POSIX shell there; DeviceLost when the connection ends, or a transfer takes too long."""
        command = [*self._words(), "-o", "ControlMaster=no", "--", self._device.host, _script_words(script)]
        given: dict[str, Any] = {"input": content} if content is not None else {"stdin": stdin or subprocess.DEVNULL}
        try:
            done = subprocess.run(command, capture_output=True, timeout=seconds, check=False, **given)
        except subprocess.TimeoutExpired as fault:
            if doing == _RUNNING:
                raise
            raise lost(self._device, doing, f"no answer within {seconds:.0f} s") from fault
        if done.returncode == _FAILED:
            raise lost(self._device, doing, _last_line(done))
        return done


def _short_folder() -> str | None:
    """Where sockets go: their paths may have about a hundred characters."""
    return None if len(tempfile.gettempdir()) < 60 else "/tmp"


def _script_words(script: str) -> str:
    """A command line for whatever shell the user has there."""
    return f"exec sh -c {shlex.quote(script)}"


def _transfer(size: int) -> float:
    return _SHORT + size / _SLOWEST_LINK


def _last_line(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit code {done.returncode}"
