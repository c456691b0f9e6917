"""`optc memory`: solve and check allocation problems, and draw an artifact's memory map."""

from __future__ import annotations

from pathlib import Path

import click

from optc.cli.memory_game import map_command, stream_command, train_command
from optc.cli.output import emit_facts, emit_json, emit_table, size_text
from optc.cli.parameters import common
from optc.cli.pictures import check_picture, write_picture
from optc.errors import LimitError, OptcError, UsageError

NODES = 50_000_000
"""Placements of the exact search by default: about a minute."""

_file = click.Path(path_type=Path, dir_okay=False)


@click.group("memory")
def command() -> None:
    """Plan, check and show where buffers lie in memory."""


@command.command("plan")
@click.argument("problem", type=_file)
@click.option("--capacity", type=click.IntRange(min=0), help="Bytes of the arena (default: the least that works).")
@click.option("-o", "output", type=_file, help="Where the solution goes (.csv: the problem's columns and offset).")
@click.option("--align", type=click.IntRange(min=1), default=1, show_default=True, help="Offsets are multiples of it.")
@click.option(
    "--nodes", type=click.IntRange(min=0), default=NODES, show_default=True, help="Placements of the exact search."
)
@common
def plan(problem: Path, capacity: int | None, output: Path | None, align: int, nodes: int, as_json: bool) -> None:
    """Give every buffer of PROBLEM (.csv with id,lower,upper,size) an offset so that none that live at once overlap."""
    from optc.passes.memory.plan import plan_memory
    from optc.passes.memory.problem_file import read_problem, write_solution

    content = read_problem(problem)
    found = plan_memory(content.buffers, alignment=align, capacity=capacity, exact_nodes=nodes)
    if capacity is not None and found.arena_bytes > capacity:
        certain = found.least > capacity
        raise LimitError(
            f"the buffers {'do not fit' if certain else 'were not fitted'} into {capacity} bytes",
            where=str(problem),
            why=f"{'at least' if certain else 'a proof was not found either;'} {found.least} bytes are needed",
            hint=f"--capacity {found.arena_bytes} works" + ("" if certain else ", or try more --nodes"),
        )
    if output is not None:
        write_solution(output, content, found.offsets)
    if as_json:
        emit_json(
            {
                "buffers": len(content.buffers),
                "arena_bytes": found.arena_bytes,
                "lower_bound": found.lower_bound,
                "least": found.least,
                "optimal": found.optimal,
                "solver": found.solver,
                "offsets": None if output else dict(zip(content.names, found.offsets, strict=True)),
            }
        )
        return
    proof = "optimal" if found.optimal else f"no less than {found.least} is possible"
    emit_facts(
        [
            ("buffers", str(len(content.buffers))),
            ("arena", f"{found.arena_bytes} bytes ({size_text(found.arena_bytes)}), {proof}"),
            ("live at once", f"{found.lower_bound} bytes"),
            ("solver", found.solver),
            *([("written to", str(output))] if output else []),
        ]
    )


@command.command("check")
@click.argument("solution", type=_file)
@click.option("--capacity", type=click.IntRange(min=0), help="Bytes that no buffer may reach beyond.")
@common
def check(solution: Path, capacity: int | None, as_json: bool) -> None:
    """Check SOLUTION (.csv with id,lower,upper,size,offset): nothing overlaps, nothing ends beyond the capacity."""
    from optc.passes.memory.plan import height_of, live_peak
    from optc.passes.memory.problem_file import first_fault, read_problem

    content = read_problem(solution)
    if content.offsets is None:
        raise UsageError("the file is no solution", where=str(solution), why="it has no column 'offset'")
    fault = first_fault(content, capacity)
    if fault is not None:
        raise OptcError("the solution is wrong", where=str(solution), why=fault)
    arena, bound = height_of(content.buffers, content.offsets), live_peak(content.buffers)
    if as_json:
        emit_json({"valid": True, "buffers": len(content.buffers), "arena_bytes": arena, "lower_bound": bound})
        return
    emit_facts(
        [
            ("buffers", f"{len(content.buffers)}, none overlap"),
            ("arena", f"{arena} bytes ({size_text(arena)})"),
            ("live at once", f"{bound} bytes"),
        ]
    )


@command.command("show")
@click.argument("artifact")
@click.option("--plot", type=_file, help="Write the memory map: lifetimes and addresses (.svg, .png).")
@click.option("--top", type=click.IntRange(min=1), default=12, show_default=True, help="Show the N largest buffers.")
@common
def show(artifact: str, plot: Path | None, top: int, as_json: bool) -> None:
    """Show what lies where in the arena of ARTIFACT, and when."""
    from optc.artifact import read
    from optc.report.memory_map import kinds_text, memory_plot, worst_step

    if plot is not None:
        check_picture(plot)
    files = read(artifact, check_host=False)
    memory = files.decisions.get("memory")
    if memory is None:
        raise OptcError("the artifact holds no memory map", where=artifact, hint="compile it again with this optc")
    if plot is not None:
        write_picture(plot, memory_plot(Path(artifact).stem, memory))
    if as_json:
        emit_json({**memory, "plot": plot})
        return
    worst = worst_step(memory)
    emit_facts(
        [
            ("arena", f"{memory['arena_bytes']} bytes ({size_text(memory['arena_bytes'])})"),
            ("live at once", f"{memory['lower_bound']} bytes"),
            ("worst step", "none" if worst is None else f"{worst}: {memory['steps'][worst]}"),
            *([] if worst is None else [("live in it", kinds_text(memory, worst))]),
            ("solver", memory["solver"]),
        ]
    )
    click.echo()
    largest = sorted(memory["buffers"], key=lambda each: (-each["bytes"], each["start"]))[:top]
    rows = [
        [
            each["name"],
            each["kind"],
            size_text(each["bytes"]),
            str(each["offset"]),
            f"{each['start']}–{each['end'] - 1}",
            "" if worst is None or not each["start"] <= worst < each["end"] else "live in the worst step",
        ]
        for each in largest
    ]
    emit_table(["buffer", "kind", "size", "offset", "steps", ""], rows, right=[2, 3, 4])
    if plot is not None:
        click.echo(f"written to {plot}")


command.add_command(map_command)
command.add_command(stream_command)
command.add_command(train_command)
