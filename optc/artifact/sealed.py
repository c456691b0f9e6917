"""JSON that holds a checksum of itself: sorted keys, and under `checksum` the SHA-256 of everything else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from optc.artifact.checks import FormatFault, member


def dump(record: Any) -> bytes:
    """JSON with sorted keys; equal records give equal bytes."""
    return (json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def digest(record: Any) -> str:
    """SHA-256 of `dump`, in hexadecimal digits."""
    return hashlib.sha256(dump(record)).hexdigest()


def seal(record: Mapping[str, Any]) -> bytes:
    """The bytes of a record without `checksum`, with it."""
    return dump({**record, "checksum": digest(record)})


def unseal(content: bytes, schema: int, where: str) -> dict[str, Any]:
    """The inverse of `seal`, `checksum` still in it.

    Args:
        content: of the file.
        schema: the version that is read.
        where: what messages call the record.

    Raises:
        FormatFault: the text is no such record, was changed after it was written, or has another schema version.
    """
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as fault:
        raise FormatFault(f"not valid JSON: {fault}") from fault
    found = member(record, "schema", int, where)
    if found != schema:
        raise FormatFault(f"schema version {found}, and this optc reads version {schema}")
    checksum = member(record, "checksum", str, where)
    try:
        expected = digest({key: value for key, value in record.items() if key != "checksum"})
    except UnicodeEncodeError as fault:
        raise FormatFault(f"not valid Unicode: {fault}") from fault
    if checksum != expected:
        raise FormatFault("the checksum does not match: the file was changed")
    return record
