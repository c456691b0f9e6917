"""From the text of a target file to a Target: every key is checked, and a file may extend another by `base`."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from optc.errors import UsageError
from optc.ir.dtypes import BY_NAME
from optc.targets.target import SHIFT, Cache, Memory, Mode, Target

Table = dict[str, Any]
Resolve = Callable[[str], Table]

_FIELDS = {field.name: field for field in dataclasses.fields(Target)}
_INTEGERS = ("cores", "vector_bytes", "vector_registers", "channel_block", "memory_bytes")
_NUMBERS = ("memory_bandwidth", "memory_bandwidth_all", "launch_seconds", "parallel_seconds")
_TABLES = ("llvm", "peak_flops", "energy", "toolchain", "figures")
_UNFOUNDED = ("figures", "description", "backends", "name", "toolchain", "host", "architectures", "packages")
_TOOLS = ("prefix", "zig", "zig_static", "emulator")
_OPTIONAL = {"base"}


def read_file(path: Path) -> Table:
    """The tables of one file, unchecked.

    Raises:
        UsageError: the file cannot be read or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError("the target file cannot be read", where=str(path), why=error.strerror) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("the target file is not valid TOML", where=str(path), why=str(error)) from error


def inherit(child: Table, base: Table, where: str) -> Table:
    """`child` over `base`: tables merge key by key, everything else replaces.

    The source of a figure that the child replaces is not inherited: the child's own, or the child's file, takes over.
    """
    merged = dict(base)
    sources = dict(base.get("figures", {}))
    for key, value in child.items():
        if key == "base":
            continue
        if key in _FIELDS and key not in _UNFOUNDED:
            sources[key] = f"given in {where}"
        merged[key] = {**base.get(key, {}), **value} if key in _TABLES and isinstance(value, dict) else value
    merged["figures"] = {**sources, **child.get("figures", {})}
    return merged


def resolve(tables: Table, where: str, base_of: Resolve) -> Table:
    """The tables with those of their `base` underneath, recursively; `base_of` gives a base's resolved tables."""
    if "base" not in tables:
        return inherit(tables, {}, where)
    base = tables["base"]
    if not isinstance(base, str):
        raise _wrong("base", base, "the name of a target", where)
    return inherit(tables, base_of(base), where)


def build(name: str, tables: Mapping[str, Any], where: str) -> Target:
    """Check resolved tables and make the Target.

    Raises:
        UsageError: a key is unknown, missing or of the wrong type; the message names file and key.
    """
    for key in tables:
        if key not in _FIELDS and key not in _OPTIONAL:
            known = ", ".join(sorted(set(_FIELDS) - {"name"}))
            raise UsageError(f"'{key}' is not a key of a target file", where=where, hint=f"keys: {known}")
    for key in ("description", "backends"):
        if key not in tables:
            raise UsageError(f"the target file lacks '{key}'", where=where)
    values: Table = {"name": name}
    for key, value in tables.items():
        values[key] = _CHECKS[key](key, value, where)
    return Target(**values)


def _wrong(key: str, value: object, expected: str, where: str) -> UsageError:
    return UsageError(f"'{key}' of the target must be {expected}", where=where, why=f"it is {value!r}")


def _text(key: str, value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong(key, value, "a text", where)
    return value


def _integer(key: str, value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _wrong(key, value, "an integer that is not negative", where)
    return value


def _number(key: str, value: object, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
        raise _wrong(key, value, "a number that is not negative", where)
    return float(value)


def _texts(key: str, value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _wrong(key, value, "a list of texts", where)
    return tuple(value)


def _table(key: str, value: object, where: str) -> Table:
    if not isinstance(value, dict):
        raise _wrong(key, value, "a table", where)
    return value


def _peaks(key: str, value: object, where: str) -> dict[str, float]:
    for dtype in _table(key, value, where):
        if dtype not in BY_NAME and dtype != SHIFT:
            raise _wrong(f"{key}.{dtype}", dtype, f"one of {', '.join([*BY_NAME, SHIFT])}", where)
    return {dtype: _number(f"{key}.{dtype}", peak, where) for dtype, peak in _table(key, value, where).items()}


def _energy(key: str, value: object, where: str) -> dict[str, float]:
    table = _table(key, value, where)
    if set(table) != {"flop", "byte", "watts"}:
        raise _wrong(key, value, "a table with the keys flop, byte and watts", where)
    return {name: _number(f"{key}.{name}", each, where) for name, each in table.items()}


def _tools(key: str, value: object, where: str) -> dict[str, str]:
    for name in _table(key, value, where):
        if name not in _TOOLS:
            raise _wrong(f"{key}.{name}", name, f"one of {', '.join(_TOOLS)}", where)
    return {name: _text(f"{key}.{name}", each, where) for name, each in _table(key, value, where).items()}


def _caches(key: str, value: object, where: str) -> tuple[Cache, ...]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise _wrong(key, value, "a list of tables", where)
    caches = []
    for level, each in enumerate(value, 1):
        if set(each) != {"bytes", "shared", "bandwidth"}:
            raise _wrong(f"{key}[{level}]", each, "a table with the keys bytes, shared and bandwidth", where)
        if not isinstance(each["shared"], bool):
            raise _wrong(f"{key}[{level}].shared", each["shared"], "true or false", where)
        capacity = _integer(f"{key}[{level}].bytes", each["bytes"], where)
        caches.append(Cache(capacity, each["shared"], _number(f"{key}[{level}].bandwidth", each["bandwidth"], where)))
    return tuple(caches)


def _memories(key: str, value: object, where: str) -> tuple[Memory, ...]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise _wrong(key, value, "a list of tables", where)
    memories: list[Memory] = []
    for number, each in enumerate(value, 1):
        name = f"{key}[{number}]"
        if not {"name", "bytes", "bandwidth"} <= set(each) <= {"name", "bytes", "bandwidth", "read_only"}:
            raise _wrong(name, each, "a table with the keys name, bytes, bandwidth and, if wanted, read_only", where)
        bandwidth = _number(f"{name}.bandwidth", each["bandwidth"], where)
        if not bandwidth or (memories and bandwidth > memories[-1].bandwidth):
            raise _wrong(f"{name}.bandwidth", bandwidth, "above 0, and not above that of the memory before", where)
        if not isinstance(each.get("read_only", False), bool):
            raise _wrong(f"{name}.read_only", each["read_only"], "true or false", where)
        capacity = _integer(f"{name}.bytes", each["bytes"], where)
        label = _text(f"{name}.name", each["name"], where)
        memories.append(Memory(label, capacity, bandwidth, each.get("read_only", False)))
    if memories and all(memory.read_only for memory in memories):
        raise _wrong(key, value, "a list with a memory that a run may write", where)
    return tuple(memories)


def _modes(key: str, value: object, where: str) -> dict[str, Mode]:
    modes = {}
    names = [field.name for field in dataclasses.fields(Mode)]
    for name, each in _table(key, value, where).items():
        place = f"{key}.{name}"
        if not isinstance(each, dict) or set(each) != set(names):
            raise _wrong(place, each, f"a table with the keys {', '.join(names)}", where)
        cores = _integer(f"{place}.cores", each["cores"], where)
        numbers = {key: _number(f"{place}.{key}", each[key], where) for key in names if key != "cores"}
        if not cores or not numbers["clock"] or not numbers["memory_bandwidth_all"]:
            raise _wrong(place, each, "a table with cores, clock and memory_bandwidth_all above 0", where)
        modes[name] = Mode(cores, **numbers)
    return modes


def _figures(key: str, value: object, where: str) -> dict[str, str]:
    for name, source in _table(key, value, where).items():
        if name not in _FIELDS:
            raise _wrong(f"{key}.{name}", name, "the source of a key of the target", where)
        _text(f"{key}.{name}", source, where)
    return dict(_table(key, value, where))


_CHECKS: dict[str, Callable[[str, object, str], object]] = {
    "description": _text,
    "backends": _texts,
    "host": _text,
    "architectures": _texts,
    "packages": _texts,
    "modes": _modes,
    "llvm": _table,
    "peak_flops": _peaks,
    "caches": _caches,
    "memories": _memories,
    "energy": _energy,
    "toolchain": _tools,
    "figures": _figures,
    **dict.fromkeys(_INTEGERS, _integer),
    **dict.fromkeys(_NUMBERS, _number),
}
