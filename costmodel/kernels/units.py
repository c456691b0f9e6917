"""Units of work of a training run, which a run that was stopped does not repeat (see `Run.unit`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Unit = Callable[[str, Callable[[], Mapping[str, Any]]], dict[str, Any]]


def computed(key: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """The Unit that keeps nothing."""
    return dict(compute())
