"""What the entry points name: a target is the path of its file."""

from __future__ import annotations

from pathlib import Path


def board() -> Path:
    """The file of the target `sample-board`."""
    return Path(__file__).with_name("sample-board.toml")
