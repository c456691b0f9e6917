"""Markdown of the reference pages, made of what the code declares."""

from __future__ import annotations

import inspect
from collections import defaultdict
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[2]
HOST = "cpu"
"""The target that is whatever machine runs: its figures here would be those of the machine that made the site."""

_FAMILIES = "What an operation computes is ONNX's where its name begins with `onnx.`, at opset {opset}."


def operations() -> str:
    """The IR's operations: each declaration with its kind, what it has of its own, and whether native code exists."""
    from optc.backends.tvm.lowering import LOWERINGS
    from optc.ops import declaration
    from optc.ops.declaration import Kind
    from optc.ops.onnx_defaults import OPSET

    declaration.declaration_of("onnx.Add")
    rows = defaultdict(list)
    for name, each in sorted(declaration._DECLARATIONS.items()):
        own = [part for part in ("infer", "evaluate", "verify", "flops") if not _default(getattr(each, part))]
        rows[each.kind].append([f"`{name}`", "yes" if name in LOWERINGS else "", ", ".join(own)])
    lines = ["# Operations of the IR", "", _FAMILIES.format(opset=OPSET), ""]
    lines += ["Fusion reasons with the kind alone. An operation that is not listed is opaque, and runs in onnxruntime."]
    for kind in Kind:
        if found := rows[kind]:
            lines += ["", f"## {kind.value}", "", _KINDS[kind.value], ""]
            lines += _table(["operation", "native on a CPU", "declared here, beyond ONNX's schema"], found)
    return "\n".join(lines) + "\n"


_KINDS = {
    "elementwise": "One element of the result reads the same element of each operand.",
    "movement": "One element of the result reads at most one element of each operand, elsewhere.",
    "reduction": "One element of the result reads many along some axes.",
    "contraction": "Convolutions and products: what a kernel is built around.",
    "window": "A small neighbourhood of each element.",
    "control": "Holds graphs that are executed.",
    "constant": "Known when the model is compiled.",
    "opaque": "Anything else; no pass touches it.",
}


def _default(function: object) -> bool:
    """Whether a part of a declaration is what `declare` fills in."""
    return getattr(function, "__module__", "") in ("optc.ops.onnx_defaults", "optc.ops.declaration")


def passes() -> str:
    """Every pass with its options, as `optc passes` knows them."""
    from optc.cli.commands.passes import describe
    from optc.driver.pipeline import PIPELINE, SOURCE_PIPELINE
    from optc.passes import registry

    lines = ["# Passes", "", "A compile runs", "", f"    {PIPELINE}", "", "and one to C source", ""]
    lines += [f"    {SOURCE_PIPELINE}", "", "`--passes` takes another pipeline; `optc opt` runs one on IR text."]
    for name in registry.available():
        item = describe(name)
        lines += ["", f"## {name}", "", item["doc"], ""]
        rows = [[f"`{each['name']}`", each["type"], each["default"] or "", each["help"]] for each in item["options"]]
        lines += _table(["option", "type", "default", "what it does"], rows) if rows else []
    return "\n".join(lines) + "\n"


def targets() -> dict[str, str]:
    """A page for each target that ships, by its path; this machine has none."""
    from optc import targets as library
    from optc.cli.commands.targets import figure_rows

    pages = {}
    for name in library.available():
        if name == HOST:
            continue
        target = library.load(name)
        lines = [f"# {name}", "", f"{target.description}.", ""]
        if target.backends:
            lines += [f"    optc compile model.onnx --target {name} -o build/model", ""]
            lines += [f"Emitted by `{target.backends[0]}`" + _linked(target) + "."]
        else:
            lines += ["Its figures only: `optc costmodel predict --target` uses them; no code is emitted yet."]
        rows = [[field, value, source.replace(f"{ROOT}/", "")] for field, value, source in figure_rows(target)]
        lines += ["", "Every figure has its source; a latency for this target is predicted from them.", ""]
        lines += _table(["figure", "value", "source"], rows)
        pages[f"targets/{name}.md"] = "\n".join(lines) + "\n"
    return pages


def _linked(target: object) -> str:
    tools = getattr(target, "toolchain", {})
    parts = [f"linked by ziglang (`{tools['zig']}`)" if "zig" in tools else ""]
    parts += [f"or `{tools['prefix']}-gcc`" if tools.get("prefix") else ""]
    parts += [f"verified in `{tools['emulator']}`" if tools.get("emulator") else ""]
    return "".join(f", {part}" for part in parts if part)


def commands() -> str:
    """Every command with its options, as help has them."""
    from optc.cli.app import cli

    lines = ["# Commands", "", "Every command takes `--json` and `-v`.", "", "```text", cli.epilog or "", "```"]
    lines[5] = inspect.cleandoc((cli.epilog or "").replace("\b", ""))
    with click.Context(cli, info_name="optc") as context:
        for name in cli.list_commands(context):
            lines += _command(cli.get_command(context, name), f"optc {name}", context, 2)
    return "\n".join(lines) + "\n"


def _command(command: click.Command | None, name: str, parent: click.Context, depth: int) -> list[str]:
    assert command is not None
    lines = ["", f"{'#' * depth} {name}", ""]
    with click.Context(command, info_name=name.split()[-1], parent=parent) as context:
        if isinstance(command, click.Group):
            lines += [command.help or ""]
            for each in command.list_commands(context):
                lines += _command(command.get_command(context, each), f"{name} {each}", context, depth + 1)
            return lines
        lines += ["```text", command.get_help(context), "```"]
    return lines


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    return lines + [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
