"""`optc bench`: the latency of an artifact."""

from __future__ import annotations

from typing import Any

import click

from optc.cli.arrays import input_option, read_inputs
from optc.cli.carbon import carbon, carbon_facts, intensity_option
from optc.cli.devices import bench_on_device, device_options, latency_table
from optc.cli.output import Progress, emit_facts, emit_json, emit_table, seconds_text
from optc.cli.parameters import Number, common
from optc.errors import UsageError

SHOWN_STEPS = 15


@click.command("bench")
@click.argument("artifact")
@input_option
@click.option("--threads", type=click.IntRange(min=1), multiple=True, help="Threads of a run; repeat it to compare.")
@click.option("--seconds", type=Number(min=0.01), default=2.0, show_default=True, help="Time to measure for.")
@click.option("--profile", is_flag=True, help="Show what each step of the program takes.")
@click.option("--energy", is_flag=True, help="Measure the processor's energy too, where the machine counts it.")
@intensity_option
@device_options
@click.option("--reference", metavar="MODEL", help="With --device: the source model, to compare the numbers with.")
@common
def command(
    artifact: str,
    inputs: tuple[str, ...],
    threads: tuple[int, ...],
    seconds: float,
    profile: bool,
    energy: bool,
    grid_intensity: float | None,
    device: str | None,
    timeout: float,
    retries: int,
    reference: str | None,
    as_json: bool,
) -> None:
    """Measure the latency of ARTIFACT after a warm-up; inputs that are not given are random."""
    from optc.cli.summary import expectation_text
    from optc.costmodel.energy import PackageEnergy, joules_per_run
    from optc.runtime import load
    from optc.runtime.bench import bench
    from optc.runtime.expectation import expectation
    from optc.runtime.random_inputs import random_inputs

    given = read_inputs(inputs)
    if device is not None:
        here = {"--profile": profile, "--energy": energy, "--grid-intensity": grid_intensity is not None}
        if wrong := next((option for option, used in here.items() if used), None):
            raise UsageError(f"{wrong} does not go with --device")
        bench_on_device(artifact, device, given, threads, seconds, reference, timeout, retries, as_json)
        return
    if reference is not None:
        raise UsageError("--reference goes with --device", hint="optc verify compares an artifact that runs here")
    results, steps, joules = [], [], None
    with load(artifact) as loaded, Progress() as progress:
        values = {**given, **random_inputs([info for info in loaded.inputs if info.name not in given])}
        for position, count in enumerate(threads or (loaded.threads,)):
            progress(f"measuring on {count} threads", position, len(threads) or 1)
            results.append(bench(loaded, values, seconds=seconds, threads=count))
        expected = expectation(loaded) if any(r.threads == loaded.decisions.get("threads") for r in results) else None
        if profile:
            steps = loaded.profile(values)
        if energy or grid_intensity is not None:
            progress("measuring energy")
            joules = joules_per_run(lambda: loaded.run(values), seconds, PackageEnergy())
    if as_json:
        plain = [result.to_dict() for result in results]
        measured = {} if joules is None else {"joules": joules, "carbon_g": carbon(joules, grid_intensity)}
        stated = None if expected is None else expected.to_dict()
        emit_json({"results": plain, "expected": stated, "steps": [_plain(step) for step in steps], **measured})
        return
    emit_table(*latency_table(results), right=range(6))
    if expected is not None:
        emit_facts([("expected", expectation_text(expected))])
    if joules is not None:
        shown = f"{1e3 * joules:.3g} mJ a run, all processor packages (RAPL)"
        emit_facts([("energy", shown), *carbon_facts(joules, grid_intensity)])
    if steps:
        click.echo()
        _show_steps([_plain(step) for step in steps])


def _plain(step: Any) -> dict[str, Any]:
    import dataclasses

    return dataclasses.asdict(step)


def _show_steps(steps: list[dict[str, Any]]) -> None:
    total = sum(step["seconds"] for step in steps) or 1.0
    slowest = sorted(steps, key=lambda step: -step["seconds"])[:SHOWN_STEPS]
    rows = [[seconds_text(s["seconds"]), f"{100 * s['seconds'] / total:.1f}%", s["label"]] for s in slowest]
    emit_table(["time", "share", "step"], rows, right=(0, 1))
