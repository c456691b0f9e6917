"""What `optc quantize` says of a search for mixed precision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from optc.cli.failures import render
from optc.cli.output import emit_facts, emit_json, size_text
from optc.errors import LimitError

if TYPE_CHECKING:
    from optc.driver.quantization.mixed import Mixture, Point, PrecisionSearch
    from optc.driver.quantization.quantize import Quantizer


def conclude(
    model: str,
    output: Path | None,
    count: int | None,
    quantizer: Quantizer,
    search: PrecisionSearch,
    mixture: Mixture,
    as_json: bool,
) -> int:
    """Print what was chosen and why; the exit code.

    Args:
        model: the user's name of it.
        output: where the model was written.
        count: its bytes.
        quantizer: of the model.
        search: over its precisions.
        mixture: that was chosen.
        as_json: as one JSON object.
    """
    from optc.passes.quantization.prices import UNITS

    _, factor = UNITS[search.objective]
    point, start = mixture.point, search.problem.cost(search.in_float)
    if as_json:
        emit_json(
            {
                "output": None if output is None else str(output),
                "bytes": count,
                "objective": search.objective,
                "bound": mixture.bound,
                "met": mixture.met,
                "float_cost": start * factor,
                **search.record(point, mixture.drop),
                "layers": {
                    name: {"format": scheme, "reason": mixture.reasons[name]} for name, scheme in point.schemes.items()
                },
                "assumed": mixture.assumed,
                "tried": [search.record(each, drop) for each, drop in mixture.tried],
                "constant": quantizer.calibration.constant,
                "samples": quantizer.calibration.samples,
            }
        )
    else:
        facts = [] if output is None or count is None else [("model", f"{output}, {size_text(count)}")]
        facts += facts_of(search, mixture)
        facts += [("in float", f"{name}: {reason}") for name, reason in mixture.kept.items()]
        facts += [("constant", name) for name in quantizer.calibration.constant]
        emit_facts(facts)
    if mixture.met:
        return 0
    best = f"{point.measured_snr:.1f} dB" if mixture.drop is None else f"at most {100 * mixture.drop.bound:.2f} points"
    error = LimitError(
        "the bound cannot be met",
        where=model,
        why=f"{mixture.bound} was asked; the most exact with a quantized layer has {best}"
        + ("" if output is None else "; it was written"),
        hint="another --format, more calibration data, or more labelled samples",
    )
    click.echo(render(error), err=True)
    return error.exit_code


def facts_of(search: PrecisionSearch, mixture: Mixture) -> list[tuple[str, str]]:
    """What was chosen as (name, value)."""
    from optc.passes.quantization.prices import UNITS

    unit, factor = UNITS[search.objective]
    point, start = mixture.point, search.problem.cost(search.in_float)
    counts = ", ".join(f"{number} in {scheme}" for scheme, number in point.counts.items())
    facts = [
        ("layers", counts),
        (search.objective, f"{point.cost * factor:.4g} {unit} predicted, {start * factor:.4g} {unit} in float"),
        ("noise", f"{point.measured_snr:.1f} dB measured, {point.predicted_snr:.1f} dB predicted"),
    ]
    if mixture.drop is not None:
        facts += [("accuracy lost", mixture.drop.text), ("assumed", mixture.assumed)]
    return facts


def report_page(name: str, search: PrecisionSearch, front: Sequence[Point], mixture: Mixture) -> str:
    """The HTML page of a search."""
    from optc.passes.quantization.prices import UNITS
    from optc.report.pareto import FrontPoint, quantization_page

    unit, factor = UNITS[search.objective]
    points = [
        FrontPoint(
            point.cost * factor,
            point.measured_snr,
            point.predicted_snr,
            point.counts,
            point.schemes == mixture.point.schemes,
        )
        for point in front
    ]
    layers = [(layer, scheme, mixture.reasons[layer]) for layer, scheme in mixture.point.schemes.items()]
    return quantization_page(name, search.objective, unit, facts_of(search, mixture), points, layers)
