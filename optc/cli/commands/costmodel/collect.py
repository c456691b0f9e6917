"""`optc costmodel collect`: measure kernels of this machine or of a device, for predictors to be trained on."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click

from optc.cli.devices import device_options
from optc.cli.output import Progress, emit_facts, emit_json, seconds_text
from optc.cli.parameters import common


@click.command("collect")
@click.option("--target", default="cpu", show_default=True, help="What is measured: cpu, this machine, or the device.")
@click.option("--budget", default="30m", show_default=True, help="How long to measure, for instance 90s or 30m.")
@click.option(
    "--store", type=click.Path(path_type=Path, file_okay=False), required=True, help="The folder of the rows."
)
@click.option("--models", type=click.Path(path_type=Path), multiple=True, help="A model file; repeatable.")
@click.option("--zoo", type=click.Path(path_type=Path, file_okay=False), help="A folder that benchmarks/zoo.py made.")
@click.option("--only", multiple=True, help="Of the zoo, only this model; repeatable.")
@click.option("--points", type=click.IntRange(min=1), default=10, show_default=True, help="Schedules of each workload.")
@click.option("--batch", type=click.IntRange(min=1), default=200, show_default=True, help="Kernels timed together.")
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="That build kernels.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random networks and points.")
@click.option("--models-only", is_flag=True, help="Stop after the models' own kernels.")
@click.option("--before-timing", default="", help="Words before the timing command, for instance 'taskset -c 1'.")
@click.option(
    "--ray", "on_cluster", is_flag=True, help="Spread the work over the Ray cluster of $RAY_ADDRESS, or of here."
)
@device_options
@common
def command(
    target: str,
    budget: str,
    store: Path,
    models: tuple[Path, ...],
    zoo: Path | None,
    only: tuple[str, ...],
    points: int,
    batch: int,
    processes: int,
    seed: int,
    models_only: bool,
    before_timing: str,
    on_cluster: bool,
    device: str | None,
    timeout: float,
    retries: int,
    as_json: bool,
) -> None:
    """Measure kernels of fused groups and append them to a store.

    The groups come from the models, under several ways of fusing and laying out, and from random networks; the
    schedules from the templates' spaces. Stop it at any moment: a later run with the same store goes on. With --device
    the kernels are built here and timed there; --target says what the device is.
    """
    from optc.backends import kernel_backend
    from optc.costmodel.kernels.store import RowStore
    from optc.driver.collection.remote import device_bench
    from optc.driver.collection.session import Settings, collect, machine_of, noting
    from optc.driver.collection.workloads import sample
    from optc.driver.options import parse_budget
    from optc.errors import UsageError
    from optc.runtime.device import registry
    from optc.targets import load

    there = None if device is None else registry.find(device)
    if target != "cpu" and there is None:
        why = "kernels are timed on this machine, cpu, or on a device"
        raise UsageError(f"'{target}' cannot be measured", where="--target", why=why, hint="--device NAME")
    elsewhere = {"--ray": on_cluster, "--before-timing": bool(before_timing)}
    if there is not None and (wrong := next((option for option, used in elsewhere.items() if used), None)):
        hint = "give the device the words with --prefix of optc device add" if wrong == "--before-timing" else None
        raise UsageError(f"{wrong} does not go with --device", hint=hint)
    seconds = parse_budget(budget)
    if seconds is None:
        raise UsageError("'auto' is no budget", where="--budget", hint="give a time, for instance --budget 30m")
    rows = RowStore(store)
    machine = machine_of(rows) if there is None else load(target)
    backend = kernel_backend("tvm")
    assert backend is not None
    workloads = sample(
        _models(models, zoo, only), backend, machine, seed, random_networks=not models_only, note=noting(rows)
    )
    settings = Settings(seconds, points, batch, processes, tuple(shlex.split(before_timing)))
    with Progress() as progress:
        if on_cluster:
            from optc.driver.collection.spreading import collect_on_cluster

            summary = collect_on_cluster(rows, workloads, machine, settings, progress)
        elif there is not None:
            with device_bench(there, machine, timeout, retries) as bench:
                summary = collect(rows, workloads, machine, settings, progress, bench=bench)
        else:
            summary = collect(rows, workloads, machine, settings, progress)
    noise = sorted(summary.noise)
    facts: dict[str, Any] = {
        "store": str(store),
        "workloads": summary.workloads,
        "rows": summary.rows,
        "failed": summary.failed,
        "noise_median": noise[len(noise) // 2] if noise else None,
        "noise_p90": noise[len(noise) * 9 // 10] if noise else None,
        "seconds": summary.seconds,
    }
    if as_json:
        emit_json(facts)
        return
    shown = {"store": str(store), "workloads": str(summary.workloads), "rows added": str(summary.rows)}
    shown["failed"] = str(summary.failed)
    if noise:
        shown["noise"] = f"{facts['noise_median']:.1%} median, {facts['noise_p90']:.1%} of nine in ten"
    emit_facts([*shown.items(), ("time", seconds_text(summary.seconds))])


def _models(files: tuple[Path, ...], zoo: Path | None, only: tuple[str, ...]) -> list[Any]:
    """The named files, and the zoo's with their shapes.

    Raises:
        UsageError: a file or the zoo's manifest is missing, or a name is not in it.
    """
    from optc.driver.collection.workloads import NamedModel
    from optc.errors import UsageError

    found = []
    for path in files:
        if not path.is_file():
            raise UsageError("the model does not exist", where=str(path))
        found.append(NamedModel(re.sub(r"\.\w+$", "", path.name), str(path), {}))
    if zoo is None:
        return found
    manifest = zoo / "manifest.json"
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError("the zoo has no readable manifest", where=str(manifest), why=str(error)) from error
    unknown = sorted(set(only) - set(entries))
    if unknown:
        raise UsageError(
            f"the zoo holds no model '{unknown[0]}'", where="--only", why=f"it holds: {', '.join(entries)}"
        )
    for name, entry in entries.items():
        if not only or name in only:
            found.append(NamedModel(name, str(zoo / entry["file"]), entry["shapes"]))
    return found
