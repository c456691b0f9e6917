"""Random generators: types from the onnx package, never folded, never merged."""

from __future__ import annotations

from optc.ops.declaration import Kind, declare

for _name in ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"):
    declare(f"onnx.{_name}", Kind.OPAQUE, deterministic=False)
