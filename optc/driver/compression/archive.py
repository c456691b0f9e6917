"""The file that `optc compress` writes, `.optcz`: an ONNX model whose weights are coded apart.

    8 bytes   "OPTCZ" 0 1 newline; the byte in front of the newline is the version
    4 + 4     bytes of the header as stored and as text, little-endian
    32        SHA-256 of the header as stored
    header    JSON in a zstandard frame
    parts     zstandard frames with checksums, one behind the other

The header holds `parts`, the length of each part as stored; `graph`, the bytes of part 0, which is the ONNX model
without weights; and `tensors`, one for each weight in the order in which the model holds them:

    dtype, count   element type of NumPy or ml_dtypes, and elements
    coding         `planes`: chunks of CHUNK elements, for each a part a plane (see optc.passes.compression.planes);
                   `levels`: one part, `packing`, `size` and `step`: a weight is level times step, rounded to the type

Decoding takes no more memory than the header says, and refuses a header that says more than the limit.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx

from optc.errors import LimitError, OptcError
from optc.ir import dtypes
from optc.passes.compression.codec import decode, encode
from optc.passes.compression.levels import decode_levels, encode_levels
from optc.passes.compression.planes import join, plane_types, split
from optc.passes.compression.steps import levels_of

MAGIC = b"OPTCZ\x00\x01\n"
CHUNK = 1 << 18
"""Elements that are coded together, and decoded by one thread."""

SMALLEST = 16
"""Elements of a tensor that is coded apart from the graph, as levels."""

SMALLEST_IN_PLANES = 1024
"""The same, in planes."""

LIMIT = 8 << 30
"""Bytes that a file may decode to, unless told otherwise."""

_HEAD = struct.Struct("<8sII32s")
_MOST_HEADER = 64 << 20


def tensors_of(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """The initializers and constants that may be coded apart, of nested graphs too, in the order of the file."""
    return (tensor for tensor in all_tensors(model.graph) if _is_coded(tensor))


def all_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """The initializers and constants of a graph and of those in it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == onnx.AttributeProto.GRAPH:
                yield from all_tensors(attribute.g)


def _is_coded(tensor: onnx.TensorProto) -> bool:
    return tensor.HasField("raw_data") and tensor.data_type in _NAMES and int(np.prod(tensor.dims)) >= SMALLEST


_CODED = ("f32", "f16", "bf16", "f64", "i8", "u8", "i16", "u16", "i32", "i64")
_NAMES = {dtypes.BY_NAME[name].onnx_code: dtypes.BY_NAME[name] for name in _CODED}


def pack(model: onnx.ModelProto, steps: Mapping[str, float] | None = None) -> bytes:
    """A model as the bytes of a file.

    Args:
        model: not changed; its weights inside, not in external files.
        steps: of the float32 initializers whose values are multiples of a step, by name: those are stored as levels.
    """
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(model)
    for tensor in all_tensors(skeleton.graph):
        if not tensor.HasField("raw_data") and tensor.data_type in _NAMES:
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    parts: list[bytes] = []
    tensors: list[dict[str, Any]] = []
    for tensor in list(tensors_of(skeleton)):
        dtype = _NAMES[tensor.data_type]
        values = np.frombuffer(tensor.raw_data, dtype.numpy)
        entry: dict[str, Any] = {"dtype": dtype.name, "count": len(values)}
        step = (steps or {}).get(tensor.name)
        levels = None if step is None or dtype.name != "f32" else levels_of(values, step)
        if step is not None and levels is not None and _values(levels, step).tobytes() == values.tobytes():
            coded = encode_levels(levels)
            entry |= {"coding": "levels", "packing": coded.packing, "size": coded.size, "step": step}
            parts.append(coded.frame)
        elif len(values) < SMALLEST_IN_PLANES:
            continue
        else:
            entry["coding"] = "planes"
            for start in range(0, len(values), CHUNK):
                parts += [encode(plane) for plane in split(values[start : start + CHUNK])]
        tensors.append(entry)
        tensor.raw_data = b""
    graph = skeleton.SerializeToString(deterministic=True)
    parts.insert(0, encode(graph, matches=True))
    header = {"graph": len(graph), "tensors": tensors, "parts": [len(part) for part in parts]}
    text = json.dumps(header, separators=(",", ":")).encode()
    stored = encode(text, matches=True)
    head = _HEAD.pack(MAGIC, len(stored), len(text), hashlib.sha256(stored).digest())
    return b"".join([head, stored, *parts])


def _values(levels: np.ndarray, step: float) -> np.ndarray:
    return (levels * np.float64(step)).astype(np.float32)


def unpack(content: bytes, where: str, *, limit: int = LIMIT, threads: int | None = None) -> onnx.ModelProto:
    """The model in the bytes of a file.

    Args:
        content: what `pack` gave.
        where: the file's name, for messages.
        limit: bytes that the model may have.
        threads: that decode; None for as many as there are processors.

    Raises:
        OptcError: it is no such file, or it is damaged.
        LimitError: the model is larger than the limit.
    """
    header, start = read_header(content, where)
    lengths = header["parts"]
    if start + sum(lengths) != len(content):
        raise _damaged(where, f"{start + sum(lengths)} bytes are expected, the file has {len(content)}")
    total = header["graph"] + sum(_bytes(entry) for entry in header["tensors"])
    if total > limit:
        raise LimitError(
            "the model is larger than allowed",
            where=where,
            why=f"it decodes to {total:,} bytes, {limit:,} are allowed",
            hint="--limit",
        )
    ends = start + np.cumsum(lengths)
    view = memoryview(content)
    parts = [view[int(end) - length : int(end)] for end, length in zip(ends, lengths, strict=True)]
    graph = decode(parts[0], header["graph"], where)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(graph)
    except Exception as fault:  # protobuf's own error has no public name
        raise _damaged(where, "the graph cannot be read") from fault
    places = [tensor for tensor in tensors_of(model) if not tensor.raw_data]
    if len(places) != len(header["tensors"]):
        raise _damaged(where, f"{len(places)} tensors in the graph, {len(header['tensors'])} in the header")
    arrays = decode_tensors(header["tensors"], parts[1:], where, threads)
    for tensor, array in zip(places, arrays, strict=True):
        if int(np.prod(tensor.dims)) != len(array):
            raise _damaged(where, f"'{tensor.name}' has another size")
        tensor.raw_data = array.tobytes()
    return model


def decode_tensors(
    entries: Sequence[Mapping[str, Any]], parts: Sequence[memoryview], where: str, threads: int | None = None
) -> list[np.ndarray]:
    """The tensors of a header from its parts, each of one dimension; chunks are decoded by several threads."""
    arrays: list[np.ndarray] = []
    jobs: list[tuple[Mapping[str, Any], np.ndarray, list[memoryview]]] = []
    at = 0
    for entry in entries:
        dtype = dtypes.BY_NAME[entry["dtype"]].numpy
        array = np.empty(entry["count"], dtype)
        arrays.append(array)
        if entry["coding"] == "levels":
            jobs.append((entry, array, list(parts[at : at + 1])))
            at += 1
            continue
        planes = len(plane_types(dtype))
        for start in range(0, entry["count"], CHUNK):
            jobs.append((entry, array[start : start + CHUNK], list(parts[at : at + planes])))
            at += planes
    if at != len(parts):
        raise _damaged(where, f"{at} parts are expected, there are {len(parts)}")
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        list(pool.map(lambda job: _decode(job[0], job[1], job[2], where), jobs))
    return arrays


def _decode(entry: Mapping[str, Any], out: np.ndarray, frames: list[memoryview], where: str) -> None:
    if entry["coding"] == "levels":
        levels = decode_levels(frames[0], entry["packing"], entry["size"], len(out), where)
        out[:] = _values(levels, entry["step"])
        return
    types = [np.dtype(f"<{name}") for name in plane_types(out.dtype)]
    planes = [
        np.frombuffer(decode(frame, len(out) * each.itemsize, where), each)
        for frame, each in zip(frames, types, strict=True)
    ]
    join(planes, out)


def read_header(content: bytes, where: str) -> tuple[dict[str, Any], int]:
    """The header of a file, checked, and where its parts begin.

    Raises:
        OptcError: it is no such file, or it is damaged.
    """
    if len(content) < _HEAD.size or content[:6] != MAGIC[:6]:
        raise OptcError("this is no compressed model", where=where, hint="optc compress makes them")
    magic, stored, size, digest = _HEAD.unpack_from(content)
    if magic != MAGIC:
        raise OptcError("this version of compressed models is unknown", where=where, why=f"version {content[6]}")
    body = content[_HEAD.size : _HEAD.size + stored]
    if size > _MOST_HEADER or hashlib.sha256(body).digest() != digest:
        raise _damaged(where, "the checksum of the header does not match")
    try:
        header = json.loads(decode(body, size, where))
        for entry in header["tensors"]:
            if entry["coding"] not in ("planes", "levels") or entry["dtype"] not in _CODED or _bytes(entry) < 0:
                raise ValueError(f"a tensor is {entry}")
        if min([header["graph"], *header["parts"]]) < 0:
            raise ValueError("a size is negative")
    except (ValueError, KeyError, TypeError) as fault:
        raise _damaged(where, str(fault)) from fault
    return header, _HEAD.size + stored


def _bytes(entry: Mapping[str, Any]) -> int:
    """Of a tensor in memory; what decoding its levels takes too."""
    return int(entry["count"]) * dtypes.BY_NAME[entry["dtype"]].numpy.itemsize + int(entry.get("size", 0))


def _damaged(where: str, why: str) -> OptcError:
    return OptcError("the file is damaged", where=where, why=why, hint="copy or compress it again")
