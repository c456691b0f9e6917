"""A client and a server: right answers, whatever becomes of the server."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from split_kit import SECRET, InThread, change_model, expected, make_split, serving, start_server, values

from optc.errors import OptcError, UsageError
from optc.runtime.split import Client, Fixed, Limits, Observation, Server, State, Timing
from optc.runtime.split.client import parse_address

FAST = Timing(connect=1.0, backoff=0.01, backoff_most=0.1, ping=0.05, dead=0.3)


def client(folder: Path, address: str | None, way: str = "cut0", **options: object) -> Client:
    options = {"secret": SECRET, "timing": FAST, "threads": 1, "chooser": Fixed(way), **options}
    return Client(folder, address, **options)  # type: ignore[arg-type]


def until(condition: Callable[[], bool], patience: float = 10.0) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


@pytest.mark.parametrize(("way", "exact"), [("remote", True), ("cut0", True), ("cut1", True), ("cut2", False)])
def test_every_way_gives_the_answer(split: Path, server: InThread, way: str, exact: bool) -> None:
    with client(split, server.address, way) as device:
        assert device.connect()
        for seed in range(3):
            answer = device.run(values(seed))
            wanted = expected(values(seed)["x"])
            assert abs(answer.outputs["y"] - wanted).max() <= (0 if exact else 0.06)
            report = answer.report
            assert (report.way, report.wanted, report.reason, report.remote) == (way, way, "", True)
            assert report.seconds >= report.device_seconds + report.encode_seconds + report.exchange_seconds
            assert report.received_bytes > 4000
            assert report.sent_bytes > 4000 if way in ("remote", "cut0") else 300 < report.sent_bytes < 4000
        until(lambda: device.observer.observation.rtt_seconds is not None)
        assert device.observer.observation.queued == 0
    assert server.server.totals.answered == 3


def test_without_a_server_the_device_answers(split: Path) -> None:
    with client(split, None) as device:
        answer = device.run(values(0))
        assert np.array_equal(answer.outputs["y"], expected(values(0)["x"]))
        assert answer.report.way == "local" and answer.report.wanted == "cut0"
        assert answer.report.reason == "no server was given"
    with client(split, f"127.0.0.1:{_free_port()}") as device:
        assert not device.connect()
        report = device.run(values(0)).report
        assert report.way == "local" and report.reason == "the server cannot be reached: Connection refused"


def test_by_itself_the_client_does_what_is_predicted_to_be_fastest(split: Path, server: InThread) -> None:
    with client(split, server.address, chooser=None) as device:
        assert device.connect()
        for seed in range(10):
            answer = device.run(values(seed))
            assert abs(answer.outputs["y"] - expected(values(seed)["x"])).max() < 0.06
            assert answer.report.way == answer.report.wanted


@dataclass(frozen=True)
class Impatient(Fixed):
    """Lets the device start when an answer takes longer than so many seconds."""

    seconds: float = 0.05

    def hedge_seconds(self, name: str, observation: Observation) -> float:
        return self.seconds


def test_a_late_answer_is_not_waited_for(split: Path, secret_file: Path) -> None:
    with serving(split, secret_file=secret_file) as (port, pid):
        timing = replace(FAST, dead=5.0)
        with client(split, f"127.0.0.1:{port}", chooser=Impatient("cut0"), timeout=9.0, timing=timing) as device:
            assert device.connect() and device.run(values(0)).report.remote
            os.kill(pid, signal.SIGSTOP)
            try:
                answer = device.run(values(1))
                assert np.array_equal(answer.outputs["y"], expected(values(1)["x"]))
                assert answer.report.reason == "the answer was late"
                assert 0.05 <= answer.report.seconds < 5.0
                assert device.state is State.UP
            finally:
                os.kill(pid, signal.SIGCONT)
            until(lambda: device.run(values(2)).report.remote)


def test_wrong_inputs_are_refused(split: Path, server: InThread) -> None:
    with client(split, server.address) as device:
        with pytest.raises(UsageError, match="'x' is missing"):
            device.run({})
        with pytest.raises(UsageError, match="input 'x' has the wrong shape"):
            device.run({"x": np.zeros(3, np.float32)})
    with pytest.raises(UsageError) as caught:
        client(split, None, "cut9")
    assert str(caught.value) == (
        "no way of the split model is called 'cut9'\n  hint: did you mean 'cut2' or 'cut1' or 'cut0'?"
    )


def test_the_server_is_killed_and_comes_back(split: Path, secret_file: Path) -> None:
    process, port = start_server(split, secret_file=secret_file)
    try:
        with client(split, f"127.0.0.1:{port}") as device:
            assert device.connect() and device.run(values(0)).report.remote
            process.send_signal(signal.SIGKILL)
            process.communicate()
            for seed in range(20):
                answer = device.run(values(seed))
                assert np.array_equal(answer.outputs["y"], expected(values(seed)["x"]))
            assert not answer.report.remote
            assert device.state is State.DOWN
            with serving(split, "--port", str(port), secret_file=secret_file):
                until(lambda: device.run(values(1)).report.remote)
    finally:
        process.kill()


def test_a_silent_server_is_given_up_and_taken_back(split: Path, secret_file: Path) -> None:
    with serving(split, secret_file=secret_file) as (port, pid):
        with client(split, f"127.0.0.1:{port}", timeout=0.2) as device:
            assert device.connect() and device.run(values(0)).report.remote
            os.kill(pid, signal.SIGSTOP)
            try:
                report = device.run(values(1)).report
                assert not report.remote and report.reason.startswith("no answer within")
                began = time.monotonic()
                for seed in range(20):
                    answer = device.run(values(seed))
                    assert np.array_equal(answer.outputs["y"], expected(values(seed)["x"]))
                assert answer.report.reason
                assert time.monotonic() - began < 1.0  # at once: nobody waits twenty times
                until(lambda: device.state is State.DOWN)
            finally:
                os.kill(pid, signal.SIGCONT)
            until(lambda: device.run(values(2)).report.remote)


def test_the_server_stops_in_good_order(split: Path) -> None:
    running = InThread(Server(split, secret=SECRET, limits=Limits(workers=1, queue=1000)))
    wrong: list[int] = []
    remote = []
    with running, client(split, running.address) as device:
        assert device.connect()

        def ask(offset: int) -> None:
            for seed in range(offset, offset + 40):
                answer = device.run(values(seed))
                remote.append(answer.report.remote)
                if not np.array_equal(answer.outputs["y"], expected(values(seed)["x"])):
                    wrong.append(seed)

        threads = [threading.Thread(target=ask, args=(40 * index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: len(remote) > 20)
        running.stop()
        for thread in threads:
            thread.join()
        assert not wrong
        assert len(remote) == 160 and any(remote) and not all(remote)
        assert running.server.totals.failed == 0
        assert device.state is State.DOWN


def test_another_model_is_refused(split: Path, server: InThread, kernels: bytes, tmp_path: Path) -> None:
    other = make_split(tmp_path / "other", kernels)
    change_model(other)
    with client(other, server.address) as device:
        assert not device.connect()
        assert device.state is State.REFUSED
        mine, its = device.record.identity[:16], server.server.record.identity[:16]
        assert str(device.refusal) == (
            "the server refuses this device\n"
            f"  the server holds the split model {its}, and the client {mine}\n"
            "  hint: copy the same folder of optc split to both machines"
        )
        answer = device.run(values(0))
        assert np.array_equal(answer.outputs["y"], expected(values(0)["x"]))
        assert answer.report.reason == "the server refuses this device"
    assert server.server.totals.answered == 0


def test_where_the_device_cannot_do_everything_an_error_says_so(split: Path, kernels: bytes, tmp_path: Path) -> None:
    from optc.artifact.split_reading import read_record
    from optc.artifact.split_record import write_record

    folder = make_split(tmp_path / "build", kernels)
    record = read_record(folder)
    write_record(folder, replace(record, ways=tuple(way for way in record.ways if way.name != "local")))
    with client(folder, None) as device:
        with pytest.raises(OptcError) as caught:
            device.run(values(0))
    assert str(caught.value) == (
        f"the server does not answer: no server was given\n  at {folder}\n"
        "  the whole model was not built for the device"
    )


def test_many_devices_at_once(split: Path, server: InThread) -> None:
    wrong, remote = [], []

    def use(index: int) -> None:
        with client(split, server.address, ("remote", "cut0", "cut1")[index % 3], timeout=10.0) as device:
            device.connect()
            for seed in range(10):
                answer = device.run(values(seed))
                remote.append(answer.report.remote)  # on a loaded machine some are computed on the device in time
                if not np.array_equal(answer.outputs["y"], expected(values(seed)["x"])):
                    wrong.append((index, answer.report))

    threads = [threading.Thread(target=use, args=(index,)) for index in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(remote) == 120 and any(remote)
    assert server.server.totals.answered >= sum(remote)


@pytest.mark.parametrize("text", ["host", "host:", ":7000", "host:0", "host:65536", "host:x"])
def test_addresses_are_checked(text: str) -> None:
    assert parse_address("[::1]:7000") == ("::1", 7000)
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert str(caught.value).startswith(f"'{text}' is no address of a server\n  at --server")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
