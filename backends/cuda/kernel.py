"""What the CUDA backend hands to whoever launches its kernels."""

from __future__ import annotations

from dataclasses import dataclass

from optc.backends.interface import Kernel

Argument = tuple[str, int]
"""`input`, `output` or `scratch`, and its position among those of the kernel."""


@dataclass(frozen=True)
class Launch:
    """One `__global__` function of a kernel; the launches of a kernel run in order on one stream.

    Attributes:
        function: its name in the source, the PTX and the cubin.
        grid: blocks along x, y and z.
        block: threads of a block along x, y and z.
        dynamic_shared_bytes: what the launch asks for beyond static shared memory. Above 48 KiB the function needs
            `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES` set to it first.
        arguments: in the order of the function's parameters, each of which is one device pointer.
    """

    function: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    dynamic_shared_bytes: int
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Facts:
    """What ptxas says of one function, and what follows from it by the rules of the compute capability.

    Attributes:
        function: its name.
        registers: of a thread.
        spill_bytes: stores and loads of spilled registers; 0 in every kernel that the backend hands out.
        stack_bytes: of a thread's frame, for arrays that are indexed dynamically.
        shared_bytes: static and dynamic shared memory of a block.
        blocks_per_sm: that run on one multiprocessor at a time.
        occupancy: resident warps as a fraction of the most that a multiprocessor holds.
        limiter: what keeps more blocks away: `threads`, `registers`, `shared memory`, `blocks` or `grid`.
    """

    function: str
    registers: int
    spill_bytes: int
    stack_bytes: int
    shared_bytes: int
    blocks_per_sm: int
    occupancy: float
    limiter: str


@dataclass(frozen=True)
class CudaKernel(Kernel):
    """A group as CUDA code.

    To programs it is `int32_t symbol(void* input…, void* output…, void* scratch…)` on device addresses that runs
    `launches`. `object_code` is the cubin of the target's SM, with the functions of this kernel alone.

    Attributes:
        source: CUDA C++ that includes nothing but `optc_cuda.cuh` (see `backends/cuda/runtime`).
        ptx: of the target's virtual architecture, which later GPUs compile for themselves.
        launches: in order.
        facts: for each function.
    """

    source: str = ""
    ptx: str = ""
    launches: tuple[Launch, ...] = ()
    facts: tuple[Facts, ...] = ()
