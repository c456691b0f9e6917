"""`optc opt`: the compiler writer's workbench, passes over text."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from optc.cli.output import emit_json, emit_table, seconds_text
from optc.cli.parameters import common, dim_option, shape_option, unique


@click.command("opt")
@click.argument("source", metavar="INPUT")
@click.option("--passes", "pipeline", default="", help="The pipeline, for instance 'fold,fuse{max-ops=8},cse'.")
@click.option("-o", "output", type=click.Path(path_type=Path), help="Where to write the IR (default: print it).")
@click.option("--target", help="What passes optimise for; optc targets lists them.")
@click.option("--verify-each", is_flag=True, help="Check the IR after every pass.")
@click.option("--dump-ir", type=click.Path(path_type=Path), help="A folder that gets the IR after every pass.")
@click.option("--print-pipeline", is_flag=True, help="Print the pipeline with its options, and run nothing.")
@click.option("--time", "timing", is_flag=True, help="Say on standard error what each pass took and did.")
@click.option("--remarks", is_flag=True, help="Say on standard error what each pass decided.")
@shape_option
@dim_option
@common
def command(
    source: str,
    pipeline: str,
    output: Path | None,
    target: str | None,
    verify_each: bool,
    dump_ir: Path | None,
    print_pipeline: bool,
    timing: bool,
    remarks: bool,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    dims: tuple[tuple[str, int], ...],
    as_json: bool,
) -> None:
    """Run passes over INPUT and write the IR.

    INPUT is IR text (.mlir, with its weights in .resources beside it; - for standard input) or a model (.onnx, .pt2).
    """
    from optc.passes.manager import run_pipeline
    from optc.passes.pipeline import parse_pipeline
    from optc.passes.pipeline import print_pipeline as pipeline_text

    passes = parse_pipeline(pipeline)
    if print_pipeline:
        text = pipeline_text(passes)
        emit_json({"pipeline": text}) if as_json else click.echo(text)
        return
    from optc.cli.modules import pass_context, read_module
    from optc.ir.printer import print_module
    from optc.ir.resources import save_module
    from optc.ir.verifier import verify

    module = read_module(source, unique(shapes, "--shape"), unique(dims, "--dim"))
    context = pass_context(target)
    runs = run_pipeline(module, passes, context, verify_each=verify_each, dump=dump_ir)
    verify(module)
    if output is not None and str(output) != "-":
        save_module(module, output)
    elif not as_json:
        sys.stdout.write(print_module(module))
    if timing:
        click.echo("\n".join(f"{seconds_text(run.seconds):>8}  {run.name}" for run in runs), err=True)
    if remarks:
        for item in context.remarks:
            click.echo(f"{item.status} {item.what} ({item.pass_name}) at {item.location}: {item.reason}", err=True)
    if as_json:
        emit_json(
            {
                "pipeline": pipeline_text(passes),
                "output": str(output) if output else None,
                "module": None if output else print_module(module),
                "passes": [vars(run) for run in runs],
                "remarks": [{**vars(item), "location": list(item.location.nodes)} for item in context.remarks],
            }
        )
    elif output is not None and not timing:
        rows = [[run.name, str(run.operations_before), str(run.operations_after)] for run in runs]
        emit_table(["pass", "operations before", "after"], rows, right=(1, 2))
