"""Typed access to JSON that nobody vouches for: every wrong shape is a FormatFault that names the place."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


class FormatFault(Exception):
    """A value is not what the format says; the text names the place and what was expected there."""


def expect(value: Any, kind: type[T], where: str) -> T:
    """`value` if it is of the JSON type `kind`; a bool is no int, and an int is never negative here."""
    wrong = not isinstance(value, kind)
    if kind is int and not wrong:
        wrong = isinstance(value, bool) or bool(value < 0)
    if wrong:
        wanted = "non-negative int" if kind is int else kind.__name__
        raise FormatFault(f"{where}: expected {wanted}, found {_shown(value)}")
    return value


def member(record: Any, key: str, kind: type[T], where: str) -> T:
    """The value of `key` in the JSON object `record`."""
    if key not in expect(record, dict, where):
        raise FormatFault(f"{where}: '{key}' is missing")
    return expect(record[key], kind, f"{where}.{key}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
