"""Artifacts on a device with optc's server: what they compute, and what is said when it ends, hangs or refuses."""

from __future__ import annotations

import hashlib
import hmac
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from device_kit import HANG, SECRET, Server, there, waited
from native_kit import SIZE

from optc.artifact.reading import ArtifactFiles
from optc.errors import OptcError, UsageError
from optc.runtime.device import rpc
from optc.runtime.device.session import DeviceLost, Facts, open_session

W = np.arange(SIZE, dtype=np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    with made.started():
        yield made


@pytest.fixture
def own(tmp_path: Path) -> Server:
    """A server that a test may end."""
    return Server(tmp_path)


def failing(work: Callable[[], object]) -> tuple[threading.Thread, list[Exception]]:
    """Start what shall fail, and where its exception will be."""
    caught: list[Exception] = []

    def body() -> None:
        try:
            work()
        except Exception as error:
            caught.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    return thread, caught


def test_it_computes_what_the_library_does(server: Server, files: ArtifactFiles, x: np.ndarray) -> None:
    with there(files, server.device()) as artifact:
        for values in (x, 3 * x):
            outputs = artifact.run({"x": values})
            np.testing.assert_array_equal(outputs["y"], 2 * (values + W))
            np.testing.assert_array_equal(outputs["z"], W)
        assert {"inputs", "outputs", "libmodel.so", "weights.bin", "run_once"} <= set(server.left)
    waited(lambda: not server.left)


def test_it_measures(server: Server, files: ArtifactFiles, x: np.ndarray) -> None:
    with there(files, server.device()) as artifact:
        result, outputs = artifact.bench({"x": x}, 0.01, threads=2)
        facts = artifact.facts
    assert result.runs >= 5 and result.threads == 2
    assert 0 < result.min <= result.p05 <= result.median <= result.p95
    np.testing.assert_array_equal(outputs["y"], 2 * (x + W))
    assert facts == Facts(os.uname().sysname, os.uname().machine, os.sysconf("SC_NPROCESSORS_ONLN"))


def test_wrong_inputs_are_refused_before_anything_is_sent(files: ArtifactFiles, server: Server) -> None:
    with there(files, server.device()) as artifact, pytest.raises(UsageError, match="'x'"):
        artifact.run({"x": np.zeros(3, np.float32)})


def test_the_program_fails(server: Server, files: ArtifactFiles, x: np.ndarray) -> None:
    with there(files, server.device(["sh", "-c", "echo error: no such luck >&2; exit 3"])) as artifact:
        with pytest.raises(OptcError) as failure:
            artifact.run({"x": x})
    assert str(failure.value) == (
        f"the model fails on the device 'board'\n  at rpc 127.0.0.1:{server.port}\n  no such luck"
    )


def test_a_signal_ends_the_program(server: Server, files: ArtifactFiles, x: np.ndarray) -> None:
    with there(files, server.device(["sh", "-c", "kill -SEGV $$"])) as artifact:
        with pytest.raises(OptcError) as failure:
            artifact.run({"x": x})
    assert failure.value.why == "signal 11 ended it"


def test_a_prefix_that_is_not_there(server: Server, files: ArtifactFiles, x: np.ndarray) -> None:
    with there(files, server.device(["no-such-emulator"])) as artifact:
        with pytest.raises(OptcError) as failure:
            artifact.run({"x": x})
    assert failure.value.why == "no-such-emulator: No such file or directory"


def test_a_prefix_that_prints(server: Server, files: ArtifactFiles, x: np.ndarray) -> None:
    with there(files, server.device(["sh", "-c", 'echo hello; exec "$@"', "sh"])) as artifact:
        with pytest.raises(OptcError) as failure:
            artifact.bench({"x": x}, 0.01)
    assert failure.value.why == "it printed no times"


def test_a_program_that_hangs_is_stopped(server: Server, files: ArtifactFiles, x: np.ndarray) -> None:
    with there(files, server.device(HANG), timeout=0.2) as artifact:
        with pytest.raises(OptcError) as failure:
            artifact.run({"x": x})
    assert not isinstance(failure.value, DeviceLost)
    assert str(failure.value) == (
        f"the device 'board' did not finish within 0.2 s\n  at rpc 127.0.0.1:{server.port}\n"
        "  the program was stopped there\n"
        "  hint: give it longer with --timeout, or look whether something else runs there"
    )
    waited(lambda: not server.left)


def test_a_server_that_is_killed_in_the_middle(own: Server, files: ArtifactFiles, x: np.ndarray) -> None:
    with own.started() as process, there(files, own.device(HANG)) as artifact:
        thread, caught = failing(lambda: artifact.run({"x": x}))
        waited(lambda: "hangs" in own.left)
        os.killpg(process.pid, signal.SIGKILL)
        thread.join()
    (error,) = caught
    assert isinstance(error, DeviceLost)
    assert error.what == "the device 'board' was lost while running the model"
    assert error.where == f"rpc 127.0.0.1:{own.port}"
    assert error.why in ("it closed the connection", "Connection reset by peer")
    assert error.hint == "check its power and network, then: optc device check board"


def test_a_device_that_comes_back(own: Server, files: ArtifactFiles, x: np.ndarray) -> None:
    flag = own.folder / "first"
    prefix = ["sh", "-c", f'if mkdir {flag}; then touch hangs; sleep 60; fi 2>/dev/null; exec "$@"', "sh"]
    results: list[np.ndarray] = []
    with own.started() as process:
        artifact = there(files, own.device(prefix), retries=30)
        thread = threading.Thread(target=lambda: results.append(artifact.run({"x": x})["y"]))
        thread.start()
        waited(lambda: "hangs" in own.left)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    with own.started(own.port), artifact:
        thread.join()
    np.testing.assert_array_equal(results[0], 2 * (x + W))


def test_a_server_that_hangs(own: Server, files: ArtifactFiles, x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "_GRACE", -59.0)  # so the client waits a second, and the server a minute
    with own.started() as process, there(files, own.device(HANG)) as artifact:
        thread, caught = failing(lambda: artifact.run({"x": x}))
        waited(lambda: "hangs" in own.left)
        os.killpg(process.pid, signal.SIGSTOP)
        session = [int(pid) for pid in children(process.pid)]
        for pid in session:
            os.kill(pid, signal.SIGSTOP)
        thread.join()
    (error,) = caught
    assert isinstance(error, DeviceLost) and error.why == "no answer within 1 s"


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_nobody_listens(own: Server, files: ArtifactFiles, x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optc.runtime.device.artifact.PAUSE", 0.0)
    with own.started():
        pass
    with there(files, own.device(), retries=1) as artifact, pytest.raises(DeviceLost) as failure:
        artifact.run({"x": x})
    assert str(failure.value) == (
        f"the device 'board' cannot be reached\n  at rpc 127.0.0.1:{own.port}\n  Connection refused (2 attempts)\n"
        "  hint: check that it is switched on and that address and port are right"
    )


def test_another_secret(server: Server, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("another secret than that")
    with pytest.raises(OptcError) as failure:
        open_session(replace(server.device(), secret=str(tmp_path / "other")))
    assert str(failure.value) == (
        f"the device 'board' refuses the connection\n  at rpc 127.0.0.1:{server.port}\n  the secret is another one\n"
        "  hint: give both sides the same file with --secret"
    )


def test_a_secret_that_is_too_short(server: Server, tmp_path: Path) -> None:
    (tmp_path / "short").write_text("abc\n")
    with pytest.raises(OptcError) as failure:
        open_session(replace(server.device(), secret=str(tmp_path / "short")))
    assert failure.value.why == "it has 3 bytes, and at least 16 are needed"


def test_one_client_at_a_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "_LEAVING_SECONDS", 0.2)
    first = open_session(server.device())
    try:
        with pytest.raises(OptcError) as failure:
            open_session(server.device())
        assert failure.value.why == "another client is measuring there"
    finally:
        first.close()
    monkeypatch.undo()
    open_session(server.device()).close()


def test_something_else_listens(own: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        own.port = listener.getsockname()[1]

        def greet() -> None:
            connection, _ = listener.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n" + 40 * b" ")
            connection.close()

        threading.Thread(target=greet).start()
        with pytest.raises(OptcError) as failure:
            open_session(own.device())
    assert failure.value.why == "what answers there is no server of optc"


@pytest.mark.parametrize("name", ["../escape", "/etc/x", ".hidden", "", "a/b", "a\nb"])
def test_files_stay_in_the_folder(server: Server, name: str) -> None:
    session = open_session(server.device())
    try:
        with pytest.raises(OptcError) as written:
            session.put(name, b"1")
        assert written.value.why == "no name of a file"
        with pytest.raises(OptcError) as read:
            session.get(name)
        assert read.value.why == "No such file or directory"
        session.put("fine", b"2")  # the connection goes on
        assert session.get("fine") == b"2"
    finally:
        session.close()


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 3 << 20])
def test_files_come_back(server: Server, size: int, tmp_path: Path) -> None:
    content = np.random.default_rng(size).bytes(size)
    (tmp_path / "file").write_bytes(content)
    session = open_session(server.device())
    try:
        session.put("bytes", content)
        session.put("path", tmp_path / "file")
        assert session.get("bytes") == session.get("path") == content
    finally:
        session.close()


def test_what_a_program_prints(server: Server) -> None:
    session = open_session(server.device())
    try:
        done = session.run(["sh", "-c", "echo out; echo err >&2; exit 7"], 10.0)
        assert (done.code, done.output, done.errors) == (7, "out", "err")
        many = session.run(["seq", "1", "30000"], 10.0)
        assert many.output.split() == [str(i) for i in range(1, 30001)]
    finally:
        session.close()


def test_a_client_that_never_proves_itself_runs_nothing(server: Server) -> None:
    frame = struct.pack("<cQ", b"R", 7) + struct.pack("<I", 1000) + b"id\0"
    for _ in range(50):
        connection = socket.create_connection(("127.0.0.1", server.port), 5)
        greeting = connection.recv(46, socket.MSG_WAITALL)
        assert greeting.startswith(b"optc-device-1\n")
        if any(greeting[14:]):  # zeros: the session before is not gone yet
            break
        connection.close()
    with connection:
        assert any(greeting[14:])
        connection.sendall(frame)
        try:
            answer = connection.recv(1)
        except ConnectionResetError:
            answer = b""
    assert answer == b""


def test_a_proof_is_good_once(server: Server) -> None:
    """The proof of one connection is refused on the next."""

    def greeted() -> tuple[socket.socket, bytes]:
        connection = socket.create_connection(("127.0.0.1", server.port), 5)
        return connection, connection.recv(46, socket.MSG_WAITALL)

    connection, greeting = greeted()
    proof = hmac.new(SECRET.encode(), greeting, hashlib.sha256).digest()
    frame = struct.pack("<cQ", b"H", 32) + proof
    connection.sendall(frame)
    assert connection.recv(1) == b"K"
    connection.close()
    for _ in range(50):
        connection, greeting = greeted()
        connection.sendall(frame)
        answer = connection.recv(1)
        connection.close()
        if answer != b"B":  # the first one is gone
            break
    assert answer == b"E"
