"""A folder `tensorrt/` for boards whose users prefer NVIDIA's engine: the model, its ranges, and how to build it.

TensorRT reads QuantizeLinear and DequantizeLinear only where the codes are signed bytes around zero. Other models go
there in floats, with the range of every tensor that was quantized: as a calibration cache for TensorRT's own tools and
as a table for onnxruntime's provider.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from optc.ir.core import Module
from optc.ops.onnx_export import to_onnx_model

FOLDER = "tensorrt/"
LEVELS = 127.0  # of a signed byte around zero

# The release is part of the head of a cache; TensorRT calibrates again where it is another one.
CACHE_HEAD = "TRT-8502-EntropyCalibration2"

_README = """\
# TensorRT

On the board:

    sh build.sh

makes `model.plan` with trtexec, which comes with TensorRT (on a Jetson: /usr/src/tensorrt/bin). onnxruntime takes the
providers and their options from `providers.json`:

    import json, onnxruntime
    providers = [tuple(each) for each in json.load(open("providers.json"))]
    session = onnxruntime.InferenceSession("model.onnx", providers=providers)

{quantization}
"""
_FLOATS = "The model computes in floats; the engine may use halves."
_EXPLICIT = "The model holds its scales itself (QuantizeLinear and DequantizeLinear), so nothing is calibrated."
_RANGES = """\
The model is in floats. `calibration.cache` has the scale of every tensor that was quantized, in the form that trtexec
takes, and `ranges.json` the same as largest magnitudes, for `ITensor.dynamic_range`; a TensorRT release that refuses
the cache's head (`{head}`) takes it with a head of its own."""


def tensorrt_files(module: Module) -> dict[str, bytes]:
    """The files by their names in the artifact.

    Args:
        module: as imported, with static shapes.
    """
    model = to_onnx_model(module.main)
    ranges: dict[str, float] = {}
    explicit = has_codes(model) and is_symmetric(model)
    if has_codes(model) and not explicit:
        ranges = in_floats(model)
    quantized = explicit or bool(ranges)
    note = _EXPLICIT if explicit else _RANGES.format(head=CACHE_HEAD) if ranges else _FLOATS
    files = {
        "model.onnx": model.SerializeToString(deterministic=True),
        "build.sh": build_script(quantized, bool(ranges)).encode(),
        "providers.json": (json.dumps(providers(quantized, bool(ranges)), indent=1) + "\n").encode(),
        "README.md": _README.format(quantization=note).encode(),
    }
    if ranges:
        files["calibration.cache"] = calibration_cache(ranges).encode()
        files["ranges.json"] = (json.dumps(ranges, indent=1) + "\n").encode()
    return {FOLDER + name: content for name, content in files.items()}


def build_script(quantized: bool, calibrated: bool) -> str:
    """The command that makes the engine."""
    words = ["trtexec", "--onnx=model.onnx", "--saveEngine=model.plan", "--fp16", "--useCudaGraph"]
    words += ["--int8"] if quantized else []
    words += ["--calib=calibration.cache"] if calibrated else []
    return f'#!/bin/sh\nset -e\ncd "$(dirname "$0")"\nPATH="$PATH:/usr/src/tensorrt/bin"\n{" ".join(words)}\n'


def providers(quantized: bool, calibrated: bool) -> list[list[Any]]:
    """onnxruntime's providers in the order of preference, with their options."""
    tensorrt: dict[str, Any] = {
        "trt_fp16_enable": True,
        "trt_int8_enable": quantized,
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": ".",
        "trt_cuda_graph_enable": True,
    }
    if calibrated:
        tensorrt["trt_int8_calibration_table_name"] = "calibration.cache"
        tensorrt["trt_int8_use_native_calibration_table"] = True
    cuda = {"enable_cuda_graph": True, "cudnn_conv_algo_search": "EXHAUSTIVE"}
    return [["TensorrtExecutionProvider", tensorrt], ["CUDAExecutionProvider", cuda], ["CPUExecutionProvider", {}]]


def calibration_cache(ranges: Mapping[str, float]) -> str:
    """TensorRT's text form: for each tensor the scale, as the hexadecimal digits of a float's bits."""
    lines = [f"{name}: {struct.pack('>f', largest / LEVELS).hex()}" for name, largest in ranges.items()]
    return "\n".join([CACHE_HEAD, *lines, ""])


def has_codes(model: onnx.ModelProto) -> bool:
    """Whether a model quantizes anything."""
    return any(node.op_type == "DequantizeLinear" for node in model.graph.node)


def is_symmetric(model: onnx.ModelProto) -> bool:
    """Whether all codes are signed bytes with zero points of zero."""
    return all(codes.dtype == np.int8 and not codes.any() for codes in _zero_points(model))


def _zero_points(model: onnx.ModelProto) -> list[np.ndarray]:
    constants = _constants(model)
    found = []
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            named = len(node.input) > 2 and node.input[2]
            found.append(constants[node.input[2]] if named in constants else np.zeros(1, np.uint8))
    return found


def _constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    found = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def in_floats(model: onnx.ModelProto) -> dict[str, float]:
    """Take the codes out of a model in place; the largest magnitude of each tensor that was quantized.

    What is dequantized becomes the tensor that was quantized, or for a constant its value.
    """
    graph, constants = model.graph, _constants(model)
    quantized = {node.output[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    ranges: dict[str, float] = {}
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            value = _dequantized(node, constants)
            graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        elif node.op_type == "DequantizeLinear" and node.input[0] in quantized:
            source = quantized[node.input[0]]
            renamed[node.output[0]] = source.input[0]
            ranges[source.input[0]] = _largest(source, constants)
        else:
            kept.append(node)
    outputs = {each.name for each in graph.output}
    for node in kept:
        for position, name in enumerate(node.input):
            node.input[position] = _origin(name, renamed)
    kept += [onnx.helper.make_node("Identity", [_origin(name, renamed)], [name]) for name in renamed if name in outputs]
    del graph.node[:]
    graph.node.extend(_needed(kept, outputs))
    read = {name for node in graph.node for name in node.input} | outputs
    initializers = [each for each in graph.initializer if each.name in read]
    del graph.initializer[:]
    graph.initializer.extend(initializers)
    return {_origin(name, renamed): largest for name, largest in ranges.items()}


def _origin(name: str, renamed: Mapping[str, str]) -> str:
    while name in renamed:
        name = renamed[name]
    return name


def _needed(nodes: list[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """Those that the outputs depend on: the quantizing ones are no longer read."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]


def _per_axis(values: np.ndarray, node: onnx.NodeProto, rank: int) -> np.ndarray:
    """Scales or zero points in a shape that broadcasts against the tensor."""
    if values.size == 1:
        return values.reshape(())
    axis = next((each.i for each in node.attribute if each.name == "axis"), 1) % rank
    return values.reshape([-1 if each == axis else 1 for each in range(rank)])


def _dequantized(node: onnx.NodeProto, constants: Mapping[str, np.ndarray]) -> np.ndarray:
    codes, scale = constants[node.input[0]], constants[node.input[1]]
    zero = constants[node.input[2]] if len(node.input) > 2 and node.input[2] else np.zeros(1, codes.dtype)
    centered = codes.astype(np.float64) - _per_axis(zero.astype(np.float64), node, codes.ndim)
    return np.asarray(centered * _per_axis(scale.astype(np.float64), node, codes.ndim), scale.dtype)


def _largest(node: onnx.NodeProto, constants: Mapping[str, np.ndarray]) -> float:
    """The largest magnitude that codes of a tensor stand for."""
    scale = constants[node.input[1]].astype(np.float64)
    zero = constants[node.input[2]] if len(node.input) > 2 and node.input[2] else np.zeros(1, np.uint8)
    limits = np.iinfo(zero.dtype)
    ends = np.stack([(limits.min - zero.astype(np.float64)) * scale, (limits.max - zero.astype(np.float64)) * scale])
    return float(np.abs(ends).max())
