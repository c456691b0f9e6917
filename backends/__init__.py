"""The backends that turn a planned module into code, one folder each."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from optc.errors import UsageError

if TYPE_CHECKING:
    from optc.backends.interface import KernelBackend

ENTRY_POINT_GROUP = "optc.backends"

KERNEL_BACKENDS: dict[str, str | None] = {
    "tvm": "optc.backends.tvm.backend:TvmBackend",
    "c": "optc.backends.c.backend:CBackend",
    "cuda": "optc.backends.cuda.backend:CudaBackend",
    "onnx": None,
}
"""Where each built-in backend's class is; None: it makes no kernels, since onnxruntime runs the whole model."""


def kernel_backend(name: str) -> KernelBackend | None:
    """The backend called `name`, built in or from the entry points of the group `optc.backends`.

    Raises:
        UsageError: there is none.
    """
    places = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)} | KERNEL_BACKENDS
    if name not in places:
        raise UsageError(f"no backend is called '{name}'", hint=f"there are: {', '.join(sorted(places))}")
    place = places[name]
    if place is None:
        return None
    module, _, attribute = place.partition(":")
    backend: KernelBackend = getattr(import_module(module), attribute)()
    return backend
