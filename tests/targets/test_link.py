"""Links: every figure has a source, and every mistake in a file is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from optc.errors import UsageError
from optc.targets.link import Link, available_links, link_of, load_link

FIGURES = ("uplink", "downlink", "rtt", "loss", "joules_per_bit_up", "joules_per_bit_down", "active_watts")


@pytest.mark.parametrize("name", ["wifi", "lte", "3g", "5g", "bluetooth", "ethernet"])
def test_every_figure_has_a_source(name: str) -> None:
    link = load_link(name)
    assert name in available_links() and link.name == name and link.description
    assert set(link.figures) == set(FIGURES)
    assert link_of(link.to_dict()).to_dict() == link.to_dict()


def test_what_is_sent_again_costs_time_and_energy() -> None:
    clean = Link("a", uplink=1e6, downlink=2e6, joules_per_bit_up=1e-7, active_watts=0.5)
    lossy = Link("a", uplink=1e6, downlink=2e6, joules_per_bit_up=1e-7, active_watts=0.5, loss=0.5)
    assert lossy.up_seconds(1000) == pytest.approx(2 * clean.up_seconds(1000))
    assert lossy.up_joules(1000) == pytest.approx(2 * clean.up_joules(1000))
    assert clean.up_seconds(0) == 0.0
    assert clean.up_joules(1000) == pytest.approx(8 * 1064 * 1e-7 + 0.5 * 8 * 1064 / 1e6)
    assert clean.down_seconds(1000) == pytest.approx(clean.up_seconds(1000) / 2)


def test_given_rates_replace_the_stated_ones() -> None:
    link = load_link("wifi").with_rates(uplink=5e6)
    assert (link.uplink, link.rtt) == (5e6, load_link("wifi").rtt)
    assert link.figures["uplink"] == "given"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("loss = 1.0", "'loss' of the link must be a number of at least 0, below 1"),
        ("uplink = 0.0", "'uplink' of the link must be a number above 0"),
        ("rtt = true", "'rtt' of the link must be a number of at least 0"),
        ("speed = 1.0", "'speed' is not a key of a link file"),
    ],
)
def test_mistakes_are_named(change: str, message: str, tmp_path: Path) -> None:
    fields = {name: f"{name} = 0.5" for name in FIGURES}
    fields[change.split(" ")[0]] = change
    path = tmp_path / "lab.toml"
    path.write_text("\n".join(fields.values()))
    with pytest.raises(UsageError) as error:
        load_link(str(path))
    assert (error.value.what, error.value.where) == (message, str(path))


def test_an_unknown_link_is_refused() -> None:
    with pytest.raises(UsageError) as error:
        load_link("wify")
    assert error.value.what == "there is no link 'wify'" and error.value.hint == "did you mean 'wifi'?"
