"""What a flow takes and what it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from optc import artifact
from optc.backends.interface import KernelBackend
from optc.driver.options import CompileOptions
from optc.driver.verification.emulation import Linkable
from optc.ir.core import Module
from optc.passes.base import PassContext
from optc.targets.target import Target

Plan = Callable[[Module, CompileOptions], PassContext]
"""Runs the passes that the options name, or the standard ones, over a module in place."""


@dataclass(frozen=True)
class Job:
    """An imported model, and what to make of it.

    Attributes:
        name: of the model.
        module: as imported; may be planned in place.
        backend: makes the kernels; None runs everything in onnxruntime.
        target: what the code is for.
        options: of the compile.
        pipeline: the standard passes of the backend.
        plan: runs them.
    """

    name: str
    module: Module
    backend: KernelBackend | None
    target: Target
    options: CompileOptions
    pipeline: str
    plan: Plan


@dataclass(frozen=True)
class Product:
    """A compiled model.

    Attributes:
        contents: of the artifact.
        linkable: what runs the same code elsewhere.
        probes: inputs to verify it with that try more of it than random ones would; None where those do.
    """

    contents: artifact.Contents
    linkable: Linkable
    probes: Mapping[str, np.ndarray] | None = None
