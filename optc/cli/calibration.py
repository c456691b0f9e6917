"""The options of a compile with calibration data, and what it says of precisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from optc.cli.accuracy import check_bound
from optc.cli.images import image_options, preprocessing
from optc.cli.output import seconds_text
from optc.cli.parameters import Number, share
from optc.errors import LimitError, UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

SHOWN = 6
"""Layers in float that the summary lists."""

_OPTIONS = (
    click.option("--calib", help="Quantize with this: a folder of images or .npy samples, an .npz, or an .npy."),
    click.option("--max-drop", help="Accuracy that int8 may lose, such as 0.5%; needs --labels."),
    click.option("--min-snr", type=Number(0), help="Decibels that every output must keep against the model in float."),
    click.option("--labels", type=click.Path(path_type=Path), help="The right class of each sample of --evaluate."),
    click.option("--evaluate", help="Samples to judge on, that calibration does not see (default: those of --calib)."),
    click.option("--keep-float", multiple=True, metavar="LAYER", help="A layer that stays in float; repeatable."),
)


def calibration_options(command: Command) -> Command:
    """Give a command the options; their values come as keywords, to be handed to `check` as they are."""
    command = image_options(command)
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments of `compile_quantized` but the model, the options and the folder; None without --calib.

    Raises:
        UsageError: an option needs another, or cannot be read.
    """
    if given["calib"] is None:
        for name in ("max_drop", "min_snr", "labels", "evaluate", "keep_float", "samples", "size", "mean", "std"):
            if given[name]:
                raise UsageError(f"--{name.replace('_', '-')} needs --calib", hint="--calib images/")
        return None
    check_bound(given["max_drop"], given["labels"], given["min_snr"])
    drop = None if given["max_drop"] is None else share(given["max_drop"])
    from optc.driver.quantization.data import read_labels

    return {
        "calib": given["calib"],
        "evaluate": given["evaluate"],
        "labels": None if given["labels"] is None else read_labels(given["labels"]),
        "snr": given["min_snr"],
        "drop": drop,
        "keep_float": given["keep_float"],
        "limit": given["samples"],
        "preprocessing": preprocessing(given),
    }


def precision_facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What an artifact's manifest says of precisions, as (name, value)."""
    rest = "" if record["quantized"] == record["count"] else ", the others in float"
    facts = [("precision", f"{record['quantized']} of {record['count']} layers in {record['format']}{rest}")]
    kept = list(record["in_float"].items())
    if kept:
        lines = [f"{name}: {reason}" for name, reason in kept[:SHOWN]]
        if len(kept) > SHOWN:
            lines.append(f"and {len(kept) - SHOWN} more (plan.json has all)")
        facts.append(("in float", "\n".join(lines)))
    if latency := record["latency"]:
        times = latency["float_seconds"] / latency["int8_seconds"]
        both = f"{seconds_text(latency['int8_seconds'])}, in float {seconds_text(latency['float_seconds'])}"
        facts.append((record["format"], f"{both}: {times:.2f}x as fast, {latency['basis']}"))
    if quality := record["quality"]:
        snr = "no difference" if quality["snr_db"] is None else f"{quality['snr_db']:.1f} dB"
        text = f"{snr} at the worst output"
        if quality["drop"] is not None:
            text = f"accuracy lost {quality['drop']['text']}; {text}"
        facts.append(("kept", f"{text}, on {record['samples']} samples of {record['data']}"))
    return facts + [("constant", name) for name in record["constant"]]


def unmet(record: Mapping[str, Any], model: str) -> LimitError | None:
    """The error of a bound that does not hold; None where it does."""
    if record["met"]:
        return None
    quality = record["quality"]
    best = f"{quality['snr_db']:.1f} dB"
    if quality["drop"] is not None:
        best = f"at most {100 * quality['drop']['bound']:.2f} points lost, {best}"
    return LimitError(
        "the bound cannot be met",
        where=model,
        why=f"{record['bound']} was asked; the best with a layer in {record['format']} has {best}; it was written",
        hint="more calibration data, or compile without --calib",
    )
