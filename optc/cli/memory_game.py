"""`optc memory map`, `stream` and `train`: which memory holds what and when, and the agent that decides it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from optc.cli.output import emit_facts, emit_json, emit_table, seconds_text, size_text
from optc.cli.parameters import common, dim_option, shape_option, unique
from optc.cli.pictures import check_picture, write_picture
from optc.errors import OptcError, UsageError

if TYPE_CHECKING:
    from optc.passes.memory.game.problem import Problem

_file = click.Path(path_type=Path, dir_okay=False)
GAME_SUFFIX = ".json"


@click.command("map")
@click.argument("model")
@click.option("--target", help="Whose memories (with a model).")
@shape_option
@dim_option
@click.option("--bits", type=click.IntRange(1, 32), help="Of float elements, as if the model were quantized.")
@click.option(
    "--solver",
    "solvers",
    type=click.Choice(["greedy", "agent", "ilp"]),
    multiple=True,
    default=("greedy", "agent"),
    show_default=True,
    help="Repeatable; the best mapping stands.",
)
@click.option("--simulations", type=click.IntRange(min=1), help="The agent's, for each decision.")
@click.option("--agent", type=_file, help="A network of `optc memory train` (default: the shipped one).")
@click.option("--plot", type=_file, help="Draw the replay (.svg, .png).")
@click.option("--problem", type=_file, help="Write the game (.json), to train on or to map again.")
@common
def map_command(
    model: str,
    target: str | None,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    dims: tuple[tuple[str, int], ...],
    bits: int | None,
    solvers: tuple[str, ...],
    simulations: int | None,
    agent: Path | None,
    plot: Path | None,
    problem: Path | None,
    as_json: bool,
) -> None:
    """Map the tensors of MODEL to the memories of a target over time.

    MODEL is .onnx, .pt2 or .mlir, or a game (.json) that --problem wrote.
    """
    from optc.driver.records.mapping import mapping_record
    from optc.passes.memory.game.agent import load_weights, map_memory
    from optc.passes.memory.game.engine import Settings
    from optc.passes.memory.game.problem_json import read_problem, write_problem

    if plot is not None:
        check_picture(plot)
    if model.endswith(GAME_SUFFIX):
        if target is not None or shapes or dims or bits is not None:
            raise UsageError("a game has its own memories and shapes", where=model, hint="give only the file")
        game = read_problem(Path(model))
    else:
        game = _game_of(model, target, unique(shapes, "--shape"), unique(dims, "--dim"), bits)
    if problem is not None:
        write_problem(problem, game)
    settings = Settings() if simulations is None else Settings(simulations=simulations)
    weights = load_weights(agent) if "agent" in solvers else None
    record = mapping_record(game, map_memory(game, solvers, weights=weights, settings=settings))
    if plot is not None:
        from optc.report.mapping_plot import mapping_plot

        write_picture(plot, mapping_plot(Path(model).stem, record))
    if as_json:
        emit_json({**record, "plot": plot})
        return
    times = "\n".join(f"{seconds_text(each)} {name}" for name, each in record["by_solver"].items())
    emit_facts(
        [
            ("simulated", f"{seconds_text(record['seconds'])} by {record['solver']}"),
            ("arithmetic", seconds_text(record["arithmetic"])),
            ("waiting", f"{seconds_text(record['stalls'])} for {len(record['copies'])} copies"),
            ("found", times),
            *([("written to", str(plot))] if plot else []),
        ]
    )
    click.echo()
    rows = [
        [each["name"], size_text(each["bytes"]), size_text(each["used"]), *_counts(each["stays"])]
        for each in record["memories"]
    ]
    emit_table(["memory", "size", "used", "written", "fetched", "held"], rows, right=range(1, 6))


def _counts(stays: list[dict[str, str]]) -> list[str]:
    return [str(sum(each["how"] == how for each in stays)) for how in ("written", "fetched", "held")]


def _game_of(model: str, target: str | None, shapes: dict[str, Any], dims: dict[str, int], bits: int | None) -> Problem:
    from optc import targets
    from optc.cli.modules import read_module
    from optc.driver.compile import require_static_inputs
    from optc.driver.mapping import mapping_problem

    if target is None:
        raise UsageError("a model needs --target", hint="--target stm32h743i-eval, or tda4vm")
    module = read_module(model, shapes, dims)
    require_static_inputs(module)
    return mapping_problem(module, targets.load(target), bits)


@click.command("stream")
@click.argument("model")
@click.option("--target", required=True, help="What computes the steps.")
@click.option("--memory", required=True, help="Bytes for weights (4194304, 4M).")
@click.option("--storage", required=True, help="Bytes a second of the storage that they come from (40M).")
@shape_option
@dim_option
@common
def stream_command(
    model: str,
    target: str,
    memory: str,
    storage: str,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    dims: tuple[tuple[str, int], ...],
    as_json: bool,
) -> None:
    """Plan how weights that do not fit into memory are loaded while MODEL runs: what stays, and when each load starts.

    The times are simulated with the predicted times of the steps.
    """
    from optc import targets
    from optc.cli.modules import read_module
    from optc.driver.compile import require_static_inputs
    from optc.driver.mapping import streaming_problem
    from optc.passes.memory.streaming import plan_streaming
    from optc.sizes import parse_size

    budget, rate = parse_size(memory), parse_size(storage)
    if not rate or budget is None:
        raise UsageError("the storage has no speed", where="--storage", hint="--storage 40M")
    module = read_module(model, unique(shapes, "--shape"), unique(dims, "--dim"))
    require_static_inputs(module)
    names, compute, weights = streaming_problem(module, targets.load(target))
    plan = plan_streaming(compute, weights, budget, float(rate))
    total = sum(weight.size for weight in weights)
    locked = sum(weights[number].size for number in plan.locked)
    if as_json:
        emit_json(
            {
                "seconds": plan.seconds,
                "arithmetic": sum(compute),
                "stalls": plan.stalls,
                "weight_bytes": total,
                "locked_bytes": locked,
                "memory_bytes": plan.bytes,
                "locked": [weights[number].name for number in sorted(plan.locked)],
                "loads": [
                    {
                        "weight": weights[load.weight].name,
                        "bytes": weights[load.weight].size,
                        "step": names[weights[load.weight].step],
                        "after": names[load.after] if load.after >= 0 else None,
                        "start": load.start,
                        "end": load.end,
                    }
                    for load in plan.loads
                ],
            }
        )
        return
    emit_facts(
        [
            ("simulated", f"{seconds_text(plan.seconds)}, {seconds_text(plan.stalls)} of it waiting for loads"),
            ("weights", size_text(total)),
            ("locked", f"{size_text(locked)} in {len(plan.locked)} weights"),
            ("streamed", f"{size_text(total - locked)} in {len(plan.loads)} loads"),
            ("in memory", f"{plan.bytes} bytes ({size_text(plan.bytes)})"),
        ]
    )


@click.command("train")
@click.argument("problems", nargs=-1, type=_file)
@click.option("-o", "output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Of the run.")
@click.option("--rounds", type=click.IntRange(min=1), default=200, show_default=True, help="In all, earlier ones too.")
@click.option("--games", type=click.IntRange(min=1), default=48, show_default=True, help="In a round.")
@click.option("--simulations", type=click.IntRange(min=1), default=48, show_default=True, help="For each decision.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random.")
@common
def train_command(
    problems: tuple[Path, ...],
    output: Path,
    rounds: int,
    games: int,
    simulations: int,
    seed: int,
    as_json: bool,
) -> None:
    """Teach the mapping agent by self-play on random games, and on PROBLEMS (.json of `optc memory map --problem`).

    The folder holds a checkpoint after every round, the log, and the network for `optc memory map --agent`; the same
    command goes on where it was stopped.
    """
    from optc.passes.memory.game.problem_json import read_problem

    try:
        from optc.passes.memory.game.train import Training, train
    except ImportError as fault:
        raise OptcError("training needs PyTorch", why=str(fault), hint="pip install 'optc[torch]'") from fault

    given = [read_problem(path) for path in problems]
    training = Training(rounds=rounds, games=games, simulations=simulations, seed=seed, given=0.25)
    path = train(output, given, training, lambda line: click.echo(json.dumps(line), err=True))
    if as_json:
        emit_json({"agent": str(path), "rounds": rounds})
    else:
        emit_facts([("agent", str(path)), ("rounds", str(rounds))])
