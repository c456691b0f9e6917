"""A sweep: one training run for each combination of options, each in a process of its own."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optc.costmodel.training.config import Config
from optc.errors import OptcError, UsageError

Value = str | int | float | bool


@dataclass(frozen=True)
class Trial:
    """One combination.

    Attributes:
        options: by name, as they were given: `seed`, `model.trees` …
        config: with them; its name ends in the number of the trial.
    """

    options: Mapping[str, Value]
    config: Config


def trials(config: Config, choices: Mapping[str, Sequence[Value]]) -> list[Trial]:
    """All combinations of the choices, in order.

    Args:
        config: what they vary.
        choices: values of `seed` or of `TABLE.OPTION`.

    Raises:
        UsageError: a name is neither.
    """
    found = []
    for number, values in enumerate(itertools.product(*choices.values())):
        options = dict(zip(choices, values, strict=True))
        tables = {name: dict(table) for name, table in config.tables.items()}
        seed = config.seed
        for name, value in options.items():
            table, dot, option = name.partition(".")
            if name == "seed" and isinstance(value, int):
                seed = value
            elif dot and option:
                tables.setdefault(table, {})[option] = value
            else:
                raise UsageError(
                    f"'{name} = {value}' cannot be varied", where="--vary", hint="seed=0,1 or table.option=…"
                )
        found.append(Trial(options, replace(config, name=f"{config.name}-{number}", seed=seed, tables=tables)))
    return found


def to_toml(config: Config) -> str:
    """The text that `read_config` reads."""
    lines = [f"name = {json.dumps(config.name)}", f"set = {json.dumps(config.data_set)}", f"seed = {config.seed}"]
    for name, table in config.tables.items():
        lines += [f"[{name}]", *(f"{option} = {json.dumps(value)}" for option, value in table.items())]
    return "\n".join(lines) + "\n"


def run_trial(text: str, data: str, out: str) -> list[dict[str, Any]]:
    """Train a configuration in a new process; a trial that was stopped goes on where it was.

    Returns:
        The cards of its predictors, as `optc costmodel train --json` prints them.

    Raises:
        OptcError: the training fails.
    """
    with tempfile.TemporaryDirectory(prefix="optc-sweep-") as folder:
        path = Path(folder) / "trial.toml"
        path.write_text(text, encoding="utf-8")
        words = ["costmodel", "train", "--config", str(path), "--data", data, "-o", out, "--resume", "--json"]
        done = subprocess.run([sys.executable, "-m", "optc", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        why = next((line for line in done.stderr.splitlines() if line.startswith("error")), done.stderr.strip()[-200:])
        raise OptcError("a trial of the sweep failed", where=text.splitlines()[0], why=why)
    cards: list[dict[str, Any]] = json.loads(done.stdout)["predictors"]
    return cards


Spread = Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], Iterator[tuple[int, Any]]]


def sweep(
    found: Sequence[Trial], data: Path, out: Path, spread: Spread
) -> Iterator[tuple[Trial, list[dict[str, Any]]]]:
    """Each trial with its cards, as they come.

    Args:
        found: the trials.
        data: as for a training run.
        out: gets the predictors.
        spread: runs a function for many arguments and gives (number, result) pairs.
    """
    tasks = ((to_toml(each.config), str(data.resolve()), str(out.resolve())) for each in found)
    for number, cards in spread(run_trial, tasks):
        yield found[number], cards


def in_turn(work: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
    """The Spread that runs one after the other."""
    for number, task in enumerate(tasks):
        yield number, work(*task)
