"""`optc compile`: a model into an artifact, and a summary of what it became."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import Any

import click

from optc.cli.calibration import calibration_options, check, unmet
from optc.cli.failures import render
from optc.cli.output import Progress, emit_facts, emit_json
from optc.cli.parameters import common, dim_option, shape_option, threads_option, unique
from optc.cli.reporting import read_explanation, write_report
from optc.cli.summary import artifact_facts, artifact_record

MEASURE_SECONDS = 0.3


@click.command("compile")
@click.argument("model")
@click.option("--target", default="cpu", show_default=True, help="What to compile for; optc targets lists them.")
@click.option("-o", "output", type=click.Path(path_type=Path), help="The artifact's folder (default: MODEL.optc).")
@shape_option
@dim_option
@threads_option
@click.option("--tune", default="auto", show_default=True, help="Time for measuring schedules: 0, 30s, 5m or auto.")
@click.option("--memory-limit", metavar="SIZE", help="The largest arena: 262144, 256K, 1.5M (default: any).")
@click.option("--guard-weights", is_flag=True, help="Notice weights whose bits change, on disk or in memory.")
@click.option("--compress-weights", is_flag=True, help="Keep the weights in fewer bytes, every bit as it is.")
@click.option("--weight-memory", metavar="SIZE", help="The most weights in memory; others are read in each run.")
@click.option("--storage", metavar="SIZE", help="Bytes a second that they are read with (default: as from memory).")
@click.option(
    "--cost-model",
    type=click.Choice(["auto", "analytical", "learned", "measured"]),
    default="auto",
    show_default=True,
    help="What decisions rest on; auto: analytical, and learned for schedules and the stated latency.",
)
@click.option("--verify/--no-verify", default=True, help="Compare with the source model in onnxruntime.")
@click.option("--passes", help="A pipeline in place of the standard one.")
@click.option("--backend", help="Use only this backend of the target, for instance onnx.")
@click.option("--verify-each", is_flag=True, help="Check the IR after every pass.")
@click.option("--dump-ir", type=click.Path(path_type=Path), help="A folder that gets the IR after every pass.")
@click.option(
    "--emit",
    type=click.Choice(["static", "shared", "ort-custom-op"]),
    multiple=True,
    help="Also write a library with the weights inside: for C, or as an operator of onnxruntime; repeatable.",
)
@click.option("--name", "library_name", help="What the library's names begin with (default: the model's name).")
@click.option("--depfile", type=click.Path(path_type=Path), help="Write for Make or Ninja what the artifact rests on.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write optc explain's page (.html).")
@calibration_options
@common
def command(
    model: str,
    target: str,
    output: Path | None,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    dims: tuple[tuple[str, int], ...],
    threads: int | None,
    tune: str,
    cost_model: str,
    memory_limit: str | None,
    guard_weights: bool,
    compress_weights: bool,
    weight_memory: str | None,
    storage: str | None,
    verify: bool,
    passes: str | None,
    backend: str | None,
    verify_each: bool,
    dump_ir: Path | None,
    report: Path | None,
    emit: tuple[str, ...],
    library_name: str | None,
    depfile: Path | None,
    as_json: bool,
    **calibration: Any,
) -> None:
    """Compile MODEL (.onnx or .pt2) into a folder of native code, weights and a C header.

    With --calib a model in float becomes one of int8 and float, layer by layer as it pays and keeps the bound.
    """
    from optc import driver
    from optc.driver.artifacts.depfile import sources_of, write_depfile
    from optc.runtime.expectation import expectation

    quantization = check(calibration)
    start = time.monotonic()
    with Progress() as progress:
        artifact = driver.compile(
            model,
            target=target,
            output=output or Path(f"{Path(model).stem}.optc"),
            shapes=unique(shapes, "--shape"),
            dims=unique(dims, "--dim"),
            threads=threads,
            tune=tune,
            cost_model=cost_model,
            memory_limit=memory_limit,
            guard_weights=guard_weights,
            compress_weights=compress_weights,
            weight_memory=weight_memory,
            storage=storage,
            verify=verify,
            passes=passes,
            backend=backend,
            verify_each=verify_each,
            dump_ir=dump_ir,
            command=typed(),
            progress=progress,
            quantization=quantization,
            emit=emit,
            library_name=library_name,
        )
        if depfile is not None:
            write_depfile(depfile, artifact.path, sources_of(model, target, (calibration.get("calib"),)))
        measured = None if "ram_bytes" in artifact.manifest.cost else _measure(artifact)
        expected = expectation(artifact) if measured is not None else None
        if report is not None:
            write_report(report, read_explanation(str(artifact.path)))
    seconds = time.monotonic() - start
    if as_json:
        emit_json({**artifact_record(artifact.path, artifact.manifest, measured, expected), "compile_seconds": seconds})
    else:
        emit_facts(artifact_facts(artifact.path, artifact.manifest, measured, expected))
    precision = artifact.manifest.cost.get("precision")
    error = None if precision is None else unmet(precision, model)
    if error is not None:
        click.echo(render(error), err=True)
        raise SystemExit(error.exit_code)


_SILENT = frozenset({"output", "as_json", "verbose", "dump_ir", "report", "depfile"})
"""Options that say nothing of what is in the artifact."""


def typed() -> str:
    """The command line as it goes into the manifest: the same wherever the files lie and the artifact goes."""
    context = click.get_current_context()
    words = list(context.find_root().obj)
    values, _, order = context.command.make_parser(context).parse_args(words[words.index("compile") + 1 :])
    given = {name: list(value) if isinstance(value, list | tuple) else [value] for name, value in values.items()}
    arguments, options = [], []
    for parameter in order:
        value = given[parameter.name or ""].pop(0)
        if isinstance(parameter, click.Argument):
            arguments.append(_without_folder(value))
        elif parameter.name not in _SILENT:
            options += _option_words(parameter, value)
    return shlex.join(["optc", "compile", *arguments, *options])


def _option_words(option: click.Parameter, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [option.opts[0] if value else option.secondary_opts[0]]
    return [option.opts[0], _without_folder(str(value))]


def _without_folder(word: str) -> str:
    return Path(word).name if os.sep in word and os.path.exists(word) else word


def _measure(artifact: Any) -> float | None:
    """The median latency in seconds on random inputs; None for another machine, or where no input can be made up."""
    from optc.errors import UsageError
    from optc.runtime.bench import bench

    if not artifact.runs_here:
        return None
    try:
        return bench(artifact, seconds=MEASURE_SECONDS).median
    except UsageError:
        return None
