"""The options of commands that can run on a device, and `optc bench --device`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
import numpy as np

from optc.cli.output import Progress, emit_facts, emit_json, emit_table, seconds_text
from optc.cli.parameters import Command, Number


def device_options(function: Command) -> Command:
    """--device, --timeout and --retries."""
    for option in (
        click.option(
            "--retries",
            type=click.IntRange(min=0),
            default=2,
            show_default=True,
            help="Further attempts when the device is lost.",
        ),
        click.option(
            "--timeout",
            type=Number(min=0.1),
            default=120.0,
            show_default=True,
            help="Seconds that a program may take on the device.",
        ),
        click.option("--device", metavar="NAME", help="Run on a device that optc device add named."),
    ):
        function = option(function)
    return function


def bench_on_device(
    artifact: str,
    name: str,
    given: Mapping[str, np.ndarray],
    threads: Sequence[int],
    seconds: float,
    reference: str | None,
    timeout: float,
    retries: int,
    as_json: bool,
) -> None:
    """Measure an artifact on a device, and compare the numbers with the source model where that is given."""
    from optc.driver.device import compared, on_device
    from optc.runtime.device import registry
    from optc.runtime.random_inputs import random_inputs

    device = registry.find(name)
    results, verification = [], None
    with on_device(artifact, device, None, timeout, retries) as there, Progress() as progress:
        values = {**given, **random_inputs([info for info in there.inputs if info.name not in given])}
        for position, count in enumerate(threads or (None,)):
            progress(f"measuring on {name}", position, len(threads) or 1)
            result, outputs = there.bench(values, seconds, count)
            results.append(result)
        if reference is not None:
            verification = compared(there, outputs, reference, values, 1e-3)
        facts = there.facts
    if as_json:
        plain: dict[str, Any] = {"device": name, "place": device.place, "system": facts.system}
        plain |= {"machine": facts.machine, "cpus": facts.cpus, "results": [result.to_dict() for result in results]}
        emit_json({**plain, "verification": verification and verification.to_dict()})
        return
    emit_facts(
        [
            ("measured on", f"{name} ({device.place}; {facts.system} on {facts.machine}, {facts.cpus} CPUs)"),
            ("numbers", _numbers(verification)),
        ]
    )
    click.echo()
    emit_table(*latency_table(results), right=range(6))


def latency_table(results: Sequence[Any]) -> tuple[list[str], list[list[str]]]:
    """The header and a row for each result of `bench`."""
    header = ["threads", "median", "p05", "p95", "min", "runs"]
    rows = [
        [str(item.threads), *map(seconds_text, (item.median, item.p05, item.p95, item.min)), str(item.runs)]
        for item in results
    ]
    return header, rows


def _numbers(verification: Any) -> str:
    if verification is None:
        return "not compared (--reference MODEL compares them)"
    return f"as the source model's (largest relative error {verification.worst.relative:.2e})"
