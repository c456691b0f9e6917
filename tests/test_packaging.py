"""The explicit package list and the links between the four code folders stay honest."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUTER = ("passes", "backends", "costmodel")


def test_pyproject_names_every_package() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    outer = {
        f"optc.{'.'.join(init.parent.relative_to(ROOT).parts)}"
        for folder in OUTER
        for init in (ROOT / folder).rglob("__init__.py")
    }
    inner = {
        ".".join(init.parent.relative_to(ROOT).parts)
        for init in (ROOT / "optc").rglob("__init__.py")
        if not any(folder in init.relative_to(ROOT / "optc").parts[:1] for folder in OUTER)
    }
    assert set(setuptools["packages"]) == outer | inner


def test_links_are_links() -> None:
    for name in OUTER:
        assert (ROOT / "optc" / name).resolve() == ROOT / name
