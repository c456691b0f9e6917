"""What a device believes of link and server, from exchanges whose truth is known."""

from __future__ import annotations

import pytest

from optc.runtime.split.messages import Statistics
from optc.runtime.split.observation import Observer


def link(rtt: float = 0.02) -> Observer:
    observer = Observer()
    observer.connection(True)
    observer.ping(rtt)
    return observer


def test_nothing_is_believed_before_it_is_measured() -> None:
    now = Observer().observation
    assert not now.connected
    assert (now.bytes_per_second, now.rtt_seconds, now.queued, now.device_factor, now.age_seconds) == (None,) * 5


@pytest.mark.parametrize("rate", [1e4, 1e6, 1e7])
def test_the_rate_is_what_moves_bytes(rate: float) -> None:
    observer = link()
    for size in (50_000, 100_000, 200_000):
        observer.transfer(size, 0.02 + size / rate)
    assert observer.observation.bytes_per_second == pytest.approx(rate)
    assert observer.observation.age_seconds is not None


def test_a_change_of_the_rate_is_followed() -> None:
    observer = link()
    for rate in [1e6] * 5 + [1e5] * 15:
        observer.transfer(100_000, 0.02 + 100_000 / rate)
    assert observer.observation.bytes_per_second == pytest.approx(1e5, rel=0.01)


def test_what_is_too_short_to_tell_only_raises_the_estimate() -> None:
    observer = link()
    observer.transfer(100_000, 1.02)  # 100 kB/s
    for _ in range(20):
        observer.transfer(4_000, 0.0205)  # at least 2 MB/s
    raised = observer.observation.bytes_per_second
    assert raised is not None and 1.5e6 < raised <= 2e6
    observer.transfer(100, 0.0201)  # at least 50 kB/s, which is known
    assert observer.observation.bytes_per_second == raised


def test_pings_beside_requests_do_not_lengthen_the_way() -> None:
    observer = link(0.02)
    observer.ping(0.5, alone=False)
    assert observer.observation.rtt_seconds == 0.02
    observer.ping(0.01, alone=False)
    assert observer.observation.rtt_seconds == pytest.approx(0.015)
    for _ in range(8):
        observer.ping(0.03)
    assert observer.observation.rtt_seconds == 0.03
    observer.connection(False)
    observer.connection(True)
    observer.ping(0.2)
    assert observer.observation.rtt_seconds == 0.2


def test_a_computing_device_does_not_blame_the_link() -> None:
    observer = link()
    observer.transfer(100_000, 1.02)
    with observer.computing(), observer.computing():
        assert not observer.idle
    assert observer.idle
    observer.transfer(100_000, 9.0, alone=False)
    assert observer.observation.bytes_per_second == pytest.approx(1e5)
    observer.transfer(100_000, 0.12, alone=False)
    raised = observer.observation.bytes_per_second
    assert raised is not None and raised > 1e5


def test_the_load_of_server_and_device_is_averaged() -> None:
    observer = link()
    for _ in range(40):
        observer.reply(Statistics(queued=3, batch=1, waited_us=5_000, service_us=2_000))
        observer.device(0.3, predicted=0.1)
    observer.device(1.0, predicted=0.0)
    now = observer.observation
    assert now.queued == 3
    assert now.server_wait_seconds == pytest.approx(0.005) and now.server_seconds == pytest.approx(0.002)
    assert now.device_factor == pytest.approx(3.0)


def test_a_device_whose_requests_follow_each_other_is_busy() -> None:
    observer = Observer()
    observer.request(10.0)
    assert observer.observation.busy == 0.0  # nobody knows how long it was idle before
    for _ in range(20):
        observer.request(10.0)
    assert observer.observation.busy > 0.95
    for _ in range(20):
        observer.request(0.0)
    assert observer.observation.busy < 0.05
