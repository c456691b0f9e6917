"""The PyTorch front end: `torch.export`, then PyTorch's own ONNX exporter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from optc.errors import ModelError, OptcError, UsageError
from optc.ops.onnx_defaults import OPSET

if TYPE_CHECKING:
    import onnx

_NEWEST_EXPORTED = 23  # what torch's exporter targets without a version conversion of its own that we would redo


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise ModelError(
            "PyTorch is needed to read this model, and is not installed", hint="pip install 'optc[torch]'"
        ) from None
    return torch


def from_file(path: Path) -> onnx.ModelProto:
    """A program saved with `torch.export.save`, as ONNX.

    Raises:
        ModelError: torch is missing, the file is no such program, or it cannot be exported.
    """
    if not path.is_file():
        raise ModelError("There is no such model file", where=str(path))
    torch = _torch()
    try:
        program = torch.export.load(str(path))
    except Exception as error:
        raise ModelError(
            "The file is no program saved by torch.export.save", where=str(path), why=_first_line(error)
        ) from error
    return _to_onnx(program, None, str(path))


def from_module(model: Any, example_inputs: Any) -> onnx.ModelProto:
    """A `torch.nn.Module` (traced with `example_inputs`) or an exported program, as ONNX.

    Raises:
        UsageError: a module came without example inputs.
        ModelError: torch cannot trace or export it.
    """
    torch = _torch()
    if isinstance(model, torch.export.ExportedProgram):
        return _to_onnx(model, None, "the exported program")
    label = type(model).__name__
    if example_inputs is None:
        raise UsageError(
            f"The module {label} cannot be traced without example inputs",
            hint="Pass example_inputs=(tensor, …) with the shapes to compile for.",
        )
    if isinstance(example_inputs, torch.Tensor):
        example_inputs = (example_inputs,)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            try:
                program = torch.export.export(model, tuple(example_inputs))
            except Exception as error:
                raise ModelError(
                    f"torch.export cannot trace the module {label}",
                    why=_first_line(error),
                    hint="See whether torch.export.export(module, example_inputs) works by itself.",
                ) from error
            return _to_onnx(program, tuple(example_inputs), label)
    finally:
        model.train(was_training)


def _to_onnx(program: Any, example_inputs: Any, label: str) -> onnx.ModelProto:
    torch = _torch()
    try:
        exported = torch.onnx.export(
            program, example_inputs or (), dynamo=True, opset_version=min(OPSET, _NEWEST_EXPORTED), verbose=False
        )
        return exported.model_proto
    except OptcError:
        raise
    except ImportError as error:
        raise ModelError(
            "PyTorch's ONNX exporter needs onnxscript, which is not installed",
            why=_first_line(error),
            hint="pip install 'optc[torch]'",
        ) from error
    except Exception as error:
        raise ModelError(f"PyTorch cannot export {label} to ONNX", why=_first_line(error)) from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
