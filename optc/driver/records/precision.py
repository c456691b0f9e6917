"""What an artifact states of the precisions that calibration led to."""

from __future__ import annotations

from typing import Any

from optc.driver.options import CompileOptions


def precision_record(options: CompileOptions) -> dict[str, Any]:
    """For the plan: what was decided for each layer and why; nothing where the model was compiled as it is."""
    return {} if options.precision is None else {"precision": dict(options.precision)}


def precision_summary(options: CompileOptions) -> dict[str, Any]:
    """For the manifest: the same, with the reasons of the layers in float in place of layers and tries."""
    if options.precision is None:
        return {}
    rest = {name: value for name, value in options.precision.items() if name not in ("layers", "tries")}
    layers = options.precision["layers"]
    kept = {layer["name"]: layer["reason"] for layer in layers if layer["precision"] == "float"}
    return {"precision": {**rest, "in_float": kept, "count": len(layers)}}
