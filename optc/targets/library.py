"""Which targets there are: files of this package, entry points of the group `optc.targets`, files by path, the host."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import as_file, files
from pathlib import Path

from optc.errors import UsageError
from optc.targets import schema
from optc.targets.target import Target

HOST = "cpu"
MODE = "@"
ENTRY_POINT_GROUP = "optc.targets"


@cache
def _files() -> dict[str, Callable[[], Path]]:
    """How to get the path of each named target's file.

    An entry point of the group `optc.targets` names a function without arguments that returns the file's path, or
    the path itself.
    """
    found: dict[str, Callable[[], Path]] = {}
    with as_file(files("optc.targets")) as folder:
        for path in sorted(Path(folder).glob("*.toml")):
            found[path.stem] = lambda path=path: path  # type: ignore[misc]
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name in found or point.name == HOST:
            raise UsageError(
                f"the target '{point.name}' is defined twice",
                where=f"entry point {point.value}",
                hint="uninstall one of the packages that define it",
            )
        found[point.name] = lambda point=point: _path_of(point.load())  # type: ignore[misc]
    return found


def _path_of(loaded: object) -> Path:
    return Path(str(loaded() if callable(loaded) else loaded))


def available() -> list[str]:
    """The names that `load` knows, the host first."""
    return [HOST, *sorted(_files())]


def load(name: str) -> Target:
    """The target called `name`, or read from the TOML file at the path `name`; `NAME@MODE` in a power mode.

    Raises:
        UsageError: nothing is called so, or its file is wrong, or the target has no such mode.
    """
    base, at, mode = name.rpartition(MODE)
    if at and not mode.endswith(".toml"):
        target = load(base)
        if mode in target.modes:
            return target.in_mode(mode)
        known = ", ".join(target.modes)
        hint = f"it has: {known}" if known else "it has none"
        raise UsageError(f"the target '{base}' has no power mode '{mode}'", hint=hint)
    if name == HOST:
        from optc.targets.host import host

        return host()
    if name.endswith(".toml"):
        path = Path(name)
        return schema.build(path.stem, _tables(path, ()), str(path))
    return _named(name)


@cache
def _named(name: str) -> Target:
    path = _find(name)
    return schema.build(name, _tables(path, (name,)), str(path))


def _find(name: str) -> Path:
    try:
        return _files()[name]()
    except KeyError:
        near = difflib.get_close_matches(name, available(), n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(repr(each) for each in near)}?" if near else None
        known = ", ".join(available())
        raise UsageError(f"there is no target '{name}'", why=f"known: {known}", hint=hint) from None


def _tables(path: Path, below: tuple[str, ...]) -> schema.Table:
    """The tables of a file with its bases; `below` holds the names on the way, to find cycles."""

    def base_of(base: str) -> schema.Table:
        if base in below:
            raise UsageError("targets extend each other in a circle", where=str(path), why=" → ".join([*below, base]))
        return _tables(_find(base), (*below, base))

    return schema.resolve(schema.read_file(path), str(path), base_of)


def host_of(target: Target) -> Target:
    """The target whose processors run the code around a target's kernels: its own, unless it is an accelerator.

    Raises:
        UsageError: there is no target of the name that it gives.
    """
    return load(target.host) if target.host else target
