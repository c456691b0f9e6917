"""A training configuration: a TOML file that names a data set, a seed and the options of its kind of predictor."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from optc.errors import UsageError


@dataclass(frozen=True)
class Config:
    """What to train.

    Attributes:
        name: of the predictor that comes out.
        data_set: the set it learns from.
        seed: of everything random.
        tables: the other tables of the file (`[split]`, `[model]` …), for the kind.
        path: the file.
    """

    name: str
    data_set: str
    seed: int = 0
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    path: Path = Path()

    def options(self, table: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a table over their defaults.

        Raises:
            UsageError: an option is unknown, or of another type than its default.
        """
        given = self.tables.get(table, {})
        for name, value in given.items():
            if name not in defaults:
                hint = f"one of {', '.join(defaults)}"
                raise UsageError(f"[{table}] has no option '{name}'", where=str(self.path), hint=hint)
            expected = type(defaults[name])
            if not isinstance(value, (int, float) if expected is float else expected):
                what = f"{name} = {value!r} in [{table}] must be of type {expected.__name__}"
                raise UsageError(what, where=str(self.path))
        return {**defaults, **given}

    def with_seed(self, seed: int | None) -> Config:
        """The same with another seed, if one is given."""
        return self if seed is None else replace(self, seed=seed)

    def digest(self) -> str:
        """What identifies the configuration, its path aside."""
        content = [self.name, self.data_set, self.seed, self.tables]
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_config(path: Path) -> Config:
    """Read a configuration. Raises UsageError when the file is missing, no TOML, or lacks `name` or `set`."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError("the configuration cannot be read", where=str(path), why=error.strerror) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("the configuration is no TOML file", where=str(path), why=str(error)) from error
    plain: dict[str, type] = {"name": str, "set": str, "seed": int}
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    for name, value in content.items():
        if name not in tables and not isinstance(value, plain.get(name, ())):
            raise UsageError(
                f"'{name}' is not understood", where=str(path), hint=f"one of {', '.join(plain)}, or tables"
            )
    for name in ("name", "set"):
        if name not in content:
            raise UsageError(f"the configuration has no '{name}'", where=str(path))
    return Config(content["name"], content["set"], content.get("seed", 0), tables, path)
