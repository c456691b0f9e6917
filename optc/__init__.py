"""optc compiles a trained model into the fastest deployable that it can prove correct.

    artifact = optc.compile("model.onnx", target="cpu")
    outputs = artifact.run({"images": array})
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optc.version import __version__

if TYPE_CHECKING:
    from optc.driver.compile import compile
    from optc.integrations.session import InferenceSession
    from optc.runtime import Artifact, load

__all__ = ["Artifact", "InferenceSession", "__version__", "compile", "load"]

_LAZY = {
    "compile": "optc.driver",
    "load": "optc.runtime",
    "Artifact": "optc.runtime",
    "InferenceSession": "optc.integrations.session",
}


def __getattr__(name: str) -> Any:
    """Import the driver and the runtime only when they are used: `import optc` stays fast."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'optc' has no attribute '{name}'")
