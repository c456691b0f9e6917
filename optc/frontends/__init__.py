"""Front ends: ONNX and PyTorch models into modules."""

from optc.frontends.loading import LoadedModel, load_model

__all__ = ["LoadedModel", "load_model"]
