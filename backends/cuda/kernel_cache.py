"""Compiled kernels in the cache: the cubin behind a line of JSON with all else."""

from __future__ import annotations

import json
from dataclasses import asdict

from optc import cache
from optc.backends.cuda import coded as _coded  # noqa: F401  (registers its step)
from optc.backends.cuda import packing as _packing  # noqa: F401  (registers its step)
from optc.backends.cuda.kernel import CudaKernel, Facts, Launch
from optc.backends.interface import Option, Selection
from optc.backends.tvm.packing import Packing, pack_functions, packings_as_json, packings_of_json

KIND = "cuda-kernels"


def store(key: str, kernel: CudaKernel, packings: dict[int, Packing]) -> None:
    """Keep a kernel for later compiles."""
    fields = {
        "symbol": kernel.symbol,
        "source": kernel.source,
        "ptx": kernel.ptx,
        "launches": [asdict(launch) for launch in kernel.launches],
        "facts": [asdict(facts) for facts in kernel.facts],
        "packings": packings_as_json(packings),
        "scratch_bytes": kernel.scratch_bytes,
        "in_place": kernel.in_place,
        "selection": asdict(kernel.selection),
    }
    cache.put(KIND, key, json.dumps(fields).encode() + b"\n" + kernel.object_code)


def find(key: str) -> CudaKernel | None:
    """The kernel, if it was compiled before."""
    entry = cache.get(KIND, key)
    if entry is None:
        return None
    header, _, cubin = entry.partition(b"\n")
    fields = json.loads(header)
    return CudaKernel(
        symbol=fields["symbol"],
        object_code=cubin,
        selection=_selection(fields["selection"]),
        pack=pack_functions(packings_of_json(fields["packings"])),
        scratch_bytes=tuple(fields["scratch_bytes"]),
        in_place=tuple((operand, result) for operand, result in fields["in_place"]),
        source=fields["source"],
        ptx=fields["ptx"],
        launches=tuple(_launch(each) for each in fields["launches"]),
        facts=tuple(Facts(**each) for each in fields["facts"]),
    )


def _selection(fields: dict) -> Selection:
    options = {name: _option(fields[name]) for name in ("chosen", "runner_up", "untuned")}
    chosen, untuned = options["chosen"], options["untuned"]
    assert chosen is not None and untuned is not None
    return Selection(chosen, options["runner_up"], untuned, fields["points"], fields["timed"], fields["reason"])


def _option(fields: dict | None) -> Option | None:
    if fields is None:
        return None
    schedule = tuple((name, value) for name, value in fields["schedule"])
    return Option(fields["template"], schedule, fields["predicted"], fields["measured"])


def _launch(fields: dict) -> Launch:
    def three(name: str) -> tuple[int, int, int]:
        x, y, z = fields[name]
        return x, y, z

    arguments = tuple((kind, position) for kind, position in fields["arguments"])
    return Launch(fields["function"], three("grid"), three("block"), fields["dynamic_shared_bytes"], arguments)
