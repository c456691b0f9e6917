"""`optc quantize`: a model with fewer bits, or what that would cost, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from optc.cli.failures import render
from optc.cli.output import Progress, emit_facts, emit_json, emit_table, size_text
from optc.cli.parameters import common, dim_option, shape_option, unique
from optc.errors import LimitError, OptcError, UsageError

if TYPE_CHECKING:
    from optc.driver.quantization.analysis import SchemeErrors
    from optc.driver.quantization.quantize import Quantizer

COMPARED = ("int8", "int4", "fp8-e4m3")
"""What --analyze compares where no format is given."""


@click.command("quantize")
@click.argument("model")
@click.option("--calib", required=True, help="A folder of images or .npy samples, an .npz, or an .npy.")
@click.option("--format", "formats", multiple=True, help="int8, int7, int4, fp8-e4m3 …; repeatable with --analyze.")
@click.option("-o", "output", type=click.Path(path_type=Path), help="The quantized ONNX file.")
@click.option("--analyze", is_flag=True, help="Show the error of each layer and write nothing.")
@click.option("--method", default="mse", show_default=True, help="How ranges of activations are chosen.")
@click.option("--min-snr", type=float, help="Decibels that the outputs must keep; layers stay in float until they do.")
@click.option("--max-drop", help="Accuracy that may be lost, such as 0.5%; needs --labels.")
@click.option("--labels", type=click.Path(path_type=Path), help="The right class of each sample: .npy, .npz or text.")
@click.option("--evaluate", help="The samples that --labels belongs to (default: those of --calib).")
@click.option("--keep-float", multiple=True, metavar="LAYER", help="A layer that stays in float; repeatable.")
@click.option("--samples", type=click.IntRange(min=1), help="Calibration samples to read at most.")
@click.option("--size", type=(int, int), metavar="H W", help="What images are resized to.")
@click.option("--mean", help="Subtracted from the pixels, a number for each channel: 0.485,0.456,0.406.")
@click.option("--std", help="What pixels are divided by, a number for each channel.")
@click.option("--range", "span", type=(float, float), default=(0.0, 255.0), show_default=True, help="Of the pixels.")
@click.option("--layout", type=click.Choice(["nchw", "nhwc"]), default="nchw", show_default=True, help="Of images.")
@shape_option
@dim_option
@common
def command(
    model: str,
    calib: str,
    formats: tuple[str, ...],
    output: Path | None,
    analyze: bool,
    method: str,
    min_snr: float | None,
    max_drop: str | None,
    labels: Path | None,
    evaluate: str | None,
    keep_float: tuple[str, ...],
    samples: int | None,
    size: tuple[int, int] | None,
    mean: str | None,
    std: str | None,
    span: tuple[float, float],
    layout: Any,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    dims: tuple[tuple[str, int], ...],
    as_json: bool,
) -> None:
    """Quantize MODEL (.onnx or .pt2) to QDQ form, or say with --analyze what each layer would lose."""
    if output is None and not analyze:
        raise UsageError("nothing says where the model goes", hint="-o model.int8.onnx, or --analyze")
    if not analyze and len(formats) > 1:
        raise UsageError("several formats can only be compared", hint="--analyze")
    if max_drop is not None and (labels is None or min_snr is not None):
        raise UsageError("--max-drop needs --labels, and excludes --min-snr")
    from optc.driver.quantization.images import Preprocessing
    from optc.driver.quantization.quantize import Quantizer

    images = Preprocessing(size, layout, span, _numbers(mean, "--mean", 0.0), _numbers(std, "--std", 1.0))
    drop = None if max_drop is None else _share(max_drop)
    with Progress() as progress:
        quantizer = Quantizer.of(
            model,
            calib,
            shapes=unique(shapes, "--shape"),
            dims=unique(dims, "--dim"),
            method=method,
            limit=samples,
            preprocessing=images,
            progress=progress,
        )
        if analyze:
            found = []
            for name in formats or COMPARED:
                plan = quantizer.plan(name, keep_float=keep_float)
                found.append(quantizer.errors(plan, name, progress))
        else:
            scheme = formats[0] if formats else "int8"
            plan = quantizer.plan(scheme, keep_float=keep_float)
            mixture = None
            if min_snr is not None:
                mixture = quantizer.within_snr(plan, scheme, min_snr, progress)
            elif drop is not None and labels is not None:
                from optc.driver.quantization.data import Data, read_labels

                data = quantizer.data
                if evaluate is not None:
                    data = Data(evaluate, quantizer.module.main.inputs, preprocessing=images)
                mixture = quantizer.within_drop(plan, scheme, drop, data, read_labels(labels), progress)
    if analyze:
        _show_errors(found, quantizer, min_snr, as_json)
        return
    assert output is not None
    quantized = list(plan.layers) if mixture is None else list(mixture.quantized)
    kept = {**plan.kept, **(mixture.kept if mixture is not None else {})}
    count = _write(output, quantizer.write(plan, quantized))
    record = {
        "output": str(output),
        "format": scheme,
        "bytes": count,
        "layers": {
            layer.name: {"format": scheme, "reason": "every layer is, unless a bound says otherwise"}
            if layer.name in quantized
            else {"format": "float", "reason": kept.get(layer.name, "")}
            for layer in quantizer.layers
        },
        "measured": None if mixture is None else mixture.figure,
        "met": mixture is None or mixture.met,
        "constant": quantizer.calibration.constant,
        "samples": quantizer.calibration.samples,
    }
    if as_json:
        emit_json(record)
    else:
        facts = [("model", f"{output}, {size_text(count)}")]
        facts.append(("layers", f"{len(quantized)} of {len(quantizer.layers)} in {scheme}"))
        facts += [("in float", f"{name}: {reason}") for name, reason in kept.items()]
        if mixture is not None:
            facts.append(("measured", f"{mixture.figure:.4g}"))
        facts += [("constant", name) for name in quantizer.calibration.constant]
        emit_facts(facts)
    if mixture is not None and not mixture.met:
        error = LimitError(
            "the bound cannot be met",
            where=model,
            why=f"the best with a quantized layer has {mixture.figure:.4g}; it was written",
            hint="another --format, or more calibration data",
        )
        click.echo(render(error), err=True)
        raise SystemExit(error.exit_code)


def _show_errors(found: list[SchemeErrors], quantizer: Quantizer, bound: float | None, as_json: bool) -> None:
    from dataclasses import asdict

    bound = 30.0 if bound is None else bound
    if as_json:
        content = [{**asdict(item), "first_below": item.first_below(bound)} for item in found]
        emit_json({"schemes": content, "bound_db": bound, "constant": quantizer.calibration.constant})
        return
    header = ["layer", "format", "output", "layer", "worst channel", "clipped", "in the chain"]
    rows = [
        [
            layer.name,
            item.scheme,
            f"{layer.output_snr:.1f} dB",
            f"{layer.layer_snr:.1f} dB",
            f"{layer.worst_channel}: {layer.worst_snr:.1f} dB",
            f"{layer.clipped:.3%}",
            f"{layer.chain_snr:.1f} dB",
        ]
        for group in zip(*(item.layers for item in found), strict=True)
        for item, layer in zip(found, group, strict=True)
    ]
    emit_table(header, rows, right=(2, 3, 4, 5, 6))
    click.echo()
    for item in found:
        first = item.first_below(bound)
        where = f"; first below {bound:g} dB at {first}" if first else ""
        click.echo(f"{item.scheme}: {item.output_snr:.1f} dB at the output with every layer quantized{where}")


def _write(path: Path, module: Any) -> int:
    """Write the model beside its place, then move it there; its size."""
    from optc.ops.onnx_export import to_onnx_model

    content = to_onnx_model(module).SerializeToString(deterministic=True)
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as fault:
        beside.unlink(missing_ok=True)
        raise OptcError("the model cannot be written", where=str(path), why=fault.strerror) from fault
    return len(content)


def _numbers(text: str | None, option: str, default: float) -> tuple[float, ...]:
    if text is None:
        return (default,)
    try:
        return tuple(float(item) for item in text.split(","))
    except ValueError as fault:
        raise UsageError(f"'{text}' is no list of numbers", where=option, hint=f"{option} 0.5,0.5,0.5") from fault


def _share(text: str) -> float:
    """`0.5%` or `0.005` as 0.005."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError as fault:
        raise UsageError(f"'{text}' is no share", where="--max-drop", hint="--max-drop 0.5%") from fault
