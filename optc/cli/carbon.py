"""Energy and carbon of an inference, for people."""

from __future__ import annotations

import click

from optc.cli.parameters import Number

intensity_option = click.option(
    "--grid-intensity",
    type=Number(min=0),
    metavar="G/KWH",
    help="Grams of CO2-equivalents that the grid emits for a kilowatt-hour: state the carbon of an inference.",
)


def carbon(joules: float | None, intensity: float | None) -> float | None:
    """Grams of an inference; None where its energy or the grid is not known."""
    from optc.costmodel.energy import grams

    return None if joules is None or intensity is None else grams(joules, intensity)


def carbon_facts(joules: float | None, intensity: float | None) -> list[tuple[str, str]]:
    """A line on the carbon of a million inferences, if a grid's intensity was given."""
    if intensity is None:
        return []
    found = carbon(joules, intensity)
    shown = "unknown, as the energy is" if found is None else f"{1e3 * found:.3g} kg CO2e a million inferences"
    return [("carbon", f"{shown}, at {intensity:g} g/kWh" if found is not None else shown)]
