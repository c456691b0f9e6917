"""optc in the clothes of other tools: torch.compile's backend, onnxruntime's session."""

from __future__ import annotations
