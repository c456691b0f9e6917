"""Where predicted time goes, and what a machine in another state makes of it."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from graph_kit import Builder, matrix_product
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.costmodel.interface import Candidate, Estimate
from optc.costmodel.levels import Spent, differences, reuse_of, spent
from optc.costmodel.state import PAUSE, Rates, State, probe, usual
from optc.targets import load
from optc.targets.target import Cache

MEGABYTE = 1 << 20
TARGET = replace(load("x86-64-v3"), caches=(Cache(MEGABYTE, False, 1e11), Cache(8 * MEGABYTE, True, 5e10)))
RATES = Rates(arithmetic=1e11, inner=1e11, last=5e10, memory=1e10)
positive = st.floats(1e-6, 1.0)


def estimate(seconds: float) -> Estimate:
    return Estimate(seconds, seconds / 2, 2 * seconds, 0, 0, "roofline")


@given(positive, positive, st.integers(1, 12), st.integers(1, 4))
@settings(derandomize=True, max_examples=25, deadline=None)
def test_levels_sum_to_the_estimate(first: float, second: float, megabytes: int, threads: int) -> None:
    kernels = [matrix_product(megabytes), matrix_product(1)]
    parts = spent(kernels, [estimate(first), estimate(second)], TARGET, RATES, threads)
    assert [each.seconds for each in parts] == pytest.approx([first, second])
    assert all(value >= -1e-12 for each in parts for value in asdict(each).values())
    assert Spent.total(parts).at(State(RATES, RATES), RATES, 1.0, 1.0) == pytest.approx(first + second)


def test_what_a_cache_keeps_is_read_from_it() -> None:
    values = 4 * (1024 + 512)
    (kept,) = spent([matrix_product(2)], [estimate(1.0)], TARGET, RATES)
    assert kept.kept == pytest.approx(2 * MEGABYTE / 5e10) and kept.memory == kept.last == 0
    assert kept.inner == pytest.approx(values / 1e11)
    (lost,) = spent([matrix_product(12)], [estimate(1.0)], TARGET, RATES)
    assert lost.memory == pytest.approx(12 * MEGABYTE / 1e10) and lost.kept == 0
    assert lost.arithmetic == pytest.approx(1.0 - lost.memory - lost.inner)


def test_traffic_takes_no_more_than_the_kernel() -> None:
    (part,) = spent([matrix_product(12)], [estimate(1e-6)], TARGET, RATES)
    assert part.arithmetic == pytest.approx(0.0, abs=1e-12) and part.seconds == pytest.approx(1e-6)


def test_weights_count_as_they_are_stored() -> None:
    (part,) = spent([matrix_product(2)], [estimate(1.0)], TARGET, RATES, weights=[3 * MEGABYTE])
    assert part.kept == pytest.approx(3 * MEGABYTE / 5e10)


PARTS = Spent(arithmetic=4.0, inner=1.0, last=2.0, kept=1.0, memory=3.0, written=0.0, stored=0.0)


def state(kept: float = 1.0, own: float = 1.0, **speed: float) -> State:
    """A machine whose rates are so many times the reference's."""
    rates = replace(RATES, **{name: factor * getattr(RATES, name) for name, factor in speed.items()})
    return State(rates, rates, kept, own)


def test_slow_memory_slows_what_comes_from_it() -> None:
    assert PARTS.at(state(), RATES, 1.0, 1.0) == PARTS.seconds == 11.0
    assert PARTS.at(state(memory=0.5), RATES, 1.0, 1.0) == 14.0
    assert PARTS.at(state(arithmetic=2.0), RATES, 1.0, 1.0) == 9.0
    assert PARTS.at(state(last=0.5), RATES, 1.0, 1.0) == 14.0


def test_weights_that_others_drive_out_come_from_memory() -> None:
    gone, half = state(kept=1e-30), state(kept=0.5)
    assert PARTS.at(gone, RATES, PAUSE, 1.0) == pytest.approx(10.0 + RATES.last / RATES.memory)
    assert PARTS.at(half, RATES, PAUSE, 1.0) == pytest.approx(10.0 + 0.5 + 0.5 * RATES.last / RATES.memory)
    assert half.kept_after(2 * PAUSE) == pytest.approx(0.25)


def test_results_go_where_other_values_were_a_while_ago() -> None:
    build = Builder(x="64,1024")
    build("Neg", build.input("x"))
    (operation,) = list(build.graph)[-1:]
    candidate, size = Candidate.of_operations([operation], operation.results), 64 * 1024 * 4
    (part,) = spent([candidate], [estimate(1.0)], TARGET, RATES, arena=2 * MEGABYTE)
    assert part.written == pytest.approx(size / RATES.inner) == part.inner and part.stored == 0
    alone = part.at(state(), RATES, 1.0, 0.5)
    assert alone == pytest.approx(1.0 + size / RATES.last - size / RATES.inner)
    longer = part.at(state(kept=0.5), RATES, 2 * PAUSE, 0.5) - alone
    assert longer == pytest.approx(0.5 * size * (1 / RATES.memory - 1 / RATES.last))
    assert reuse_of([candidate, candidate], size) == 0.5 and reuse_of([candidate], 2 * size) == 1.0
    (small,) = spent([candidate], [estimate(1.0)], TARGET, RATES, arena=size)
    assert small.written == 0 and small.inner == pytest.approx(2 * size / RATES.inner)


def test_time_that_others_take_is_missing() -> None:
    assert PARTS.at(state(own=0.5), RATES, 1.0, 1.0) == 22.0


def test_what_differs_is_said() -> None:
    assert differences(state(), RATES) == "" == differences(state(memory=0.96, kept=0.96, own=0.96), RATES)
    assert differences(state(memory=0.82, arithmetic=1.06), RATES) == "arithmetic 6% faster, memory 18% slower"
    wanted = "60% of the last cache lost within 3 ms, 12% of the time taken by others"
    assert differences(state(kept=0.4, own=0.88), RATES) == wanted


def test_the_usual_rates() -> None:
    assert usual([]) is None
    assert usual([replace(RATES, memory=1.0), RATES, replace(RATES, memory=3e10)]) == RATES


def test_probes_see_this_machine() -> None:
    found = probe(load("cpu"), rounds=3)
    if found is None:
        pytest.skip("no compiler, or no caches that the system tells of")
    for fastest, typical in zip(found.fastest.values(), found.typical.values(), strict=True):
        assert fastest >= typical > 0
    assert found.typical.over(found.typical) == Rates(1.0, 1.0, 1.0, 1.0)
    assert 0 < found.kept <= 1 and 0 < found.own <= 1
    assert Rates.of_dict(found.typical.to_dict()) == found.typical


def test_nothing_is_probed_where_no_cache_is_shared() -> None:
    assert probe(replace(TARGET, caches=())) is None and probe(replace(TARGET, caches=TARGET.caches[:1])) is None
