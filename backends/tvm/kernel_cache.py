"""Compiled kernels in the cache: the object file behind a line of JSON that says how to call it."""

from __future__ import annotations

import json

from optc import cache
from optc.backends.interface import Kernel, Selection
from optc.backends.tvm.packing import pack_functions, packings_as_json, packings_of_json
from optc.backends.tvm.template import KernelDefinition

KIND = "kernels"


def encode(definition: KernelDefinition, object_code: bytes, in_place: tuple[tuple[int, int], ...] = ()) -> bytes:
    """One cache entry; `in_place` as for Kernel."""
    packings = packings_as_json(definition.packings)
    fields = {"packings": packings, "scratch_bytes": definition.scratch_bytes, "in_place": in_place}
    header = json.dumps(fields)
    return header.encode() + b"\n" + object_code


def decode(entry: bytes, symbol: str, selection: Selection) -> Kernel:
    """The kernel of one cache entry."""
    header, _, object_code = entry.partition(b"\n")
    fields = json.loads(header)
    return Kernel(
        symbol=symbol,
        object_code=object_code,
        selection=selection,
        pack=pack_functions(packings_of_json(fields["packings"])),
        scratch_bytes=tuple(fields["scratch_bytes"]),
        in_place=tuple((operand, result) for operand, result in fields["in_place"]),
    )


def find(key: str) -> bytes | None:
    """The entry of a kernel, if it was compiled before."""
    return cache.get(KIND, key)


def store(key: str, entry: bytes) -> None:
    """Keep an entry for the next compile."""
    cache.put(KIND, key, entry)
