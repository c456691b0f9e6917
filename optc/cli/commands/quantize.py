"""`optc quantize`: a model with fewer bits, or what that would cost, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from optc.cli.accuracy import accuracy_options, check_bound
from optc.cli.files import write_whole
from optc.cli.images import image_options, preprocessing
from optc.cli.output import Progress, emit_facts, emit_json, emit_table, size_text
from optc.cli.parameters import Number, common, dim_option, shape_option, share, unique
from optc.errors import UsageError

if TYPE_CHECKING:
    from optc.driver.quantization.analysis import SchemeErrors
    from optc.driver.quantization.mixed import Mixture, Point, PrecisionSearch
    from optc.driver.quantization.quantize import Quantizer
    from optc.passes.quantization.prices import Objective

COMPARED = ("int8", "int4", "fp8-e4m3", "fp8-e5m2")
"""What --analyze compares where no format is given."""

OFFERED = ("int8", "int8-weights", "int4", "int4-weights")
"""What is mixed for the least size where no format is given."""

DEFAULT_SNR = 30.0
"""Decibels that a search keeps where no bound is given."""


@click.command("quantize")
@click.argument("model")
@click.option("--calib", required=True, help="A folder of images or .npy samples, an .npz, or an .npy.")
@click.option("--format", "formats", multiple=True, help="int8, int7, int4, fp8-e4m3 …; repeatable with --analyze.")
@click.option("-o", "output", type=click.Path(path_type=Path), help="The quantized ONNX file.")
@click.option("--analyze", is_flag=True, help="Show the error of each layer and write nothing.")
@click.option("--method", default="mse", show_default=True, help="How ranges of activations are chosen.")
@click.option("--rounding", default="nearest", show_default=True, help="Of weights: nearest, gptq or learned.")
@click.option("--equalize", is_flag=True, help="Scale channels between layers for one range.")
@click.option("--smooth", is_flag=True, help="Move outliers of what matrix products read into their weights.")
@click.option("--min-snr", type=Number(0), help="Decibels that outputs must keep; layers stay in float until they do.")
@accuracy_options
@click.option(
    "--objective",
    type=click.Choice(["latency", "energy", "size"]),
    help="What mixed precision makes small, on --target (default with a bound: latency).",
)
@click.option("--target", default="cpu", show_default=True, help="Whose costs are predicted.")
@click.option(
    "--sensitivity",
    "how",
    default="measured",
    show_default=True,
    help="How the error of each layer is found: measured or hessian.",
)
@click.option("--pareto", type=click.Path(path_type=Path), help="A JSON file for what nothing beats in cost and error.")
@click.option("--report", type=click.Path(path_type=Path), help="An HTML page with that front and every layer.")
@click.option("--keep-float", multiple=True, metavar="LAYER", help="A layer that stays in float; repeatable.")
@image_options
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
    rounding: str,
    equalize: bool,
    smooth: bool,
    min_snr: float | None,
    max_drop: str | None,
    labels: Path | None,
    evaluate: str | None,
    confidence: float,
    objective: Objective | None,
    target: str,
    how: str,
    pareto: Path | None,
    report: Path | None,
    keep_float: tuple[str, ...],
    samples: int | None,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    dims: tuple[tuple[str, int], ...],
    as_json: bool,
    **pixels: Any,
) -> None:
    """Quantize MODEL (.onnx or .pt2) to QDQ form, or say with --analyze what each layer would lose."""
    searched = any(each is not None for each in (min_snr, max_drop, objective, pareto, report))
    if output is None and not analyze and pareto is None and report is None:
        raise UsageError("nothing says where the model goes", hint="-o model.int8.onnx, or --analyze")
    if analyze or not searched:
        _refuse_unused()
    if not analyze and not searched and len(formats) > 1:
        raise UsageError(
            "several formats need a bound",
            hint="--min-snr 30 or --max-drop 0.5% to mix them, --analyze to compare them",
        )
    check_bound(max_drop, labels, min_snr)
    from optc.driver.quantization.data import Data, read_labels
    from optc.driver.quantization.post_training import Methods
    from optc.driver.quantization.quantize import Quantizer

    methods = Methods(rounding=rounding)
    images = preprocessing(pixels)
    drop = None if max_drop is None else share(max_drop)
    with Progress() as progress:
        quantizer = Quantizer.of(
            model,
            calib,
            shapes=unique(shapes, "--shape"),
            dims=unique(dims, "--dim"),
            method=method,
            limit=samples,
            preprocessing=images,
            equalize=equalize,
            smooth=smooth,
            progress=progress,
        )
        if analyze:
            found = []
            for name in formats or COMPARED:
                plan = quantizer.plan(name, methods, keep_float=keep_float, progress=progress)
                found.append(quantizer.errors(plan, name, progress))
        elif searched:
            goal: Objective = objective or "latency"
            chosen = formats or (OFFERED if goal == "size" else ("int8",))
            search = quantizer.search(
                chosen,
                objective=goal,
                target=target,
                how=how,
                methods=methods,
                keep_float=keep_float,
                progress=progress,
            )
            if drop is not None and labels is not None:
                data = quantizer.data
                if evaluate is not None:
                    data = Data(evaluate, quantizer.module.main.inputs, preprocessing=images)
                right = read_labels(labels)
                mixture = search.within_drop(drop, data, right, confidence=confidence, own_data=evaluate is None)
            else:
                mixture = search.within_snr(DEFAULT_SNR if min_snr is None else min_snr)
            front = search.front() if pareto is not None or report is not None else []
        else:
            plan = quantizer.plan(formats[0] if formats else "int8", methods, keep_float=keep_float, progress=progress)
    if analyze:
        _show_errors(found, quantizer, min_snr, as_json)
        return
    if searched:
        from optc.cli.mixture import conclude

        if pareto is not None or report is not None:
            _write_front(search, front, mixture, pareto, report, Path(model).stem)
        count = None if output is None else _write(output, quantizer.write(search.plan(mixture.point.schemes)))
        raise SystemExit(conclude(model, output, count, quantizer, search, mixture, as_json))
    assert output is not None
    count = _write(output, quantizer.write(plan))
    name = formats[0] if formats else "int8"
    record = {
        "output": str(output),
        "format": name,
        "bytes": count,
        "layers": {
            layer.name: {"format": name, "reason": "every layer is, unless a bound says otherwise"}
            if layer.name in plan.layers
            else {"format": "float", "reason": plan.kept.get(layer.name, "")}
            for layer in quantizer.layers
        },
        "constant": quantizer.calibration.constant,
        "samples": quantizer.calibration.samples,
    }
    if as_json:
        emit_json(record)
        return
    facts = [
        ("model", f"{output}, {size_text(count)}"),
        ("layers", f"{len(plan.layers)} of {len(quantizer.layers)} in {name}"),
    ]
    facts += [("in float", f"{name}: {reason}") for name, reason in plan.kept.items()]
    facts += [("constant", name) for name in quantizer.calibration.constant]
    emit_facts(facts)


_OF_SEARCHES = {"target": "--target", "how": "--sensitivity", "confidence": "--confidence"}


def _refuse_unused() -> None:
    """Raise UsageError where an option was given that only a search for precisions reads."""
    context = click.get_current_context()
    default = click.core.ParameterSource.DEFAULT
    unused = [option for name, option in _OF_SEARCHES.items() if context.get_parameter_source(name) is not default]
    if unused:
        raise UsageError(
            f"{' and '.join(unused)} would not be used",
            why="they say how precisions are mixed, and nothing asks for that",
            hint="add --min-snr, --max-drop or --objective",
        )


def _write_front(
    search: PrecisionSearch,
    front: list[Point],
    mixture: Mixture,
    pareto: Path | None,
    report: Path | None,
    name: str,
) -> None:
    """The Pareto front as JSON and as a page."""
    from optc.cli.output import json_text

    if pareto is not None:
        points = [search.record(point) for point in front]
        content = {
            "objective": search.objective,
            "points": points,
            "chosen": search.record(mixture.point, mixture.drop),
        }
        _write_text(pareto, json_text(content))
    if report is not None:
        from optc.cli.mixture import report_page

        _write_text(report, report_page(name, search, front, mixture))


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
    """Write the model; its size."""
    from optc.ops.onnx_export import to_onnx_model

    content = to_onnx_model(module).SerializeToString(deterministic=True)
    write_whole(path, content, "the model")
    return len(content)


def _write_text(path: Path, text: str) -> None:
    write_whole(path, text.encode(), "the report")
