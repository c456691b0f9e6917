"""`optc inspect`: what a model, IR text or an artifact holds and costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from optc.cli.output import count_text, emit_facts, emit_json, emit_table, size_text
from optc.cli.parameters import common, dim_option, shape_option, unique
from optc.errors import UsageError

if TYPE_CHECKING:
    from optc.frontends.summary import ModelSummary, ValueSummary


@click.command("inspect")
@click.argument("source", metavar="MODEL")
@shape_option
@dim_option
@common
def command(
    source: str,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    dims: tuple[tuple[str, int], ...],
    as_json: bool,
) -> None:
    """Show the operations, parameters, FLOPs, memory and dynamic dimensions of MODEL.

    MODEL is .onnx, .pt2, IR text (.mlir), or the folder of an artifact.
    """
    if Path(source).is_dir():
        if shapes or dims:
            raise UsageError("an artifact has fixed shapes", where=source, hint="leave out --shape and --dim")
        _artifact(source, as_json)
        return
    from optc.cli.modules import read_module
    from optc.frontends.summary import summarize

    summary = summarize(read_module(source, unique(shapes, "--shape"), unique(dims, "--dim")))
    if as_json:
        import dataclasses

        emit_json(dataclasses.asdict(summary))
    else:
        _model(summary)


def _artifact(folder: str, as_json: bool) -> None:
    from optc.artifact import read
    from optc.cli.summary import artifact_facts, artifact_record

    files = read(folder, check_host=False)
    peak = _peak(files.decisions)
    if as_json:
        emit_json({**artifact_record(files.folder, files.manifest), "peak_bytes": peak})
        return
    facts = artifact_facts(files.folder, files.manifest)
    if peak is not None:
        facts.append(("peak", f"{size_text(peak['imported'])} as imported, {size_text(peak['arena'])} in the arena"))
    emit_facts(facts)


def _peak(decisions: Mapping[str, Any]) -> dict[str, int] | None:
    """Bytes of activations that live at once in the source order, and those of the arena."""
    for remark in decisions.get("remarks", ()):
        if (remark["pass"], remark["what"]) == ("fit", "peak"):
            predicted = remark["predicted"]
            return {"imported": int(predicted["bytes_before"]), "arena": int(predicted["bytes"])}
    return None


def _model(summary: ModelSummary) -> None:
    made_by = [summary.producer, f"opset {summary.opset}" if summary.opset else ""]
    peak = summary.peak_activation_bytes
    facts = [
        ("model", summary.name),
        ("made by", ", ".join(filter(None, made_by))),
        ("inputs", "\n".join(map(_value, summary.inputs))),
        ("outputs", "\n".join(map(_value, summary.outputs))),
        ("parameters", f"{count_text(summary.parameters)} ({size_text(summary.weight_bytes)})"),
        ("FLOPs", _flops(summary)),
        ("peak activations", "unknown until the shapes are bound" if peak is None else size_text(peak)),
    ]
    if summary.dynamic_dims:
        places = [f"{dim.name}: {', '.join(f'{n} axis {a}' for n, a in dim.places)}" for dim in summary.dynamic_dims]
        facts += [("dynamic", "\n".join(places)), ("bind with", "\n".join(summary.binding_hints))]
    emit_facts([fact for fact in facts if fact[1]])
    click.echo()
    _operations(summary)


def _flops(summary: ModelSummary) -> str:
    if not summary.uncounted:
        return count_text(summary.flops)
    if summary.dynamic_dims:
        return "unknown until the shapes are bound"
    return f"at least {count_text(summary.flops)} ({summary.uncounted} operations of unknown shape are not counted)"


def _operations(summary: ModelSummary) -> None:
    """Kinds by number, with their FLOPs where those are known."""
    if summary.uncounted:
        rows = [[name, str(count)] for name, count in summary.operations.items()]
        emit_table(["operation", "count"], rows, right=(1,))
        return
    total = summary.flops or 1
    rows = [
        [name, str(count), count_text(flops := summary.flops_by_operation.get(name, 0)), f"{100 * flops / total:.1f}%"]
        for name, count in summary.operations.items()
    ]
    emit_table(["operation", "count", "FLOPs", "share"], rows, right=(1, 2, 3))


def _value(value: ValueSummary) -> str:
    if value.shape is None:
        return f"{value.name}: unknown rank {value.dtype}"
    dims = [text if (text := str(dim)).replace("_", "").isalnum() else f"({text})" for dim in value.shape]
    return f"{value.name}: {'×'.join(dims) or 'scalar'} {value.dtype}"
