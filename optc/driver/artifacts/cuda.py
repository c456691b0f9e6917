"""What is particular about the artifact of a GPU: code for each kind of GPU, and how each kernel uses it."""

from __future__ import annotations

from optc.artifact.host import gpu_code_of
from optc.backends.cuda.kernel import CudaKernel
from optc.backends.cuda.portable import portable_ptx
from optc.backends.cuda.runtime import runtime_headers
from optc.backends.cuda.toolkit import assemble, find_toolkit
from optc.backends.host.launches import Image, Launched, launch_object
from optc.driver.options import CompileOptions
from optc.driver.program.drafts import KernelDraft, flatten
from optc.driver.program.lowering import Lowered
from optc.driver.verification.emulation import Linkable
from optc.targets.foreign import compiler_for
from optc.targets.target import Target

SOURCES = "kernels"
"""The folder of the artifact that holds the CUDA C++."""


def gpu_linkable(entry: str, lowered: Lowered, target: Target, options: CompileOptions) -> Linkable:
    """The entry point of a lowered module, and what launches its kernels, with their code for each GPU of the target.

    Raises:
        OptcError: the compiler for the target's processors, or ptxas, fails.
        UsageError: no compiler is there for one of the GPUs.
    """
    arities = {
        draft.kernel.symbol: (len(draft.operation.operands), len(draft.operation.results))
        for draft in flatten(lowered.drafts)
        if isinstance(draft, KernelDraft)
    }
    launched = []
    for number, kernel in enumerate(lowered.kernels):
        options.progress("assembling", number, len(lowered.kernels))
        assert isinstance(kernel, CudaKernel)
        launched.append(Launched(kernel, *arities[kernel.symbol], images_of(kernel, target)))
    return Linkable(entry, [launch_object(launched, compiler_for(target), find_toolkit().version)], launched)


def kernel_sources(lowered: Lowered) -> dict[str, bytes]:
    """What the kernels were compiled from, by the files' names in the artifact."""
    texts = dict.fromkeys(kernel.source for kernel in lowered.kernels if isinstance(kernel, CudaKernel))
    source = "\n".join(['#include "optc_cuda.cuh"', *texts, ""])
    files = {"kernels.cu": source, **runtime_headers()}
    return {f"{SOURCES}/{name}": text.encode() for name, text in files.items()}


def images_of(kernel: CudaKernel, target: Target) -> list[Image]:
    """The kernel's code of each kind that the artifact says it has."""
    own, images = str(target.llvm["arch"]), []
    for code in gpu_code_of(target):
        kind, _, number = code.partition("_")
        if kind == "compute":
            images.append(Image(int(number), True, portable_ptx(kernel.ptx, own).encode()))
        else:
            cubin = kernel.object_code if code == own else assemble(kernel.ptx, code).cubin
            images.append(Image(int(number), False, cubin))
    return images
