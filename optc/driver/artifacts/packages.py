"""Further forms of a model that go into an artifact, as a target's file names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from optc.errors import UsageError
from optc.ir.core import Module
from optc.targets.target import Target

PACKAGES: Mapping[str, str] = {"tensorrt": "optc.driver.artifacts.tensorrt:tensorrt_files"}
"""By name, the function from an imported module to files by their names."""


def package_files(module: Module, target: Target) -> dict[str, bytes]:
    """The files of all packages of a target.

    Args:
        module: as imported.
        target: names the packages.

    Raises:
        UsageError: it names one that there is not.
    """
    files: dict[str, bytes] = {}
    for name in target.packages:
        if name not in PACKAGES:
            raise UsageError(f"'{name}' is no package of '{target.name}'", hint=f"there are: {', '.join(PACKAGES)}")
        place, _, function = PACKAGES[name].partition(":")
        make: Callable[[Module], dict[str, bytes]] = getattr(import_module(place), function)
        files |= make(module)
    return files
