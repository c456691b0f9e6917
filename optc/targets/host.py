"""The target `cpu`: what this machine says of itself, with measured figures where `calibrate` has run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from optc.targets import calibration
from optc.targets.target import Cache, Target

_DEFAULT_HZ = 2.5e9
_ARM_ENERGY = {"flop": 6.0e-12, "byte": 1.0e-10, "watts": 0.8}
_ENERGY_SOURCE = (
    "physics, not measured: Horowitz, Computing's energy problem, ISSCC 2014, arithmetic at a quarter of its 45 nm; "
    "leakage and clock of a core assumed"
)
_CACHE_BYTES_PER_CYCLE = (64.0, 32.0, 10.0)  # L1, L2, L3 of Zen 2..4 and Intel Haswell onwards, one core, reading


@dataclass(frozen=True)
class CpuFacts:
    """What the operating system says of the processor.

    Attributes:
        architecture: `x86_64` or `aarch64`.
        vendor: `AuthenticAMD`, `GenuineIntel` …; empty when unknown.
        model_name: for people.
        family: x86 family number.
        model: x86 model number.
        flags: names of instruction set extensions as Linux spells them.
        cores: processors that this process may use.
        hertz: clock, 0 when unknown.
        caches: (bytes, shared by several cores) of the data caches, from L1 outwards.
        memory_bytes: of main memory, 0 when unknown.
    """

    architecture: str
    vendor: str = ""
    model_name: str = ""
    family: int = 0
    model: int = 0
    flags: frozenset[str] = frozenset()
    cores: int = 1
    hertz: float = 0.0
    caches: tuple[tuple[int, bool], ...] = ()
    memory_bytes: int = 0


@dataclass(frozen=True)
class _Level:
    """One SIMD level: the first of the table whose flags are all there applies."""

    flags: frozenset[str]
    mcpu: str
    vector_bytes: int
    registers: int
    channel_block: int
    fma: bool


_X86_V2 = frozenset({"ssse3", "sse4_1", "sse4_2", "popcnt", "cx16"})
_X86_V3 = _X86_V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
_X86_V4 = _X86_V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_LEVELS = {
    "x86_64": (
        _Level(_X86_V4, "x86-64-v4", 64, 32, 8, True),
        _Level(_X86_V3, "x86-64-v3", 32, 16, 8, True),
        _Level(_X86_V2, "x86-64-v2", 16, 16, 4, False),
        _Level(frozenset(), "x86-64", 16, 16, 4, False),
    ),
    "aarch64": (_Level(frozenset(), "generic", 16, 32, 4, True),),
}

_ZEN4 = _X86_V4 | {"avx512_vnni", "avx512_bf16", "avx512vbmi", "gfni", "vaes"}

# Dot products of bytes, as Linux and as LLVM spell them: a processor may have them beyond what its name says.
_DOT_PRODUCTS = {"avx512_vnni": "avx512vnni", "avx_vnni": "avxvnni", "asimddp": "dotprod", "i8mm": "i8mm"}

# (vendor, family, first model, last model) -> LLVM's name and the flags without which that name would emit
# instructions that a hypervisor may hide. Sources: AMD and Intel family/model lists as in LLVM's Host.cpp.
_NAMED_CPUS: tuple[tuple[str, int, int, int, str, frozenset[str]], ...] = (
    ("AuthenticAMD", 0x17, 0x30, 0xAF, "znver2", _X86_V3 | {"clwb"}),
    ("AuthenticAMD", 0x17, 0x00, 0x2F, "znver1", _X86_V3),
    ("AuthenticAMD", 0x19, 0x10, 0x1F, "znver4", _ZEN4),
    ("AuthenticAMD", 0x19, 0x60, 0xAF, "znver4", _ZEN4),
    ("AuthenticAMD", 0x19, 0x00, 0x5F, "znver3", _X86_V3 | {"clwb", "vaes", "vpclmulqdq"}),
    ("GenuineIntel", 6, 0x3C, 0x3F, "haswell", _X86_V3),
    ("GenuineIntel", 6, 0x4F, 0x4F, "broadwell", _X86_V3 | {"adx", "rdseed"}),
    ("GenuineIntel", 6, 0x55, 0x55, "skylake-avx512", _X86_V4 | {"clwb", "adx"}),
    ("GenuineIntel", 6, 0x6A, 0x6C, "icelake-server", _X86_V4 | {"avx512_vnni", "avx512vbmi", "gfni", "vaes"}),
    ("GenuineIntel", 6, 0x8F, 0x8F, "sapphirerapids", _X86_V4 | {"avx512_fp16", "amx_tile", "amx_int8", "avx_vnni"}),
)


def level_of(facts: CpuFacts) -> _Level:
    """The SIMD level of a processor."""
    levels = _LEVELS.get(facts.architecture, (_Level(frozenset(), "generic", 16, 16, 4, False),))
    return next(level for level in levels if level.flags <= facts.flags)


def llvm_cpu(facts: CpuFacts) -> str:
    """LLVM's name of the processor: exact where it is known and every extension that it implies is really there."""
    for vendor, family, first, last, name, flags in _NAMED_CPUS:
        if facts.vendor == vendor and facts.family == family and first <= facts.model <= last and flags <= facts.flags:
            return name
    return level_of(facts).mcpu


def flags_of(cpu: str) -> frozenset[str]:
    """The extensions that code for an LLVM processor name needs, as Linux spells them; none for a name unknown here."""
    named = {name: flags for *_, name, flags in _NAMED_CPUS}
    levels = {level.mcpu: level.flags for levels in _LEVELS.values() for level in levels}
    return {**levels, **named}.get(cpu, frozenset())


def extensions(facts: CpuFacts) -> list[str]:
    """What LLVM is told that a processor has beside what its name implies, in LLVM's notation."""
    implied = flags_of(llvm_cpu(facts))
    return [f"+{name}" for flag, name in _DOT_PRODUCTS.items() if flag in facts.flags and flag not in implied]


def flops_per_cycle(facts: CpuFacts) -> float:
    """Peak f32 operations a cycle of one core, from its FMA units."""
    level = level_of(facts)
    units = 2.0
    if level.vector_bytes == 64 and facts.vendor == "AuthenticAMD" and facts.family == 0x19:
        units = 1.0  # Zen 4 takes two cycles for 64 bytes
    return units * level.vector_bytes / 4 * (2.0 if level.fma else 1.0)


def target_of(facts: CpuFacts) -> Target:
    """The target of a processor from its facts alone: nothing is measured, and `figures` says so."""
    level = level_of(facts)
    hertz = facts.hertz or _DEFAULT_HZ
    peak = flops_per_cycle(facts) * hertz
    clock = f"{hertz / 1e9:.2f} GHz ({'as reported' if facts.hertz else 'assumed'})"
    derived = f"derived, not measured: registers, units and a clock of {clock}; run `optc targets --calibrate`"
    assumed = "assumed, not measured: run `optc targets --calibrate`"
    caches = facts.caches or ((32_768, False), (524_288, False), (8_388_608, True))
    rates = _CACHE_BYTES_PER_CYCLE
    integer_factor = 4.0 if facts.flags & _DOT_PRODUCTS.keys() else 2.0
    more = extensions(facts)
    triple = {"darwin": "apple-darwin", "win32": "pc-windows-msvc"}.get(sys.platform, "linux-gnu")
    return Target(
        name="cpu",
        description=f"this machine: {facts.model_name or facts.architecture}",
        backends=("tvm", "onnx"),
        llvm={"kind": "llvm", "mtriple": f"{facts.architecture}-{triple}", "mcpu": llvm_cpu(facts)}
        | ({"mattr": more} if more else {}),
        cores=facts.cores,
        vector_bytes=level.vector_bytes,
        vector_registers=level.registers,
        channel_block=level.channel_block,
        peak_flops={"f32": peak, "f64": peak / 2, "i8": peak * integer_factor},
        caches=tuple(
            Cache(size, shared, rates[min(index, len(rates) - 1)] * hertz)
            for index, (size, shared) in enumerate(caches)
        ),
        memory_bytes=facts.memory_bytes,
        memory_bandwidth=1.0e10,
        memory_bandwidth_all=1.0e10 * min(facts.cores, 4),
        launch_seconds=2.0e-7,
        parallel_seconds=5.0e-6,
        energy={"flop": 8.0e-12, "byte": 1.2e-10, "watts": 2.0} if facts.architecture == "x86_64" else _ARM_ENERGY,
        figures={
            "energy": _ENERGY_SOURCE,
            "cores": "the processors this process may run on",
            "vector_bytes": "instruction set extensions that the operating system reports",
            "vector_registers": "instruction set extensions that the operating system reports",
            "channel_block": "one 32-byte register of f32 (16-byte without AVX2)",
            "peak_flops": derived,
            "caches": f"capacities {'as reported' if facts.caches else 'assumed'}; bandwidths {derived}",
            "memory_bytes": "the operating system",
            "memory_bandwidth": assumed,
            "memory_bandwidth_all": assumed,
            "launch_seconds": "assumed: a C call with a cold first cache line",
            "parallel_seconds": "assumed: waking spinning threads",
        },
    )


def host() -> Target:
    """This machine, with the figures that `calibrate` measured on it, if it has run."""
    facts = detect()
    measured = calibration.recall(_identity(facts))
    return _with_measured(target_of(facts), measured) if measured else target_of(facts)


def calibrate() -> Target:
    """Measure peak FLOP/s and bandwidths of this machine (about 2 s), store them, and return the target.

    Raises:
        OptcError: there is no C compiler, or the measurement failed.
    """
    facts = detect()
    measured = _measure(facts)
    calibration.store(_identity(facts), measured)
    return _with_measured(target_of(facts), measured)


def measured_host() -> Target:
    """This machine with measured figures: those that are stored, or measured now (about 2 s).

    The latter are not stored, since a compile decides by what is stored.

    Raises:
        OptcError: nothing is stored, and there is no C compiler or the measurement failed.
    """
    facts = detect()
    return _with_measured(target_of(facts), calibration.recall(_identity(facts)) or _measure(facts))


def _measure(facts: CpuFacts) -> calibration.Measurement:
    target = target_of(facts)
    return calibration.measure(
        vector_bytes=target.vector_bytes, cores=target.cores, cache_bytes=[cache.bytes for cache in target.caches]
    )


def _with_measured(target: Target, measured: calibration.Measurement) -> Target:
    scale = measured.flops / target.peak_flops["f32"]
    peaks = {dtype: peak * scale for dtype, peak in target.peak_flops.items()}
    alone = "f32"
    if measured.byte_operations:
        peaks["i8"], alone = measured.byte_operations, "f32 and i8"
    caches = tuple(
        replace(cache, bandwidth=bandwidth)
        for cache, bandwidth in zip(target.caches, measured.cache_bandwidth, strict=True)
    )
    source = f"measured on this machine ({measured.when})"
    sources = {
        "peak_flops": f"{alone} {source}; other types scaled by their derived ratio to f32",
        "caches": f"capacities as reported; bandwidths {source}",
        "memory_bandwidth": source,
        "memory_bandwidth_all": source,
    }
    return replace(
        target,
        peak_flops=peaks,
        caches=caches,
        memory_bandwidth=measured.memory_bandwidth,
        memory_bandwidth_all=max(measured.memory_bandwidth_all, measured.memory_bandwidth),
        figures={**target.figures, **sources},
    )


def _identity(facts: CpuFacts) -> str:
    """What a stored measurement belongs to."""
    parts = (facts.architecture, facts.vendor, facts.family, facts.model, facts.model_name, facts.cores, facts.caches)
    return repr((*parts, sorted(facts.flags & _X86_V4)))


@cache
def detect() -> CpuFacts:
    """Ask the operating system; what it does not say keeps its default."""
    machine = platform.machine().lower()
    architecture = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    facts = CpuFacts(architecture, cores=_usable_cores(), model_name=platform.processor())
    if sys.platform == "darwin":
        return _from_sysctl(facts)
    if sys.platform == "linux":
        return _from_proc(facts)
    return replace(facts, flags=_X86_V2 if architecture == "x86_64" else frozenset())


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _from_proc(facts: CpuFacts) -> CpuFacts:
    text = _read("/proc/cpuinfo").split("\n\n")[0]
    fields = {
        key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())
    }
    flags = frozenset((fields.get("flags") or fields.get("features") or "").split())
    longest = _read("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").strip()
    megahertz = float(longest) / 1e3 if longest.isdigit() else float(fields.get("cpu mhz") or 0)
    memory = next((line.split()[1] for line in _read("/proc/meminfo").splitlines() if line.startswith("MemTotal")), "0")
    return replace(
        facts,
        vendor=fields.get("vendor_id", ""),
        model_name=fields.get("model name", facts.model_name),
        family=int(fields.get("cpu family", 0)),
        model=int(fields["model"]) if fields.get("model", "").isdigit() else 0,
        flags=flags,
        hertz=megahertz * 1e6,
        caches=_linux_caches(),
        memory_bytes=int(memory) * 1024,
    )


def _linux_caches() -> tuple[tuple[int, bool], ...]:
    found = []
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        size = _read(folder / "size").strip()
        if _read(folder / "type").strip() == "Instruction" or not size[:-1].isdigit():
            continue
        factor = {"K": 1024, "M": 1024**2}.get(size[-1], 1)
        sharers = _read(folder / "shared_cpu_list").strip()
        level = int(_read(folder / "level") or 0)
        found.append((level, int(size[:-1]) * factor, level > 2 or (level == 2 and "," in sharers.replace("-", ","))))
    return tuple((size, shared) for _, size, shared in sorted(found))


def _from_sysctl(facts: CpuFacts) -> CpuFacts:
    def number(name: str) -> int:
        text = _sysctl(name)
        return int(text) if text.isdigit() else 0

    spelled = {"avx1.0": "avx", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "lzcnt": "abm"}
    flags = (_sysctl("machdep.cpu.features") + " " + _sysctl("machdep.cpu.leaf7_features")).lower().split()
    caches = [(number("hw.l1dcachesize"), False), (number("hw.l2cachesize"), True), (number("hw.l3cachesize"), True)]
    return replace(
        facts,
        vendor=_sysctl("machdep.cpu.vendor"),
        model_name=_sysctl("machdep.cpu.brand_string"),
        flags=frozenset(spelled.get(flag, flag) for flag in flags) | ({"cx16", "abm"} if flags else set()),
        hertz=float(number("hw.cpufrequency_max")),
        caches=tuple(each for each in caches if each[0]),
        memory_bytes=number("hw.memsize"),
    )


def _sysctl(name: str) -> str:
    try:
        return subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
