"""`optc passes`: which passes there are and what they can be told."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import click

from optc.cli.output import emit_facts, emit_json
from optc.cli.parameters import common


@click.command("passes")
@click.argument("name", required=False)
@common
def command(name: str | None, as_json: bool) -> None:
    """List the passes, or show NAME with its options.

    A pipeline is a list of passes: --passes 'fold,fuse{max-ops=8},cse'.
    """
    from optc.passes import registry

    names = [name] if name else list(registry.available())
    described = [describe(item) for item in names]
    if as_json:
        emit_json({"passes": described})
    elif name is None:
        emit_facts((item["name"], item["summary"]) for item in described)
    else:
        click.echo(f"{name}: {described[0]['doc']}\n")
        options = [(f"{item['name']}: {item['type']}", _option_line(item)) for item in described[0]["options"]]
        emit_facts(options or [("options", "none")])


def _option_line(item: dict[str, Any]) -> str:
    default = "must be given" if item["required"] else f"default {item['default']}"
    return f"{item['help']} ({default})" if item["help"] else default


def describe(name: str) -> dict[str, Any]:
    """A pass as plain data: its `name`, `summary`, whole `doc`, and `options`."""
    from optc.passes import registry
    from optc.passes.options import options_of, type_text, value_text

    kind = registry.get(name)
    doc = re.split(r"\n\n(?:Attributes|Options):", inspect.getdoc(kind) or "")[0].strip()
    options = []
    for option in options_of(kind):
        required = option.default is dataclasses.MISSING
        default = None if required else value_text(option.default)
        facts = {"name": option.name, "type": type_text(option.type), "required": required, "default": default}
        options.append({**facts, "help": option.help})
    summary = " ".join(doc.split("\n\n")[0].split())
    return {"name": name, "summary": summary, "doc": doc, "options": options}
