"""`optc costmodel predict`: latency of a model, of one architecture, or of the architectures of a CSV file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from optc.cli.carbon import carbon, carbon_facts, intensity_option
from optc.cli.output import emit_facts, emit_json, emit_table, seconds_text, size_text
from optc.cli.parameters import common, dim_option, shape_option, unique
from optc.errors import UsageError

if TYPE_CHECKING:
    from optc.costmodel.kinds import Prediction
    from optc.costmodel.predictors import Card

_file = click.Path(path_type=Path, dir_okay=False)


@click.command("predict")
@click.argument("model", required=False)
@click.option("--target", required=True, help="A target, or a device as the data set names it.")
@click.option(
    "--arch-csv",
    type=click.Path(path_type=Path),
    help="Predict the architectures of this CSV file, one a row; for cpu_kernels the kernels of a store.",
)
@click.option("--set", "data_set", help="The data set that names the architectures and the device.")
@click.option(
    "--format", "encoding", help="MODEL is an architecture in this encoding: nb201, fbnet, ofa, hat, anb or ncnn-param."
)
@click.option("-o", "output", type=_file, help="Write the rows to this CSV file.")
@shape_option
@dim_option
@intensity_option
@common
def command(
    model: str | None,
    target: str,
    arch_csv: Path | None,
    data_set: str | None,
    encoding: str | None,
    output: Path | None,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    dims: tuple[tuple[str, int], ...],
    grid_intensity: float | None,
    as_json: bool,
) -> None:
    """Predict latency, with an interval that holds nine measurements in ten.

    MODEL is an ONNX file or IR text; with --format, an architecture as the papers write it. --arch-csv instead reads
    the architectures of a data set by its id column, or by the columns that describe them.
    """
    if (model is None) == (arch_csv is None):
        raise UsageError("give a model or --arch-csv, one of the two")
    if arch_csv is not None:
        _table(arch_csv, data_set, target, output, as_json)
    elif encoding == "ncnn-param":
        _graph(str(model), data_set, target, as_json)
    elif encoding is not None:
        _architecture(str(model), encoding, data_set, target, as_json)
    else:
        _model(str(model), target, unique(shapes, "--shape"), unique(dims, "--dim"), grid_intensity, as_json)


def _table(path: Path, data_set: str | None, target: str, output: Path | None, as_json: bool) -> None:
    from optc.cli.commands.costmodel.files import read_rows, write_rows
    from optc.costmodel import kinds, predictors
    from optc.costmodel.datasets import dataset

    card = _described(target, data_set) or predictors.find(target, data_set)
    table = read_rows(card, path)
    source = dataset.load(card.data_set)
    prediction = kinds.load(card.kind).predict(card, target, table)
    names = table.columns.get(source.id_column) or [str(number) for number in range(table.rows)]
    value = "latency_ms" if source.unit == "ms" else source.unit
    if target in card.details.get("rates", ()):
        value = "per_second"
    columns = (prediction.value, prediction.low, prediction.high)
    rows = [[name, *(f"{column[row]:.6g}" for column in columns)] for row, name in enumerate(names)]
    header = [source.id_column, value, "p05", "p95"]
    unknown = int((~prediction.known).sum())
    if output is not None:
        write_rows(output, header, rows)
    if as_json:
        listed = None if output else [dict(zip(header, row, strict=True)) for row in rows]
        emit_json(
            {"target": target, "set": card.data_set, "rows": len(rows), "unknown": unknown, "predictions": listed}
        )
    elif output is None:
        emit_table(header, rows, right=(1, 2, 3))
    if unknown:
        click.echo(f"optc: {unknown} of {len(rows)} rows are unlike what the predictor was trained on", err=True)


def _described(target: str, data_set: str | None) -> Card | None:
    """The predictor that takes a target as a file with its figures, where `target` is such a file."""
    from optc.costmodel import kinds, predictors

    for card in predictors.cards():
        accepts = (
            getattr(kinds.load(card.kind), "accepts", None) if (data_set or card.data_set) == card.data_set else None
        )
        if accepts is not None and target not in card.targets and accepts(card, target):
            return card
    return None


def _graph(path: str, data_set: str | None, target: str, as_json: bool) -> None:
    from optc.costmodel import predictors
    from optc.costmodel.networks import kind

    card = predictors.find(target, data_set, kind.KIND)
    prediction = kind.predict_network(card, target, kind.read_graph(path))
    _emit_one(target, prediction, f"learned: {card.rows[target]} measurements of {card.data_set}", as_json)


def _architecture(text: str, encoding: str, data_set: str | None, target: str, as_json: bool) -> None:
    import numpy as np

    from optc.costmodel.architectures import kind
    from optc.costmodel.architectures.space import load_space

    space = load_space(encoding)
    code = np.array([space.parse(text)], dtype=np.int64)
    card = kind.find(target, space, data_set)
    prediction = kind.predict_codes(card, target, code)
    _emit_one(target, prediction, f"learned: {card.rows[target]} architectures of {card.data_set}", as_json)


def _emit_one(target: str, prediction: Prediction, basis: str, as_json: bool) -> None:
    value, low, high = (float(column[0]) for column in (prediction.value, prediction.low, prediction.high))
    known = bool(prediction.known[0])
    if as_json:
        content = {"target": target, "latency_ms": value, "p05": low, "p95": high, "energy_mJ": None}
        emit_json({**content, "peak_bytes": None, "basis": basis, "confidence": "known" if known else "unknown"})
        return
    note = "" if known else "  (unlike what the predictor was trained on)"
    emit_facts([("latency", f"{value:.4g} ms, {low:.4g} … {high:.4g}{note}"), ("basis", basis)])


def _model(
    path: str, target: str, shapes: dict[str, Any], dims: dict[str, int], intensity: float | None, as_json: bool
) -> None:
    from optc.cli.modules import read_module
    from optc.costmodel.state import probe
    from optc.driver.prediction import predict_model
    from optc.targets import load
    from optc.targets.library import HOST

    module = read_module(path, shapes, dims)
    found = predict_model(module, target, state=probe(load(HOST)) if target == HOST else None)
    if as_json:
        emit_json({**found.to_dict(), "carbon_g": carbon(found.joules, intensity)})
        return
    rows = [
        [row.name, seconds_text(row.seconds), seconds_text(row.low), seconds_text(row.high), row.basis]
        for row in sorted(found.kernels, key=lambda row: -row.seconds)[:20]
    ]
    emit_table(["kernel", "predicted", "p05", "p95", "basis"], rows, right=(1, 2, 3))
    click.echo()
    facts = [("latency", f"{seconds_text(found.seconds)}, {seconds_text(found.low)} … {seconds_text(found.high)}")]
    energy = "unknown: the target file has no energy figures"
    if found.joules is not None:
        energy = f"{1e3 * found.joules:.3g} mJ ({found.energy_basis})"
    if found.state and found.collected_seconds is not None:
        state = f"{found.state}, against when kernels were measured ({seconds_text(found.collected_seconds)})"
        facts.append(("machine", state))
    facts += [("energy", energy), *carbon_facts(found.joules, intensity)]
    emit_facts([*facts, ("peak memory", size_text(found.peak_bytes)), ("basis", found.basis)])
