"""How modules become artifacts, by what their backend emits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from optc.backends.interface import KernelBackend
from optc.driver.artifacts.native import native_product
from optc.driver.artifacts.product import Job, Product
from optc.driver.pipeline import GPU_PIPELINE, PIPELINE, SIMPLIFY, SOURCE_PIPELINE
from optc.errors import UsageError
from optc.targets.target import Target


@dataclass(frozen=True)
class Flow:
    """The way from an imported module to an artifact.

    Attributes:
        pipeline: the passes that run unless the user names others.
        make: plans the module and makes its code.
        generator: the `kind` that a target's `[llvm]` must have; None for any.
    """

    pipeline: str
    make: Callable[[Job], Product]
    generator: str | None


def _source_product(job: Job) -> Product:
    """`source_product`, imported where C is written: most compiles do not need the c backend."""
    from optc.driver.artifacts.source import source_product

    return source_product(job)


FLOWS = {
    "objects": Flow(PIPELINE, native_product, "llvm"),
    "cuda": Flow(GPU_PIPELINE, native_product, "cuda"),
    "source": Flow(SOURCE_PIPELINE, _source_product, "c"),
}
"""By `KernelBackend.emits`."""

WITHOUT_KERNELS = Flow(SIMPLIFY, native_product, None)
"""Everything runs in onnxruntime."""


def flow_of(backend: KernelBackend | None) -> Flow:
    """How modules are compiled with a backend.

    Raises:
        UsageError: nothing makes an artifact of what it emits.
    """
    if backend is None:
        return WITHOUT_KERNELS
    if backend.emits not in FLOWS:
        raise UsageError(
            f"the backend '{backend.name}' emits '{backend.emits}', of which optc makes no artifact",
            hint=f"backends emit {' or '.join(FLOWS)}",
        )
    return FLOWS[backend.emits]


def check_target(backend: KernelBackend | None, target: Target) -> None:
    """Check that a backend can emit code for what a target file describes.

    Raises:
        UsageError: it cannot.
    """
    needed, kind = flow_of(backend).generator, target.llvm.get("kind")
    if backend is not None and needed not in (None, kind):
        raise UsageError(
            f"the backend '{backend.name}' cannot emit code for '{target.name}'",
            where="backends in the target file",
            why=f"[llvm] has kind = '{kind}', and the backend needs '{needed}'",
        )
