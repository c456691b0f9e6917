"""What a GPU's data sheet says, as far as the time of an operator depends on it."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from optc.errors import UsageError


@dataclass(frozen=True)
class Specifications:
    """One GPU.

    Attributes:
        bandwidth_gb_s: of the device memory, GB/s.
        multiprocessors: streaming multiprocessors.
        cores_per_multiprocessor: single-precision units of one of them.
        clock_mhz: boost clock.
        gflops: peak of single precision, GFLOP/s.
        l2_mb: last-level cache, MB.
    """

    bandwidth_gb_s: float
    multiprocessors: float
    cores_per_multiprocessor: float
    clock_mhz: float
    gflops: float
    l2_mb: float

    @staticmethod
    def of(content: Any, where: str) -> Specifications:
        """From a mapping of exactly the attributes. Raises UsageError that names what is missing or no positive number.

        Args:
            content: the mapping; anything else is refused. A `name` in it is ignored.
            where: for messages.
        """
        names = [item.name for item in fields(Specifications)]
        if not isinstance(content, dict):
            raise UsageError("this describes no GPU", where=where, hint=f"give {', '.join(names)}")
        given = {key: value for key, value in content.items() if key != "name"}
        for name in names:
            value = given.pop(name, None)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
                raise UsageError(f"the GPU's '{name}' must be a positive number", where=where, why=f"it is {value!r}")
        if given:
            raise UsageError(f"a GPU has no '{next(iter(given))}'", where=where, hint=f"give {', '.join(names)}")
        return Specifications(**{name: float(content[name]) for name in names})


def read_specifications(path: Path) -> Specifications:
    """From a `.toml` or `.json` file. Raises UsageError when it cannot be read or is incomplete."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise UsageError("the GPU's description cannot be read", where=str(path), why=str(error)) from error
    return Specifications.of(content, str(path))
