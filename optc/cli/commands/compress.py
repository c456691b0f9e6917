"""`optc compress`: a model file in fewer bytes, with every bit kept or to a wanted ratio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from optc.cli.files import write_whole
from optc.cli.images import image_options, preprocessing
from optc.cli.output import Progress, emit_facts, emit_json, size_text
from optc.cli.parameters import Number, common
from optc.errors import OptcError, UsageError


@click.command("compress")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "output", type=click.Path(path_type=Path), help="The file (default: MODEL with .optcz).")
@click.option(
    "--ratio",
    type=Number(1, min_open=True),
    help="How many times smaller at least; weights are rounded. Needs --calib.",
)
@click.option("--calib", help="Samples to train on, without labels: a folder, an .npz, or an .npy.")
@click.option("--epochs", type=Number(min=0), default=2.0, show_default=True, help="Passes over the samples.")
@image_options
@common
def command(
    model: Path,
    output: Path | None,
    ratio: float | None,
    calib: str | None,
    epochs: float,
    samples: int | None,
    as_json: bool,
    **pixels: Any,
) -> None:
    """Write MODEL (.onnx) as a smaller file that `optc decompress` makes an .onnx of again.

    Without --ratio every bit is kept. With it, weights become multiples of steps and the model is trained to answer as
    before; what it then decodes to runs wherever the original did.
    """
    if (ratio is None) != (calib is None):
        raise UsageError("--ratio and --calib go together", hint="--ratio 10 --calib images.npz")
    if not model.exists():
        raise OptcError("the model cannot be read", where=str(model), why="it does not exist")
    from optc.driver.compression.compress import compress, compress_lossless

    written = output or model.with_suffix(".optcz")
    with Progress() as progress:
        if ratio is None:
            found = compress_lossless(model)
        else:
            images = preprocessing(pixels)
            found = compress(model, ratio, calib, epochs=epochs, limit=samples, preprocessing=images, progress=progress)
    write_whole(written, found.content, "the compressed model")
    if as_json:
        emit_json(
            {
                "output": str(written),
                "bytes": len(found.content),
                "before": found.before,
                "ratio": found.ratio,
                "snr_db": found.snr,
                "zeros": found.zeros,
                "bits_per_weight": found.bits,
            }
        )
        return
    facts = [
        ("file", f"{written}, {size_text(len(found.content))}"),
        ("before", f"{size_text(found.before)}: {found.ratio:.2f} times as many"),
    ]
    if found.snr is not None:
        facts += [
            ("weights", f"{found.bits:.2f} bits each with all that the file holds, {found.zeros:.0%} are zero"),
            ("noise", f"{found.snr:.1f} dB at the worst output on the samples"),
        ]
    emit_facts(facts)
