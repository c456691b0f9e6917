"""`optc protect`: a model whose layers ignore results that they never gave before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from optc.cli.files import write_whole
from optc.cli.images import image_options, preprocessing
from optc.cli.output import Progress, emit_facts, emit_json
from optc.cli.parameters import Number, common, dim_option, shape_option, unique


@click.command("protect")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--calib", required=True, help="Samples that show what layers compute: a folder, an .npz, or an .npy.")
@click.option("-o", "output", type=click.Path(path_type=Path), help="The file (default: MODEL with .protected.onnx).")
@click.option("--margin", type=Number(0), default=0.1, show_default=True, help="How far results may exceed those seen.")
@shape_option
@dim_option
@image_options
@common
def command(
    model: Path,
    calib: str,
    output: Path | None,
    margin: float,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    dims: tuple[tuple[str, int], ...],
    samples: int | None,
    as_json: bool,
    **pixels: Any,
) -> None:
    """Write MODEL (.onnx) with a check behind each layer: what exceeds all results on the samples becomes zero.

    Flipped bits of weights and activations then seldom change an answer; `optc faults` counts how seldom. The checks
    cost time; `optc compile --guard-weights` notices changed weights for nearly none.
    """
    from optc.driver.resilience.protect import protect
    from optc.ops.onnx_export import to_onnx_model

    written = output or model.with_suffix(".protected.onnx")
    with Progress() as progress:
        made = protect(
            model,
            calib,
            margin=margin,
            shapes=unique(shapes, "--shape"),
            dims=unique(dims, "--dim"),
            limit=samples,
            preprocessing=preprocessing(pixels),
            progress=progress,
        )
    content = to_onnx_model(made.module).SerializeToString(deterministic=True)
    write_whole(written, content, "the protected model")
    if as_json:
        emit_json(
            {
                "output": str(written),
                "layers": made.layers,
                "checks": made.checks,
                "samples": made.samples,
                "margin": margin,
            }
        )
        return
    emit_facts(
        [
            ("file", str(written)),
            ("checks", f"behind {made.checks} of {made.layers} layers, for each channel, from {made.samples} samples"),
            ("next", f"optc faults {written} --data {calib}"),
        ]
    )
