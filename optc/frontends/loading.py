"""The one way in: whatever the user calls a model, into a module and the reference that verification runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optc.errors import ModelError, UsageError
from optc.ir.core import Module

if TYPE_CHECKING:
    import onnx

_TORCH_SUFFIXES = (".pt2",)
_OTHER_FORMATS = {
    ".pt": "a PyTorch checkpoint",
    ".pth": "a PyTorch checkpoint",
    ".safetensors": "a weights file",
    ".tflite": "a TensorFlow Lite model",
    ".h5": "a Keras model",
    ".keras": "a Keras model",
}


@dataclass(frozen=True)
class LoadedModel:
    """A model as the compiler starts from it.

    Attributes:
        module: the imported graph.
        reference: the ONNX model that defines the right numbers: a path, or serialised bytes.
        name: what to call it in reports.
    """

    module: Module
    reference: Path | bytes
    name: str


def load_model(
    model: Any,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
    example_inputs: Any = None,
) -> LoadedModel:
    """Load a model of any supported kind.

    Args:
        model: a path (.onnx, .pt2, or a folder of the transformers library), the bytes of an ONNX file, an
            `onnx.ModelProto`, a `torch.nn.Module` or a `torch.export.ExportedProgram`.
        shapes: full shapes of some inputs by name.
        dims: values of symbolic dimensions by name.
        example_inputs: a tuple of tensors to trace a `torch.nn.Module` with.

    Raises:
        ModelError: the model is broken or not supported.
        UsageError: the arguments do not fit the model.
    """
    from optc.frontends import onnx_frontend

    if isinstance(model, (str, Path)):
        path = Path(model)
        if path.suffix in _TORCH_SUFFIXES:
            from optc.frontends import torch_frontend

            return _from_proto(torch_frontend.from_file(path), path.stem, shapes, dims)
        if path.is_dir():
            from optc.frontends import hf_folder

            if hf_folder.is_folder(path):
                return _from_proto(hf_folder.from_folder(path, shapes), path.resolve().name, None, dims)
        if path.suffix in _OTHER_FORMATS and path.exists():
            raise ModelError(
                f"The file is {_OTHER_FORMATS[path.suffix]}, which holds no graph that optc can read",
                where=str(path),
                hint="Export it to ONNX, or save it with torch.export.save as .pt2.",
            )
        module = onnx_frontend.load(path, shapes, dims)
        return LoadedModel(module, path, module.name)
    if isinstance(model, bytes):
        module = onnx_frontend.load(model, shapes, dims)
        return LoadedModel(module, model, module.name)
    kind = {f"{base.__module__.split('.')[0]}.{base.__name__}" for base in type(model).__mro__}
    if "onnx.ModelProto" in kind or "ModelProto" in {base.__name__ for base in type(model).__mro__}:
        return _from_proto(model, None, shapes, dims)
    if kind & {"torch.Module", "torch.ExportedProgram"}:
        from optc.frontends import torch_frontend

        proto = torch_frontend.from_module(model, example_inputs)
        return _from_proto(proto, type(model).__name__.lower(), shapes, dims)
    raise UsageError(
        f"A {type(model).__module__}.{type(model).__qualname__} is no model",
        hint="Pass a path, an onnx.ModelProto, a torch.nn.Module or a torch ExportedProgram.",
    )


def _from_proto(
    proto: onnx.ModelProto,
    name: str | None,
    shapes: Mapping[str, Sequence[int]] | None,
    dims: Mapping[str, int] | None,
) -> LoadedModel:
    from optc.frontends import onnx_frontend

    module = onnx_frontend.load(proto, shapes, dims)
    if name:
        module.name = name
    return LoadedModel(module, proto.SerializeToString(), module.name)
