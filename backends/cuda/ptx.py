"""PTX as text: one text for each entry function of a module, and one module of several."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


def split_ptx(ptx: str) -> dict[str, str]:
    """PTX of several entry functions as one text for each, with the module's variables that it names."""
    pieces = _pieces(ptx)
    parts = {}
    for name, text in pieces.entries.items():
        helpers: dict[str, str] = {}
        _collect_helpers(text, pieces.helpers, helpers)
        body = "\n".join([*helpers.values(), text])
        used = [line for variable, line in pieces.variables if _names(body, variable)]
        parts[name] = "\n".join([pieces.head, *used, "", body, ""])
    return parts


def _pattern(symbol: str) -> str:
    """Where a symbol stands, and not a longer one that contains it."""
    return rf"(?<![\w$%]){re.escape(symbol)}(?![\w$])"


def _names(text: str, symbol: str) -> bool:
    return re.search(_pattern(symbol), text) is not None


def _collect_helpers(text: str, known: Mapping[str, str], found: dict[str, str]) -> None:
    """The functions that a text calls, each behind those that it calls itself."""
    for name, body in known.items():
        if name not in found and _names(text, name) and body != text:
            _collect_helpers(body, {other: each for other, each in known.items() if other != name}, found)
            found[name] = body


def joined_ptx(parts: Sequence[str]) -> str:
    """One text of the entry functions of several; their module variables are renamed where they clash.

    All parts are of one architecture.
    """
    head, lines, bodies = "", [], []
    external: set[str] = set()
    helpers: dict[str, str] = {}
    for number, part in enumerate(parts):
        pieces = _pieces(part)
        head = pieces.head
        texts = [*pieces.helpers.items(), *pieces.entries.items()]
        for variable, line in pieces.variables:
            if line.startswith(".extern"):
                lines += [] if variable in external else [line]
                external.add(variable)
                continue
            fresh = f"{variable}_{number}"
            lines.append(re.sub(_pattern(variable), fresh, line))
            texts = [(name, re.sub(_pattern(variable), fresh, text)) for name, text in texts]
        for name, text in texts:
            if name in pieces.entries:
                bodies.append(text)
            else:
                helpers.setdefault(name, text)
    return "\n".join([head, *lines, "", *helpers.values(), *bodies, ""])


@dataclass(frozen=True)
class _Pieces:
    """A PTX text: its head, its module variables with their names, functions that are called, and entry functions."""

    head: str
    variables: list[tuple[str, str]]
    helpers: dict[str, str]
    entries: dict[str, str]


def _pieces(ptx: str) -> _Pieces:
    head: list[str] = []
    variables: list[tuple[str, str]] = []
    helpers: dict[str, str] = {}
    entries: dict[str, str] = {}
    name, body, kind = "", [""], entries
    for line in ptx.splitlines():
        entry = re.match(r"\.visible \.entry (\w+)\(", line)
        called = re.match(r"(?:\.visible |\.weak )?\.func +(?:\(.*?\) )?(\w+)", line)
        if entry or called:
            found = entry or called
            assert found is not None
            name, body, kind = found.group(1), [], entries if entry else helpers
        if name:
            body.append(line)
            if line == "}":
                kind[name], name = "\n".join(body), ""
            elif line == ";":  # a declaration: the definition follows
                name = ""
            continue
        if line.startswith((".version", ".target", ".address_size")):
            head.append(line)
        elif line.startswith((".extern", ".shared", ".global", ".const", ".visible")):
            found = re.search(r"(\w+)(\[\d*\])*( = .*)?;$", line)
            assert found is not None, line
            variables.append((found.group(1), line))
    return _Pieces("\n".join(head), variables, helpers, entries)
