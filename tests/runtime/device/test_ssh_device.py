"""Artifacts on a device with an ssh server."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from device_kit import HANG, SshServer, there, waited
from native_kit import SIZE

from optc.artifact.reading import ArtifactFiles
from optc.errors import OptcError
from optc.runtime.device.session import DeviceLost, open_session

W = np.arange(SIZE, dtype=np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    made = SshServer(tmp_path_factory.mktemp("ssh"))
    with made.started():
        yield made


def test_it_computes_and_measures_and_leaves_nothing(server: SshServer, files: ArtifactFiles, x: np.ndarray) -> None:
    with there(files, server.device()) as artifact:
        result, outputs = artifact.bench({"x": x}, 0.01)
        np.testing.assert_array_equal(outputs["y"], 2 * (x + W))
        np.testing.assert_array_equal(artifact.run({"x": -x})["y"], 2 * (W - x))
        assert result.runs >= 5 and result.threads == 1
        assert artifact.facts.machine == os.uname().machine
        assert len(server.left) == 1
    assert server.left == []


def test_a_program_that_fails_or_hangs(server: SshServer, files: ArtifactFiles, x: np.ndarray) -> None:
    with there(files, server.device(["sh", "-c", "kill -SEGV $$"])) as artifact:
        with pytest.raises(OptcError) as failure:
            artifact.run({"x": x})
    assert failure.value.what == "the model fails on the device 'board'"
    with there(files, server.device(HANG), timeout=1.0) as artifact:
        with pytest.raises(OptcError) as late:
            artifact.run({"x": x})
    assert late.value.what == "the device 'board' did not finish within 1 s"
    assert not isinstance(late.value, DeviceLost)
    assert server.left == []


def test_files_come_back(server: SshServer, tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(1 << 20)
    (tmp_path / "it's a file").write_bytes(content)
    session = open_session(server.device())
    try:
        session.put("path", tmp_path / "it's a file")
        assert session.get("path") == content
        with pytest.raises(OptcError) as failure:
            session.get("absent")
        assert failure.value.what == "'absent' cannot be read from the device 'board'"
    finally:
        session.close()


def test_a_folder_that_is_not_there(server: SshServer) -> None:
    from dataclasses import replace

    with pytest.raises(OptcError) as failure:
        open_session(replace(server.device(), folder="/no/such/folder"))
    assert failure.value.what == "'/no/such/folder' cannot be written on the device 'board'"
    assert "/no/such/folder" in str(failure.value.why)


def test_strangers_are_told_why(server: SshServer) -> None:
    with pytest.raises(OptcError) as key:
        open_session(server.device(key="stranger"))
    assert key.value.what == "the device 'board' refuses the connection"
    assert "Permission denied" in str(key.value.why)
    assert key.value.hint == "log in once by hand, and give the key with --key"
    with pytest.raises(OptcError) as host:
        open_session(server.device(known="empty"))
    assert host.value.why == "Host key verification failed."
    assert host.value.hint == "log in once by hand to accept the device's key"


def test_a_server_that_is_killed_in_the_middle(files: ArtifactFiles, x: np.ndarray, tmp_path: Path) -> None:
    server = SshServer(tmp_path)
    caught: list[Exception] = []
    with server.started() as process, there(files, server.device(HANG)) as artifact:

        def body() -> None:
            try:
                artifact.run({"x": x})
            except Exception as error:
                caught.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        waited(lambda: list((tmp_path / "work").glob("*/hangs")))
        _kill_all(process.pid)
        thread.join()
    (error,) = caught
    assert isinstance(error, DeviceLost)
    assert error.what == "the device 'board' was lost while running the model"
    assert error.hint == "check its power and network, then: optc device check board"


def _kill_all(pid: int) -> None:
    """A process and all its descendants, as when the power goes."""
    found = [pid]
    for each in found:
        try:
            found += [int(child) for child in Path(f"/proc/{each}/task/{each}/children").read_text().split()]
        except OSError:
            continue
    for each in found:
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            continue
