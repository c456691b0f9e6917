"""`optc prune`: a model with fewer channels and lower ranks, where its target runs it faster for that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from optc.cli.accuracy import accuracy_options, check_bound
from optc.cli.failures import render
from optc.cli.files import write_whole
from optc.cli.images import image_options, preprocessing
from optc.cli.output import Progress, emit_facts, emit_json, emit_table, size_text
from optc.cli.parameters import Number, common, dim_option, shape_option, share, threads_option, unique
from optc.errors import LimitError, UsageError

if TYPE_CHECKING:
    from optc.driver.structure.prune import Pruned, Pruner

DEFAULT_SNR = 20.0
"""Decibels that outputs keep where no bound is given."""


@click.command("prune")
@click.argument("model")
@click.option("--calib", required=True, help="A folder of images or .npy samples, an .npz, or an .npy.")
@click.option("-o", "output", type=click.Path(path_type=Path), required=True, help="The smaller ONNX file.")
@click.option("--target", default="cpu", show_default=True, help="Whose costs are predicted.")
@threads_option
@click.option("--min-snr", type=Number(0), help="Decibels that outputs must keep (default without --max-drop: 20).")
@accuracy_options
@click.option(
    "--epochs",
    type=Number(0),
    default=0.0,
    show_default=True,
    help="Of fine-tuning on the samples, against the model's own answers; needs PyTorch.",
)
@image_options
@shape_option
@dim_option
@common
def command(
    model: str,
    calib: str,
    output: Path,
    target: str,
    threads: int | None,
    min_snr: float | None,
    max_drop: str | None,
    labels: Path | None,
    evaluate: str | None,
    confidence: float,
    epochs: float,
    samples: int | None,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    dims: tuple[tuple[str, int], ...],
    as_json: bool,
    **pixels: Any,
) -> None:
    """Write MODEL (.onnx) with fewer channels and lower ranks, as far as --target is predicted to gain by it.

    What is left is fitted to what the whole model computes on the samples. Where nothing pays, or nothing that pays is
    within the bound, the model is written as it was.
    """
    check_bound(max_drop, labels, min_snr)
    if max_drop is None and (labels is not None or evaluate is not None):
        raise UsageError("--labels and --evaluate would not be used", hint="add --max-drop 0.5%")
    drop = None if max_drop is None else share(max_drop)
    from optc.driver.quantization.data import Data, read_labels
    from optc.driver.structure.options import Pricing
    from optc.driver.structure.prune import Pruner
    from optc.ops.onnx_export import to_onnx_model

    images = preprocessing(pixels)
    right = None if labels is None else read_labels(labels)
    with Progress() as progress:
        pruner = Pruner.of(
            model,
            calib,
            Pricing(target, threads),
            shapes=unique(shapes, "--shape"),
            dims=unique(dims, "--dim"),
            limit=samples,
            preprocessing=images,
            epochs=epochs,
            progress=progress,
        )
        if drop is not None and right is not None:
            data = pruner.data
            if evaluate is not None:
                data = Data(evaluate, pruner.module.main.inputs, preprocessing=images)
            found = pruner.within_drop(drop, data, right, confidence=confidence, own_data=evaluate is None)
        else:
            found = pruner.within_snr(DEFAULT_SNR if min_snr is None else min_snr)
    content = to_onnx_model(found.version.module).SerializeToString(deterministic=True)
    write_whole(output, content, "the model")
    (_as_json if as_json else _as_text)(output, len(content), pruner, found)
    if not found.met:
        click.echo(render(_unmet(model, found)), err=True)
        raise SystemExit(LimitError.exit_code)


def _as_json(output: Path, count: int, pruner: Pruner, found: Pruned) -> None:
    emit_json(
        {
            "output": str(output),
            "bytes": count,
            "target": pruner.pricing.target.name,
            "bound": found.bound,
            "met": found.met,
            "before_ms": 1e3 * found.seconds,
            "basis": found.basis,
            **found.version.record(found.drop),
            "reasons": dict(found.reasons),
            "assumed": found.assumed,
            "tried": [version.record(drop) for version, drop in found.tried],
            "samples": pruner.data.samples,
        }
    )


def _as_text(output: Path, count: int, pruner: Pruner, found: Pruned) -> None:
    version = found.version
    facts = [("model", f"{output}, {size_text(count)}")]
    if version.plan:
        facts.append(
            (
                "latency",
                f"{1e3 * version.seconds:.4g} ms predicted on {pruner.pricing.target.name}, "
                f"{1e3 * found.seconds:.4g} ms before",
            )
        )
        facts.append(("noise", f"{version.snr:.1f} dB at the worst output"))
    else:
        why = "no change that pays is within the bound" if pruner.options else "no change pays on this target"
        facts.append(("unchanged", why))
    facts.append(("predictions", found.basis))
    if found.drop is not None:
        facts += [("accuracy lost", found.drop.text), ("assumed", found.assumed)]
    emit_facts(facts)
    click.echo()
    rows = [[item, "yes" if item in version.plan else "no", reason] for item, reason in found.reasons.items()]
    emit_table(["layers", "changed", "why"], rows)


def _unmet(model: str, found: Pruned) -> LimitError:
    tried = [
        f"{version.snr:.1f} dB" if drop is None else f"at most {100 * drop.bound:.2f} points"
        for version, drop in found.tried[:1]
    ]
    return LimitError(
        "the bound cannot be met by any change that pays",
        where=model,
        why=f"{found.bound} was asked"
        + (f"; the most exact change has {tried[0]}" if tried else "")
        + "; the model was written as it was",
        hint="--epochs 2, more samples, or more labelled ones",
    )
