"""Folders of the transformers library: config.json and safetensors. No code of a folder is run, and no pickle read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optc.errors import ModelError, UsageError
from optc.frontends import torch_frontend

if TYPE_CHECKING:
    import onnx

CONFIG = "config.json"
TOKENS = 16
"""Of each sequence, unless `--shape input_ids=1,N` says otherwise."""

_LARGEST_CONFIG = 16 << 20


def is_folder(path: Path) -> bool:
    """Whether a path is such a folder."""
    return path.is_dir() and (path / CONFIG).is_file()


def from_folder(path: Path, shapes: Mapping[str, Sequence[int]] | None = None) -> onnx.ModelProto:
    """The model of a folder as ONNX; inputs are `pixel_values`, or `input_ids` and `attention_mask`.

    Args:
        path: the folder.
        shapes: of inputs.

    Raises:
        ModelError: transformers is missing, the folder needs code of its own or holds pickles, or the model cannot be
            exported.
        UsageError: a shape does not fit, or the model takes other inputs.
    """
    architecture = _architecture(path)
    try:
        import torch
        import transformers
    except ImportError as fault:
        raise ModelError(
            "Folders of models need the package transformers",
            where=str(path),
            why=f"{fault.name} is not installed",
            hint="pip install 'optc[transformers]'",
        ) from fault
    found = getattr(transformers, architecture, None)
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        raise ModelError(f"transformers has no model '{architecture}'", where=str(path / CONFIG))
    kind: Any = found
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        model = kind.from_pretrained(
            str(path), local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
        )
    except Exception as fault:
        why = str(fault).strip().split("\n")[0]
        raise ModelError("transformers cannot load the model", where=str(path), why=why) from fault
    examples = _examples(torch, model, dict(shapes or {}), path)
    return torch_frontend.from_module(_wrapped(torch, model.eval(), tuple(examples)), tuple(examples.values()))


def _architecture(path: Path) -> str:
    """The name of the model's class. Raises ModelError where the folder is not safe or says no name."""
    config = path / CONFIG
    try:
        if config.stat().st_size > _LARGEST_CONFIG:
            raise ModelError("The configuration is too large", where=str(config))
        record = json.loads(config.read_bytes())
        names = record["architectures"]
        name = names[0]
    except (OSError, ValueError, KeyError, IndexError, TypeError, RecursionError) as fault:
        raise ModelError("The configuration names no architecture", where=str(config)) from fault
    if not isinstance(name, str) or not name.isidentifier():
        raise ModelError("The configuration names no architecture", where=str(config))
    if "auto_map" in record:
        raise ModelError(
            "The model needs code from its folder, which is not run",
            where=str(config),
            hint="Load it yourself and pass the module to optc.compile with example_inputs.",
        )
    if not any(path.glob("*.safetensors")):
        pickles = any(path.glob("*.bin")) or any(path.glob("*.pt"))
        raise ModelError(
            "The folder holds no weights in safetensors",
            where=str(path),
            why="its weights are pickles, which may run code when they are read" if pickles else None,
            hint="model.save_pretrained(folder) writes them.",
        )
    return name


def _examples(torch: Any, model: Any, shapes: dict[str, Sequence[int]], path: Path) -> dict[str, Any]:
    """An example of each input."""
    main = model.main_input_name
    if main == "input_ids":
        shape = _shape(shapes, main, (1, TOKENS))
        tokens = torch.arange(shape[0] * shape[1]).reshape(shape) % model.config.vocab_size
        _shape(shapes, "attention_mask", shape)
        found = {main: tokens, "attention_mask": torch.ones(shape, dtype=torch.int64)}
    elif main == "pixel_values":
        size = getattr(model.config, "image_size", 224)
        height, width = (size, size) if isinstance(size, int) else tuple(size)
        default = (1, getattr(model.config, "num_channels", 3), height, width)
        found = {main: torch.zeros(_shape(shapes, main, default))}
    else:
        raise UsageError(
            f"The model's main input is '{main}'",
            where=str(path),
            why="only 'input_ids' and 'pixel_values' are known",
            hint="Load it yourself and pass the module to optc.compile with example_inputs.",
        )
    for name in shapes:
        if name not in found:
            raise UsageError(f"the model has no input '{name}'", hint=f"it has: {', '.join(found)}")
    return found


def _shape(shapes: dict[str, Sequence[int]], name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    shape = tuple(shapes.get(name, default))
    if len(shape) != len(default) or (name == "attention_mask" and shape != default):
        raise UsageError(f"{shape} is no shape of '{name}'", hint=f"it has {len(default)} dimensions, as {default}")
    return shape


def _wrapped(torch: Any, model: Any, names: tuple[str, ...]) -> Any:
    """A module of the named inputs that returns tensors alone."""

    class Text(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return _tensors(torch, self.model(input_ids=input_ids, attention_mask=attention_mask))

    class Pictures(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixel_values: Any) -> Any:
            return _tensors(torch, self.model(pixel_values=pixel_values))

    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    return Text() if "input_ids" in names else Pictures()


def _tensors(torch: Any, output: Any) -> tuple[Any, ...]:
    return tuple(each for each in output.to_tuple() if isinstance(each, torch.Tensor))
