"""A device and a server in two network namespaces: a link with rate, delay and loss that is cut and comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from split_kit import SECRET, expected, serving, values

from benchmarks.emulated_link import ADDRESS, EmulatedLink, Shape, obstacle
from optc.runtime.split import Client, Fixed, Timing

FAST = Timing(connect=0.5, backoff=0.02, backoff_most=0.2, ping=0.1, dead=0.3)
GOOD = Shape(up=8e6, down=8e6, delay=0.01)


@pytest.fixture(scope="module")
def link() -> Iterator[EmulatedLink]:
    if reason := obstacle():
        pytest.skip(reason)
    with EmulatedLink(GOOD) as link:
        yield link


def on_device(link: EmulatedLink, work: Callable[[], Any]) -> Any:
    """What `work` returns in a thread, and with threads, that are in the device's namespace."""
    results: list[Any] = []

    def enter() -> None:
        link.enter("device")
        results.append(work())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return results[0]


def test_a_shaped_link_that_is_cut(link: EmulatedLink, split: Path, secret_file: Path) -> None:
    link.shape(GOOD)
    inside = link.inside("server")
    with serving(split, "--host", ADDRESS["server"], secret_file=secret_file, prefix=inside) as (port, _):

        def work() -> None:
            address = f"{ADDRESS['server']}:{port}"
            with Client(
                split, address, secret=SECRET, chooser=Fixed("cut0"), timeout=0.4, threads=1, timing=FAST
            ) as device:
                assert device.connect()
                for seed in range(8):
                    ask(device, seed)
                assert ask(device, 9).remote
                seen = device.observer.observation
                # 2 × 10 ms, and 8 Mbit/s in either direction
                assert seen.rtt_seconds is not None and seen.rtt_seconds >= 0.02
                assert seen.bytes_per_second is not None and seen.bytes_per_second < 2.5e6
                link.shape(Shape(cut=True))
                assert not ask(device, 10).remote
                began = time.monotonic()
                assert not any(ask(device, seed).remote for seed in range(20))
                assert time.monotonic() - began < 1.0
                link.shape(Shape(up=8e6, down=8e6, delay=0.01, loss=0.02))
                end = time.monotonic() + 15
                while not ask(device, 11).remote:
                    assert time.monotonic() < end
                    time.sleep(0.01)

        on_device(link, work)


def test_a_long_request_on_a_slow_link_is_not_given_up(link: EmulatedLink, split: Path, secret_file: Path) -> None:
    """4 kB at 24 kbit/s take longer than the patience with pings, which wait behind them."""
    link.shape(GOOD)
    inside = link.inside("server")
    with serving(split, "--host", ADDRESS["server"], secret_file=secret_file, prefix=inside) as (port, _):

        def work() -> None:
            address = f"{ADDRESS['server']}:{port}"
            with Client(split, address, secret=SECRET, chooser=Fixed("remote"), timeout=10.0, timing=FAST) as device:
                assert device.connect()
                link.shape(Shape(up=24e3, down=8e6, delay=0.01))
                report = ask(device, 0)
                assert report.remote and report.exchange_seconds > 1.0

        on_device(link, work)


def ask(device: Client, seed: int) -> Any:
    answer = device.run(values(seed))
    assert np.array_equal(answer.outputs["y"], expected(values(seed)["x"]))
    return answer.report
