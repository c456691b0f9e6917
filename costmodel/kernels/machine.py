"""A target as data: its figures for rows and cards, and the class of machines that share kernels and rates."""

from __future__ import annotations

import json
from dataclasses import fields

from optc.costmodel.kernels.schema import digest
from optc.targets.target import Cache, Target

_DESCRIBED = ("name", "description", "backends", "figures", "memories")
MEASURED = "measured"


def target_json(target: Target) -> str:
    """The figures of a target, without its descriptions."""
    plain = {each.name: getattr(target, each.name) for each in fields(target) if each.name not in _DESCRIBED}
    plain["caches"] = [[cache.bytes, cache.shared, cache.bandwidth] for cache in target.caches]
    plain["llvm"], plain["peak_flops"] = dict(target.llvm), dict(target.peak_flops)
    return json.dumps(plain, sort_keys=True)


def target_from_json(text: str, name: str = "cpu") -> Target:
    """The target of `target_json`'s text; figures that this version does not know are left out."""
    plain = json.loads(text)
    known = {each.name for each in fields(Target)}
    values = {key: value for key, value in plain.items() if key in known}
    values["caches"] = tuple(Cache(int(size), bool(shared), float(rate)) for size, shared, rate in plain["caches"])
    return Target(name=name, description="a machine that was measured", backends=("tvm",), **values)


def machine_class(target: Target) -> str:
    """What machines share that run the same code at similar speed: instruction set, core, sizes of inner caches."""
    inner = "+".join(str(cache.bytes // 1024) for cache in target.caches if not cache.shared)
    return f"{target.llvm.get('mcpu', '?')}/{target.vector_bytes * 8}bit/{inner}KiB"


def fingerprint_of(target: Target) -> str:
    """A hash of what stays equal between runs on one machine: neither rates nor the cores that a process may use."""
    capacities = [(cache.bytes, cache.shared) for cache in target.caches]
    return digest(target.llvm.get("mcpu"), target.vector_bytes, target.vector_registers, capacities)[:16]


def is_measured(target: Target) -> bool:
    """Whether the rates were measured on the machine itself."""
    return target.figures.get("memory_bandwidth", "").startswith(MEASURED)
