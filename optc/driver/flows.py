"""How modules become artifacts, by what their backend emits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from optc.backends.interface import KernelBackend
from optc.driver.native_artifact import native_product
from optc.driver.pipeline import PIPELINE, SIMPLIFY, SOURCE_PIPELINE
from optc.driver.product import Job, Product
from optc.driver.source_artifact import source_product


@dataclass(frozen=True)
class Flow:
    """The way from an imported module to an artifact.

    Attributes:
        pipeline: the passes that run unless the user names others.
        make: plans the module and makes its code.
    """

    pipeline: str
    make: Callable[[Job], Product]


FLOWS = {"objects": Flow(PIPELINE, native_product), "source": Flow(SOURCE_PIPELINE, source_product)}
"""By `KernelBackend.emits`."""

WITHOUT_KERNELS = Flow(SIMPLIFY, native_product)
"""Everything runs in onnxruntime."""


def flow_of(backend: KernelBackend | None) -> Flow:
    """How modules are compiled with a backend."""
    return WITHOUT_KERNELS if backend is None else FLOWS[backend.emits]
