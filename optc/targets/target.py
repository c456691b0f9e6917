"""A target: the hardware facts that passes, cost model and backends need, read from a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

SHIFT = "shift"
"""In place of an element type in `peak_flops`: products of a byte with a signed power of two, by shifts."""


@dataclass(frozen=True)
class Cache:
    """One cache level: capacity in bytes, whether all cores share it, bandwidth in bytes/s for one core."""

    bytes: int
    shared: bool
    bandwidth: float


@dataclass(frozen=True)
class Memory:
    """A memory that software places data in: bytes, bandwidth in bytes/s for one core, whether a run may write it."""

    name: str
    bytes: int
    bandwidth: float
    read_only: bool


@dataclass(frozen=True)
class Mode:
    """A power mode: how many cores run, at which clock in Hz, the bandwidth of main memory, and the budget in watts."""

    cores: int
    clock: float
    memory_bandwidth_all: float
    watts: float


@dataclass(frozen=True)
class Target:
    """What is known of a device. Units: bytes, bytes/s, FLOP/s, Hz, seconds, joules.

    Attributes:
        name: as given to `--target`.
        description: one line.
        backends: names of the backends that can emit for it today, in order of preference.
        llvm: TVM's target dictionary (`kind`, `mcpu`, `mtriple`, `mattr` …), for targets that LLVM serves.
        cores: cores that one inference may use.
        vector_bytes: width of a SIMD register; 0 where there is none.
        vector_registers: SIMD registers that the instruction set names.
        channel_block: channels that a blocked layout keeps together.
        peak_flops: by element type (`f32`, `i8` …) or as `shift`, for one core.
        caches: from L1 outwards.
        memory_bytes: main memory.
        memory_bandwidth: of main memory, for one core.
        memory_bandwidth_all: the same for all cores together.
        memories: those that software chooses between, the fastest first; empty where caches choose.
        launch_seconds: the fixed cost of one kernel call.
        parallel_seconds: the cost of waking the threads for one parallel loop.
        energy: joules of one `flop` and of one `byte` of a kernel's operands, and the `watts` that a core draws beside.
        host: the target that the code around an accelerator's kernels is compiled for; empty where there is no other.
        architectures: GPUs that get code of their own, as `sm_80`; empty for the one in `llvm` alone.
        packages: further forms of a model that go into its artifacts (`tensorrt`).
        modes: the device's power modes by name; the figures above hold for the first.
        toolchain: for compiling on another machine: `prefix` of the GNU tools, ziglang's triples `zig` for libraries
            and `zig_static` for programs, and the `emulator` command that runs such a program.
        figures: where each figure comes from (data sheet, measured …), by field name.
    """

    name: str
    description: str
    backends: tuple[str, ...]
    llvm: Mapping[str, object] = field(default_factory=dict)
    cores: int = 1
    vector_bytes: int = 0
    vector_registers: int = 0
    channel_block: int = 1
    peak_flops: Mapping[str, float] = field(default_factory=dict)
    caches: tuple[Cache, ...] = ()
    memory_bytes: int = 0
    memory_bandwidth: float = 0.0
    memory_bandwidth_all: float = 0.0
    memories: tuple[Memory, ...] = ()
    launch_seconds: float = 0.0
    parallel_seconds: float = 0.0
    energy: Mapping[str, float] = field(default_factory=dict)
    host: str = ""
    architectures: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    modes: Mapping[str, Mode] = field(default_factory=dict)
    toolchain: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, str] = field(default_factory=dict)

    def in_mode(self, name: str) -> Target:
        """The target in one of its power modes; what its cores do scales with their clock.

        Raises:
            KeyError: there is no such mode.
        """
        mode, full = self.modes[name], next(iter(self.modes.values()))
        speed = mode.clock / full.clock
        return replace(
            self,
            name=f"{self.name}@{name}",
            cores=mode.cores,
            peak_flops={dtype: peak * speed for dtype, peak in self.peak_flops.items()},
            caches=tuple(replace(cache, bandwidth=cache.bandwidth * speed) for cache in self.caches),
            memory_bandwidth=mode.memory_bandwidth_all / mode.cores,
            memory_bandwidth_all=mode.memory_bandwidth_all,
            modes={name: mode},
        )
