"""Sizes in bytes as people write them."""

from __future__ import annotations

import re

from optc.errors import UsageError

_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def parse_size(size: str | int | None, *, where: str | None = None) -> int | None:
    """Bytes from a number or text such as `256K`, `1.5M` or `2G` (powers of 1024); None stays None.

    Args:
        size: what the user gave.
        where: the place that an error names.

    Raises:
        UsageError: anything else.
    """
    if size is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?", str(size).strip().lower())
    if match is None:
        raise UsageError(f"'{size}' is no size", where=where, hint="give bytes (262144), or 256K, 1.5M, 2G")
    return int(float(match[1]) * _SIZES[match[2]])
