"""`optc.toml`: which models are compiled for which targets, and how."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optc.errors import OptcError, UsageError
from optc.ir.source import near

FILE = "optc.toml"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Unit:
    """A model for a target.

    Attributes:
        model: the name of the model in the project.
        target: what it is compiled for: a name, or the absolute path of a target file.
        file: the model.
        output: the artifact's folder.
        options: words for `optc compile`, without the model, `--target` and `-o`.
        tune: what `--tune` says.
        data: further files and folders that the compile reads.
    """

    model: str
    target: str
    file: Path
    output: Path
    options: tuple[str, ...]
    tune: str
    data: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.model}/{self.output.name}"


@dataclass(frozen=True)
class Project:
    """A project file.

    Attributes:
        file: where it lies.
        output: the folder of all artifacts.
        jobs: compiles at a time; None where the file does not say.
        units: in the order of the file.
    """

    file: Path
    output: Path
    jobs: int | None
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class _Key:
    """How a key becomes words of the command line; `wanted` says in words what it takes."""

    words: Callable[[Any, Path], list[str] | None]
    wanted: str


def _text(option: str) -> _Key:
    return _Key(lambda value, _: [option, value] if isinstance(value, str) else None, "text")


def _number_or_text(option: str) -> _Key:
    def words(value: Any, _: Path) -> list[str] | None:
        return [option, str(value)] if isinstance(value, str | int | float) and not isinstance(value, bool) else None

    return _Key(words, "a number or text")


def _path(option: str) -> _Key:
    return _Key(lambda value, base: [option, str(base / value)] if isinstance(value, str) else None, "a path")


def _flag(no: str) -> _Key:
    return _Key(lambda value, _: ([] if value else [no]) if isinstance(value, bool) else None, "true or false")


def _shapes(value: Any, _: Path) -> list[str] | None:
    if not isinstance(value, dict) or not all(_are(int, shape) for shape in value.values()):
        return None
    return [word for name, shape in value.items() for word in ("--shape", f"{name}={','.join(map(str, shape))}")]


def _dims(value: Any, _: Path) -> list[str] | None:
    if not isinstance(value, dict) or not _are(int, list(value.values())):
        return None
    return [word for name, size in value.items() for word in ("--dim", f"{name}={size}")]


def _emit(value: Any, _: Path) -> list[str] | None:
    return [word for kind in value for word in ("--emit", kind)] if _are(str, value) else None


def _words(value: Any, _: Path) -> list[str] | None:
    return list(value) if _are(str, value) else None


def _are(kind: type, values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(each, kind) and not isinstance(each, bool) for each in values)


KEYS: Mapping[str, _Key] = {
    "shapes": _Key(_shapes, "a table of lists of numbers: { x = [1, 3, 32, 32] }"),
    "dims": _Key(_dims, "a table of numbers: { batch = 1 }"),
    "threads": _Key(lambda value, _: ["--threads", str(value)] if _are(int, [value]) else None, "a number"),
    "tune": _number_or_text("--tune"),
    "cost_model": _text("--cost-model"),
    "memory_limit": _number_or_text("--memory-limit"),
    "verify": _flag("--no-verify"),
    "passes": _text("--passes"),
    "backend": _text("--backend"),
    "emit": _Key(_emit, 'a list: ["static"]'),
    "name": _text("--name"),
    "calib": _path("--calib"),
    "max_drop": _number_or_text("--max-drop"),
    "options": _Key(_words, "a list of words for optc compile"),
}
"""What `[defaults]`, `[models.NAME]` and `[models.NAME.on.TARGET]` may hold."""


def read_project(file: Path) -> Project:
    """A project file.

    Raises:
        OptcError: it cannot be read.
        UsageError: it is no TOML, or says something that a project file cannot say.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as fault:
        hint = "write one, or give it with --file" if isinstance(fault, FileNotFoundError) else None
        raise OptcError("the project file cannot be read", where=str(file), why=fault.strerror, hint=hint) from fault
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise UsageError("the project file is no TOML", where=str(file), why=str(fault)) from fault
    return _Reader(file).project(content)


class _Reader:
    def __init__(self, file: Path) -> None:
        self.file = file
        self.base = file.absolute().parent

    def project(self, content: dict[str, Any]) -> Project:
        self._known(content, ("project", "defaults", "models"), "the file")
        general = self._table(content, "project", "the file")
        self._known(general, ("output", "jobs"), "[project]")
        output, jobs = general.get("output", "optc-out"), general.get("jobs")
        if not isinstance(output, str):
            raise self._fault("[project] output is no path")
        if jobs is not None and (not _are(int, [jobs]) or jobs < 1):
            raise self._fault("[project] jobs is no number of at least 1")
        defaults = self._table(content, "defaults", "the file")
        self._known(defaults, ("targets", *KEYS), "[defaults]")
        models = self._table(content, "models", "the file")
        if not models:
            raise self._fault("it names no model", hint='[models.NAME] with file = "NAME.onnx"')
        units: list[Unit] = []
        for name in models:
            units += self._model(name, self._table(models, name, "[models]"), defaults, self.base / output)
        return Project(self.file, self.base / output, jobs, tuple(units))

    def _model(self, name: str, model: dict[str, Any], defaults: dict[str, Any], output: Path) -> list[Unit]:
        place = f"[models.{name}]"
        if not _NAME.fullmatch(name):
            raise self._fault(f"'{name}' is no name for a model", hint="use letters, digits, '_', '-' and '.'")
        self._known(model, ("file", "targets", "on", *KEYS), place)
        if not isinstance(model.get("file"), str):
            raise self._fault(f"{place} names no file", hint='file = "model.onnx"')
        targets = model.get("targets", defaults.get("targets", ["cpu"]))
        if not _are(str, targets) or not targets:
            raise self._fault(f"{place} targets is no list of names", hint='targets = ["cpu"]')
        special = self._table(model, "on", place)
        for target in special:
            if target not in targets:
                raise self._fault(f"{place} has options for '{target}', which is none of its targets")
        units = []
        for target in targets:
            where = f"[models.{name}.on.{target}]"
            own = self._table(special, target, f"{place} on")
            self._known(own, tuple(KEYS), where)
            merged = {key: value for table in (defaults, model, own) for key, value in table.items() if key in KEYS}
            units.append(self._unit(name, target, model["file"], merged, output, where if own else place))
        return units

    def _unit(self, name: str, target: str, file: str, options: dict[str, Any], output: Path, place: str) -> Unit:
        words: list[str] = []
        for key, value in options.items():
            found = KEYS[key].words(value, self.base)
            if found is None:
                raise self._fault(f"{place} {key} is not {KEYS[key].wanted}")
            words += found
        is_file = target.endswith(".toml")
        folder = Path(target).stem if is_file else target
        data = tuple(self.base / options[key] for key in ("calib",) if key in options)
        return Unit(
            model=name,
            target=str(self.base / target) if is_file else target,
            file=self.base / file,
            output=output / name / folder,
            options=tuple(words),
            tune=str(options.get("tune", "auto")),
            data=data,
        )

    def _table(self, content: dict[str, Any], key: str, place: str) -> dict[str, Any]:
        value = content.get(key, {})
        if not isinstance(value, dict):
            raise self._fault(f"'{key}' in {place} is no table")
        return value

    def _known(self, table: dict[str, Any], names: tuple[str, ...], place: str) -> None:
        for key in table:
            if key not in names:
                hint = near(key, names) or f"it may hold: {', '.join(names)}"
                raise self._fault(f"{place} holds the unknown key '{key}'", hint=hint)

    def _fault(self, why: str, hint: str | None = None) -> UsageError:
        return UsageError("the project file is wrong", where=str(self.file), why=why, hint=hint)
