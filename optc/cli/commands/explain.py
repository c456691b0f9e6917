"""`optc explain`: what became of a model, why, and what to try next; of all of it, or of one value or operation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from optc.cli.output import emit_facts, emit_json, emit_table
from optc.cli.parameters import common
from optc.cli.reporting import measured_profile, read_explanation, write_report

if TYPE_CHECKING:
    from optc.report.explanation import Explanation

_LABEL_WIDTH = 40  # characters
_PATH = click.Path(path_type=Path, dir_okay=False)


@click.command("explain")
@click.argument("artifact")
@click.argument("name", required=False)
@click.option("--html", type=_PATH, help="Write the whole report as one page that needs nothing else (.html).")
@click.option("--measure", is_flag=True, help="Run the artifact here, and put measured times beside the predicted.")
@click.option(
    "--order",
    type=click.Choice(["source", "time"]),
    default="source",
    show_default=True,
    help="Of the kernels: as they run, or the slowest first.",
)
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Show N kernels (default: all).")
@common
def command(
    artifact: str, name: str | None, html: Path | None, measure: bool, order: str, top: int | None, as_json: bool
) -> None:
    """Explain ARTIFACT: each kernel, what it was chosen over and why, what fell back, and what to try next.

    With NAME, a node or value of the model or a kernel's number (#3): where it went, with what it was fused, why not
    with its neighbours, its layout and precision, and where it lies in memory.

    Times are marked: predicted by the cost model, or measured. The runner-up and the reason of a choice speak of the
    kernel alone on one core with cold weights; "in a run" is its time among the others, and needs --measure.
    """
    explained = read_explanation(artifact, measured_profile(artifact) if measure else None)
    if html is not None:
        write_report(html, explained)
    if name is not None:
        from optc.report.subject import subject

        found = subject(explained, name)
        if as_json:
            emit_json(found.to_dict())
        else:
            emit_facts(found.facts)
        return
    if as_json:
        emit_json({**_record(explained), "report": html})
        return
    _show(explained, order, top)
    if html is not None:
        click.echo(f"\nwritten to {html}")


def _show(explained: Explanation, order: str, top: int | None) -> None:
    from optc.report.listing import HEADER, LABEL_COLUMN, RIGHT_COLUMNS, facts, fallen_back, plan_rows
    from optc.report.suggestions import suggestions
    from optc.report.table import shorten

    emit_facts(facts(explained))
    click.echo()
    table = plan_rows(explained, order)
    for row in table:
        row[LABEL_COLUMN] = shorten(row[LABEL_COLUMN], _LABEL_WIDTH)
    empty = {column for column in range(len(HEADER)) if not any(row[column] for row in table)}
    kept = [column for column in range(len(HEADER)) if column not in empty]
    emit_table(
        [HEADER[column] for column in kept],
        [[row[column] for column in kept] for row in table[:top]],
        right=[kept.index(column) for column in RIGHT_COLUMNS if column in kept],
    )
    if found := fallen_back(explained):
        click.echo()
        emit_facts([(f"in {where}", text) for where, text, _ in found])
    if tries := suggestions(explained):
        click.echo()
        lines = [f"{each.try_}\n{each.effect}\n{each.gain or 'worth: only a measurement can tell'}" for each in tries]
        emit_facts([("try next", line) for line in lines])


def _record(explained: Explanation) -> dict[str, Any]:
    """Everything as plain data; each time is under a key that says what it is."""
    from optc.report.suggestions import suggestions

    return {
        "name": explained.name,
        "target": explained.target,
        "threads": explained.threads,
        "predicted_seconds": explained.predicted,
        "measured_seconds": explained.measured,
        "steps": [
            {
                "index": step.index,
                "nodes": list(step.nodes),
                "operations": step.operations,
                "template": step.template,
                "precision": step.precision,
                "chosen": None if step.chosen is None else vars(step.chosen),
                "runner_up": None if step.runner_up is None else vars(step.runner_up),
                "why": step.why,
                "predicted_seconds": step.predicted,
                "measured_seconds": step.measured,
                "flops": step.flops,
                "bytes": step.bytes,
            }
            for step in explained.steps
        ],
        "fallbacks": [{"nodes": list(step.nodes), "why": step.why} for step in explained.regions],
        "precision": explained.precision,
        "suggestions": [
            {"try": each.try_, "effect": each.effect, "gain": each.gain or None, "gain_seconds": each.seconds}
            for each in suggestions(explained)
        ],
    }
