"""Post-training quantizers side by side: each makes a classifier out of an ONNX file and calibration images."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.numpy_helper import to_array

from optc.driver.quantization.post_training import Methods
from optc.driver.quantization.quantize import Quantizer
from optc.ops.onnx_export import to_onnx_model
from optc.runtime.ort_session import Optimizations, open_session

BATCH = 32
"""Calibration images that run together."""

Predict = Callable[[np.ndarray], np.ndarray]
"""From float32 images [n, 3, 32, 32] to scores [n, 10]."""

OPTC_BATCH = 50
"""Images of a run of an artifact: its batch is fixed when it is compiled."""


def _as_written(model: bytes) -> Predict:
    return _session(model, "basic")


def _in_onnxruntime(model: bytes) -> Predict:
    return _session(model, "all")


def _in_optc(model: bytes) -> Predict:
    import optc

    artifact = optc.compile(model, dims={"batch": OPTC_BATCH}, threads=1, verify=False)

    def predict(images: np.ndarray) -> np.ndarray:
        missing = -len(images) % OPTC_BATCH
        padded = np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.float32)])
        parts = np.split(padded, len(padded) // OPTC_BATCH)
        return np.concatenate([artifact.run({"pixels": part})["logits"] for part in parts])[: len(images)]

    return predict


def _session(model: bytes, optimizations: Optimizations) -> Predict:
    session = open_session(model, purpose="the comparison needs", threads=1, optimizations=optimizations)
    return lambda images: session.run(None, {"pixels": images})[0]


RUNTIMES: dict[str, Callable[[bytes], Predict]] = {
    "written": _as_written,
    "onnxruntime": _in_onnxruntime,
    "optc": _in_optc,
}
"""What runs QDQ models, on one thread. `written`: onnxruntime, operation by operation. `onnxruntime`: with its integer
kernels, which on AVX2 without VNNI saturate where weights have 8 bits. `optc`: an artifact for this host."""


@dataclass(frozen=True)
class Task:
    """What is quantized on what.

    Attributes:
        model: the float ONNX file, with the one input `pixels`.
        calibration: float32 [n, 3, 32, 32].
        folder: for files, empty at first.
        runtime: a name of `RUNTIMES`.
    """

    model: Path
    calibration: np.ndarray
    folder: Path
    runtime: str = "onnxruntime"

    @property
    def batches(self) -> list[dict[str, np.ndarray]]:
        """The calibration images as a model is fed with them."""
        starts = range(0, len(self.calibration), BATCH)
        return [{"pixels": self.calibration[start : start + BATCH]} for start in starts]

    def run(self, model: bytes) -> Predict:
        """A classifier of an ONNX model."""
        return RUNTIMES[self.runtime](model)


def unquantized(task: Task) -> Predict:
    """The float model."""
    return task.run(task.model.read_bytes())


def optc(scheme: str, methods: Methods | None = None) -> Callable[[Task], Predict]:
    """Ours, written as QDQ."""

    def quantize(task: Task) -> Predict:
        quantizer = Quantizer.of(task.model, task.batches)
        written = to_onnx_model(quantizer.write(quantizer.plan(scheme, methods)))
        return task.run(written.SerializeToString())

    return quantize


def onnxruntime_static(task: Task) -> Predict:
    """onnxruntime's static quantizer with its defaults for CPUs: QDQ, unsigned activations, weights per channel."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.items: Iterator[dict[str, np.ndarray]] = iter(task.batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.items, None)

    prepared, written = task.folder / "prepared.onnx", task.folder / "static.onnx"
    quant_pre_process(task.model, prepared)
    quantize_static(
        prepared,
        written,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return task.run(written.read_bytes())


def nncf(task: Task) -> Predict:
    """OpenVINO's NNCF with its defaults, on all calibration images, run by OpenVINO on one thread."""
    import nncf as library
    import openvino

    logging.getLogger("nncf").setLevel(logging.ERROR)
    core = openvino.Core()
    dataset = library.Dataset(task.batches)
    model = library.quantize(core.read_model(task.model), dataset, subset_size=len(task.batches))
    compiled = core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: compiled([images])[0]


def _network(model: Path) -> Any:
    """The PyTorch network that a sample was exported from, with its weights; BatchNorm holds what is left of it."""
    import torch

    sys.path.insert(0, str(model.resolve().parent.parent))
    import cifar10_networks

    network = getattr(cifar10_networks, model.stem.removeprefix("cifar10_"))().eval()
    stored = {item.name: to_array(item) for item in onnx.load(model).graph.initializer}
    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.weight.copy_(torch.from_numpy(stored[f"{name}.weight"].copy()))
            if isinstance(module, torch.nn.Linear):
                module.bias.copy_(torch.from_numpy(stored[f"{name}.bias"].copy()))
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_var.fill_(1.0 - module.eps)
                convolution = f"{name.rpartition('.')[0]}.0"
                module.bias.copy_(torch.from_numpy(stored[f"{convolution}.weight_bias"].copy()))
    return network


def torchao(task: Task) -> Predict:
    """torchao's export quantization for x86 CPUs with its defaults, run operation by operation."""
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    examples = torch.from_numpy(task.calibration[:2])
    program = torch.export.export(_network(task.model), (examples,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    prepared: Any = prepare_pt2e(program.module(), quantizer)
    with torch.no_grad():
        for batch in task.batches:
            prepared(torch.from_numpy(batch["pixels"]))
    converted: Any = convert_pt2e(prepared)

    def predict(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return converted(torch.from_numpy(images)).numpy()

    return predict


LEARNED = Methods(rounding="learned")

QUANTIZERS: dict[str, Callable[[Task], Predict]] = {
    "fp32": unquantized,
    "optc int8": optc("int8"),
    "optc int8, learned rounding": optc("int8", LEARNED),
    "onnxruntime quantize_static int8": onnxruntime_static,
    "NNCF int8": nncf,
    "torchao int8": torchao,
    "optc int4 weights, int8 activations": optc("int4"),
    "optc int4 weights, int8 activations, learned rounding": optc("int4", LEARNED),
    "optc int3 weights, int8 activations": optc("int3/uint8"),
    "optc int3 weights, int8 activations, learned rounding": optc("int3/uint8", LEARNED),
    "optc fp8-e4m3": optc("fp8-e4m3"),
}
"""By what the table calls them."""
