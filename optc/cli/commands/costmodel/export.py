"""`optc costmodel export`: a predictor as an ONNX model, for programs that do not run Python."""

from __future__ import annotations

from pathlib import Path

import click

from optc.cli.files import write_whole
from optc.cli.output import emit_json
from optc.cli.parameters import common
from optc.errors import UsageError


@click.command("export")
@click.argument("name")
@click.option("--target", help="A device, as the predictor names it (default: its only one).")
@click.option("--part", default="", help="Which of the predictor's models, where it has several.")
@click.option(
    "-o", "output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The ONNX file to write."
)
@common
def command(name: str, target: str | None, part: str, output: Path, as_json: bool) -> None:
    """Write the predictor NAME (see `optc costmodel list`) as an ONNX model.

    Its input `features` is a table of the columns that the model's metadata names; where there is an input `scale`, the
    output `latency` is a multiple of it. It computes what `predict` computes, without the interval.
    """
    from optc.costmodel import kinds, predictors

    known = {card.name: card for card in reversed(predictors.cards())}
    if name not in known:
        raise UsageError(f"no predictor is called '{name}'", hint=f"one of {', '.join(known)}")
    card = known[name]
    export = getattr(kinds.load(card.kind), "export", None)
    if export is None:
        raise UsageError(f"predictors of the kind '{card.kind}' do not become ONNX models", where=name)
    if target is None and len(card.targets) > 1:
        raise UsageError(f"'{name}' predicts for {len(card.targets)} targets", where="--target",
                         hint=f"one of {', '.join(card.targets[:40])}")  # fmt: skip
    chosen = target or card.targets[0]
    if chosen not in card.targets:
        raise UsageError(f"'{name}' does not predict for '{chosen}'", where="--target",
                         hint=f"one of {', '.join(card.targets[:40])}")  # fmt: skip
    content = export(card, chosen, part).SerializeToString()
    write_whole(output, content, "the ONNX model")
    if as_json:
        emit_json({"file": output, "bytes": len(content)})
        return
    click.echo(f"written to {output}")
