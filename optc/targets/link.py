"""A link between two machines: how fast it is, how far, and what it costs the device; one TOML file each."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from optc.errors import UsageError
from optc.ir.source import near

_HEADER_BYTES = 64
"""What the protocol puts around a message, about; keeps tiny messages from being free."""


@dataclass(frozen=True)
class Link:
    """What is known of a link. Units: bit/s, seconds, joules, watts.

    Attributes:
        name: as given to `--link`.
        description: one line.
        uplink: from the device, as applications see it.
        downlink: to the device.
        rtt: seconds for an empty message and its answer.
        loss: share of packets that are sent again, where the rates do not hold that already; below 1.
        joules_per_bit_up: of the device's radio, on top of `active_watts`.
        joules_per_bit_down: likewise.
        active_watts: what the radio draws while it sends or receives.
        figures: where each figure comes from.
    """

    name: str
    description: str = ""
    uplink: float = 1e6
    downlink: float = 1e6
    rtt: float = 0.0
    loss: float = 0.0
    joules_per_bit_up: float = 0.0
    joules_per_bit_down: float = 0.0
    active_watts: float = 0.0
    figures: Mapping[str, str] = field(default_factory=dict)

    def up_seconds(self, size: float) -> float:
        """Seconds that `size` bytes occupy the way up; the distance is in `rtt`."""
        return _bits(size) / (self.uplink * (1.0 - self.loss))

    def down_seconds(self, size: float) -> float:
        """Seconds that `size` bytes occupy the way down."""
        return _bits(size) / (self.downlink * (1.0 - self.loss))

    def up_joules(self, size: float) -> float:
        """What sending `size` bytes costs the device's radio."""
        return _bits(size) / (1.0 - self.loss) * self.joules_per_bit_up + self.up_seconds(size) * self.active_watts

    def down_joules(self, size: float) -> float:
        """What receiving `size` bytes costs the device's radio."""
        received = _bits(size) / (1.0 - self.loss) * self.joules_per_bit_down
        return received + self.down_seconds(size) * self.active_watts

    def with_rates(
        self, *, uplink: float | None = None, downlink: float | None = None, rtt: float | None = None
    ) -> Link:
        """The link with other rates or another distance; None leaves one as it is."""
        given = {"uplink": uplink, "downlink": downlink, "rtt": rtt}
        chosen = {name: value for name, value in given.items() if value is not None}
        sources = {**self.figures, **dict.fromkeys(chosen, "given")}
        return dataclasses.replace(self, **chosen, figures=sources)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """As JSON, the sources left out."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "figures"}


_NUMBERS = tuple(each.name for each in dataclasses.fields(Link) if each.type == "float")


def _bits(size: float) -> float:
    return 8.0 * (size + _HEADER_BYTES) if size > 0 else 0.0


@cache
def _paths() -> dict[str, Path]:
    with as_file(files("optc.targets")) as folder:
        return {path.stem: path for path in sorted((Path(folder) / "links").glob("*.toml"))}


def available_links() -> list[str]:
    """The names that `load_link` knows."""
    return list(_paths())


def load_link(name: str) -> Link:
    """The link called `name`, or read from the TOML file at the path `name`.

    Raises:
        UsageError: nothing is called so, or its file is wrong.
    """
    if name.endswith(".toml"):
        return _read(Path(name))
    paths = _paths()
    if name not in paths:
        known = ", ".join(paths)
        raise UsageError(f"there is no link '{name}'", why=f"known: {known}", hint=near(name, paths) or None)
    return _read(paths[name])


def link_of(record: Mapping[str, Any]) -> Link:
    """The inverse of `Link.to_dict`.

    Raises:
        UsageError: a figure is missing or wrong.
    """
    return _build(str(record.get("name", "link")), record, "the record of the split")


def _read(path: Path) -> Link:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError("the link file cannot be read", where=str(path), why=error.strerror) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("the link file is not valid TOML", where=str(path), why=str(error)) from error
    return _build(path.stem, tables, str(path))


def _build(name: str, tables: Mapping[str, Any], where: str) -> Link:
    known = {each.name for each in dataclasses.fields(Link)}
    for key in tables:
        if key not in known:
            raise UsageError(f"'{key}' is not a key of a link file", where=where, hint=f"keys: {', '.join(_NUMBERS)}")
    values: dict[str, Any] = {"name": name, "description": str(tables.get("description", ""))}
    for key in _NUMBERS:
        if key not in tables:
            raise UsageError(f"the link file lacks '{key}'", where=where)
        value = tables[key]
        least = "above 0" if key in ("uplink", "downlink") else "of at least 0"
        limit = 1.0 if key == "loss" else float("inf")
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if not numeric or not 0 <= value < limit or (least == "above 0" and value == 0):
            below = ", below 1" if key == "loss" else ""
            raise UsageError(
                f"'{key}' of the link must be a number {least}{below}", where=where, why=f"it is {value!r}"
            )
        values[key] = float(value)
    figures = tables.get("figures", {})
    if not isinstance(figures, dict) or not all(isinstance(each, str) for each in figures.values()):
        raise UsageError("'figures' of the link must be a table of texts", where=where)
    return Link(**values, figures=figures)
