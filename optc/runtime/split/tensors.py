"""Typed tensors in the payload of a frame: element type, shape, and the coded bytes.

A list is a count (1 byte), then for each tensor: element type and rank (1 byte each), the dimensions (4 bytes each),
the number of coded bytes (4) and the coded bytes. Element types are ONNX's codes. The encoding of each tensor does not
travel: it stands in `split.json`, whose hash both sides have compared.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optc.artifact.split_record import CutTensor
from optc.ir.dtypes import BY_ONNX_CODE
from optc.runtime.split.frames import Buffer, FrameFault

MAX_TENSORS = 64
MAX_RANK = 8
_HEAD = struct.Struct(">BB")
_NUMBER = struct.Struct(">I")
_BY_NUMPY = {dtype.numpy_name: dtype for dtype in BY_ONNX_CODE.values() if dtype.numpy_name != "object"}


@dataclass(frozen=True)
class CodedTensor:
    """A tensor as it travels.

    Attributes:
        dtype: NumPy's name of the element type before coding.
        shape: before coding.
        data: the coded bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    data: Buffer

    @property
    def decoded_bytes(self) -> int:
        return math.prod(self.shape) * _BY_NUMPY[self.dtype].bytes


def numpy_dtype(name: str) -> np.dtype:
    """The NumPy type of an element type that can travel. Raises FrameFault for others (strings)."""
    if name not in _BY_NUMPY:
        raise FrameFault(f"tensors of type {name} cannot be sent")
    return _BY_NUMPY[name].numpy


def tensor_head_bytes(rank: int) -> int:
    """Bytes that a list spends on a tensor beside the coded ones."""
    return _HEAD.size + 4 * rank + _NUMBER.size


def pack_tensors(tensors: Sequence[CodedTensor]) -> list[Buffer]:
    """The list as pieces of a payload; coded bytes are not copied.

    Raises:
        FrameFault: there are too many, or one has too many dimensions or a type that cannot travel.
    """
    if len(tensors) > MAX_TENSORS:
        raise FrameFault(f"{len(tensors)} tensors are more than the {MAX_TENSORS} that a frame takes")
    pieces: list[Buffer] = [bytes([len(tensors)])]
    for tensor in tensors:
        numpy_dtype(tensor.dtype)
        if len(tensor.shape) > MAX_RANK:
            raise FrameFault(f"a tensor of {len(tensor.shape)} dimensions has more than the {MAX_RANK} that travel")
        dims = struct.pack(f">{len(tensor.shape)}I", *tensor.shape)
        code = _BY_NUMPY[tensor.dtype].onnx_code
        size = memoryview(tensor.data).nbytes
        pieces += [_HEAD.pack(code, len(tensor.shape)) + dims + _NUMBER.pack(size), tensor.data]
    return pieces


def parse_tensors(data: Buffer, limit: int) -> list[CodedTensor]:
    """The inverse of `pack_tensors`; nothing is decoded and nothing copied.

    Args:
        data: the list and nothing after it.
        limit: what the decoded tensors may take together, in bytes.

    Raises:
        FrameFault: it is no such list.
    """
    view = memoryview(data)
    if not view or view[0] > MAX_TENSORS:
        raise FrameFault("a frame holds no list of tensors")
    tensors = []
    at, decoded = 1, 0
    try:
        for _ in range(view[0]):
            code, rank = _HEAD.unpack_from(view, at)
            at += _HEAD.size
            if rank > MAX_RANK or code not in BY_ONNX_CODE or BY_ONNX_CODE[code].numpy_name not in _BY_NUMPY:
                raise FrameFault("a tensor has an unknown element type or too many dimensions")
            shape = struct.unpack_from(f">{rank}I", view, at)
            at += 4 * rank
            (size,) = _NUMBER.unpack_from(view, at)
            at += _NUMBER.size
            tensor = CodedTensor(BY_ONNX_CODE[code].numpy_name, shape, view[at : at + size])
            at += size
            decoded += tensor.decoded_bytes
            if at > len(view):
                raise FrameFault("a tensor is longer than its frame")
            if decoded > limit:
                raise FrameFault(f"the tensors of a frame take more than {limit} bytes")
            tensors.append(tensor)
    except struct.error as fault:
        raise FrameFault("a list of tensors ends too early") from fault
    if at != len(view):
        raise FrameFault("something follows the tensors of a frame")
    return tensors


def check_type(tensor: CodedTensor, wanted: CutTensor) -> None:
    """Compare with what the record of the split states. Raises FrameFault."""
    if (tensor.dtype, tensor.shape) != (wanted.dtype, wanted.shape):
        due, found = _shown(wanted.dtype, wanted.shape), _shown(tensor.dtype, tensor.shape)
        raise FrameFault(f"'{wanted.name}' is {due}, not {found}")


def _shown(dtype: str, shape: Sequence[int]) -> str:
    return f"{dtype} {'×'.join(map(str, shape)) or 'scalar'}"
