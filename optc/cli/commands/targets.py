"""`optc targets`: what can be compiled for, and the figures that decisions rest on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from optc.cli.output import count_text, emit_facts, emit_json, emit_table, size_text
from optc.cli.parameters import common
from optc.errors import UsageError

if TYPE_CHECKING:
    from optc.targets.target import Target


@click.command("targets")
@click.argument("name", required=False)
@click.option("--calibrate", is_flag=True, help="Measure peak FLOP/s and bandwidths of this machine and keep them.")
@common
def command(name: str | None, calibrate: bool, as_json: bool) -> None:
    """List the targets, or show NAME (or the path of a target file) with the source of every figure."""
    from optc import targets

    if calibrate:
        if name not in (None, "cpu"):
            raise UsageError(f"'{name}' cannot be measured here", why="--calibrate measures this machine, 'cpu'")
        from optc.targets.host import calibrate as measure

        _show(measure(), as_json)
    elif name is not None:
        _show(targets.load(name), as_json)
    else:
        _list([targets.load(item) for item in targets.available()], as_json)


def _list(found: list[Target], as_json: bool) -> None:
    if as_json:
        emit_json({"targets": [_record(target) for target in found]})
        return
    rows = [[item.name, ", ".join(item.backends) or "figures only", item.description] for item in found]
    emit_table(["target", "emits by", "description"], rows)


def _record(target: Target) -> dict[str, Any]:
    return dataclasses.asdict(target)


def _show(target: Target, as_json: bool) -> None:
    if as_json:
        emit_json(_record(target))
        return
    emit_facts([("name", target.name), ("description", target.description)])
    emit_facts([("emits by", ", ".join(target.backends) or "nothing yet: figures only")])
    click.echo()
    emit_table(["figure", "value", "source"], figure_rows(target))


def figure_rows(target: Target) -> list[list[str]]:
    """Each figure of a target that is given: its name, its value for people, and its source."""
    return [
        [field.name, _figure(field.name, value), target.figures.get(field.name, "")]
        for field in dataclasses.fields(target)
        if field.name not in ("name", "description", "backends", "figures") and (value := getattr(target, field.name))
    ]


def _figure(name: str, value: Any) -> str:
    if name == "caches":
        return ", ".join(size_text(cache.bytes) + (" shared" if cache.shared else "") for cache in value)
    if name == "memories":
        return ", ".join(f"{each.name} {size_text(each.bytes)}" for each in value)
    if name == "peak_flops":
        return ", ".join(f"{dtype} {count_text(flops)}FLOP/s" for dtype, flops in value.items())
    if name == "modes":
        return ", ".join(f"{each}: {mode.cores} at {mode.clock / 1e9:.3g} GHz" for each, mode in value.items())
    if name in ("packages", "architectures"):
        return ", ".join(value)
    if name == "llvm":
        return " ".join(f"{key}={item}" for key, item in value.items())
    if name.startswith("memory_bandwidth"):
        return f"{count_text(value)}B/s"
    return size_text(value) if name == "memory_bytes" else str(value)
