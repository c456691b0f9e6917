"""Transfers over traces, against integrating the rate in small steps; and what is wrong with a file is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.driver.split.traces import read_trace, trace_of
from optc.errors import OptcError

rates = st.lists(st.integers(min_value=0, max_value=20), min_size=2, max_size=8).filter(any)


@given(rates, st.floats(0, 30), st.integers(1, 10**7))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_a_transfer_ends_when_its_bytes_have_passed(mbps: list[int], start: float, size: int) -> None:
    trace = trace_of("t", range(len(mbps)), mbps)
    end = trace.transfer_end(start, size)
    step = 1e-3
    moments = np.arange(start, end, step)
    index = np.floor(moments % len(mbps)).astype(int)
    passed = float(np.sum(np.asarray(mbps)[index]) * 1e6 / 8 * step)
    assert end > start
    assert passed == pytest.approx(size, rel=0.02, abs=20e6 / 8 * 4 * step)


def test_an_outage_is_waited_for() -> None:
    trace = trace_of("t", [0, 1, 2], [8, 0, 8])
    assert trace.transfer_end(0.5, 1_000_000) == pytest.approx(2.5)
    assert trace.transfer_end(1.2, 0) == 1.2
    assert (trace.rate_at(0.5), trace.rate_at(1.5), trace.rate_at(5.5)) == (1e6, 0, 1e6)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "drive.csv"
    path.write_text("seconds,mbps,rtt\n0,8,20\n1,16,30\n")
    trace = read_trace(path)
    assert (trace.name, trace.seconds, trace.mean_rate) == ("drive", 2.0, 1.5e6)
    assert trace.rtt_at(1.5) == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,1\n1,x\n", "the trace cannot be read\n  at {path}:2\n  a cell is no number"),
        ("0\n1\n", "the trace cannot be read\n  at {path}:1\n  2 or 3 columns are due in all lines: seconds, Mbit/s, "
         "milliseconds of RTT"),
        ("0,1\n0,2\n", "the trace cannot be used\n  at {path}\n  the seconds do not increase"),
        ("0,0\n1,0\n", "the trace cannot be used\n  at {path}\n  nothing can be sent in it"),
        ("0,1\n1,-2\n", "the trace cannot be used\n  at {path}\n  a rate is negative or no number"),
        ("", "the trace cannot be used\n  at {path}\n  0 samples are no trace"),
    ],
)  # fmt: skip
def test_mistakes_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "drive.csv"
    path.write_text(text)
    with pytest.raises(OptcError) as error:
        read_trace(path)
    assert str(error.value) == message.format(path=path)
