"""Types, attributes and arrays between the IR and ONNX's protobuf messages."""

from __future__ import annotations

import re

import ml_dtypes
import numpy as np
import onnx
from onnx import helper, numpy_helper

from optc.ir import dtypes
from optc.ir.core import Attribute
from optc.ir.dims import Dim, SymbolicDim, parse_dim, symbol
from optc.ir.dtypes import DType
from optc.ir.types import UNKNOWN_TYPE, OpaqueType, TensorType, ValueType

_WRAPPERS = {"seq": "sequence_type", "optional": "optional_type"}


def dtype_from_code(code: int) -> DType:
    """The element type of an ONNX code. Raises ValueError for those that optc does not have."""
    if code not in dtypes.BY_ONNX_CODE:
        known = {value: name for name, value in onnx.TensorProto.DataType.items()}
        raise ValueError(f"the element type {known.get(code, code)} is not supported")
    return dtypes.BY_ONNX_CODE[code]


def dim_from_text(text: str) -> Dim:
    """A dimension from an ONNX dim_param: an expression if it reads as one, else a symbol of that name."""
    try:
        return parse_dim(text)
    except ValueError:
        return symbol(text)


def type_from_proto(proto: onnx.TypeProto, unnamed: str = "d") -> ValueType:
    """The IR type of an ONNX type; an unknown extent of axis i becomes the symbol `{unnamed}_{i}`.

    Raises:
        ValueError: the element type is unknown to optc.
    """
    kind = proto.WhichOneof("value")
    if kind == "tensor_type" and proto.tensor_type.elem_type:
        dtype = dtype_from_code(proto.tensor_type.elem_type)
        if not proto.tensor_type.HasField("shape"):
            return TensorType(dtype, None)
        dims: list[Dim] = []
        for axis, dim in enumerate(proto.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value >= 0:
                dims.append(dim.dim_value)
            else:
                # Some exporters write '?' for "unknown": that is no name.
                named = re.search(r"[A-Za-z0-9]", dim.dim_param) is not None
                dims.append(dim_from_text(dim.dim_param) if named else symbol(f"{unnamed}_{axis}"))
        return TensorType(dtype, tuple(dims))
    if kind is None or kind == "tensor_type":
        return UNKNOWN_TYPE
    return OpaqueType(_describe(proto))


def _describe(proto: onnx.TypeProto) -> str:
    kind = proto.WhichOneof("value")
    if kind == "tensor_type":
        return f"tensor({_element(proto.tensor_type.elem_type)})"
    for name, field in _WRAPPERS.items():
        if kind == field:
            return f"{name}({_describe(getattr(proto, field).elem_type)})"
    if kind == "map_type":
        return f"map({_element(proto.map_type.key_type)},{_describe(proto.map_type.value_type)})"
    return str(kind)


def _element(code: int) -> str:
    """The name of an element type; its ONNX code where optc does not have it."""
    return dtypes.BY_ONNX_CODE[code].name if code in dtypes.BY_ONNX_CODE else str(code)


def type_to_proto(type: ValueType) -> onnx.TypeProto:
    """The ONNX type of an IR type. An unknown type gives an empty TypeProto."""
    if isinstance(type, OpaqueType):
        return _proto_of_description(type.description)
    if type.shape is None:
        return helper.make_tensor_type_proto(type.dtype.onnx_code, None)
    dims = [str(dim) if isinstance(dim, SymbolicDim) else dim for dim in type.shape]
    return helper.make_tensor_type_proto(type.dtype.onnx_code, dims)


def _proto_of_description(text: str) -> onnx.TypeProto:
    proto = onnx.TypeProto()
    match = re.fullmatch(r"(\w+)\((.*)\)", text)
    if match is None:
        return proto
    name, inner = match.groups()
    if name == "tensor":
        proto.tensor_type.elem_type = dtypes.BY_NAME[inner].onnx_code if inner in dtypes.BY_NAME else int(inner)
    elif name in _WRAPPERS:
        getattr(proto, _WRAPPERS[name]).elem_type.CopyFrom(_proto_of_description(inner))
    elif name == "map":
        key, value = inner.split(",", 1)
        proto.map_type.key_type = dtypes.BY_NAME[key].onnx_code
        proto.map_type.value_type.CopyFrom(_proto_of_description(value))
    return proto


def array_to_proto(array: np.ndarray, name: str = "") -> onnx.TensorProto:
    """A TensorProto that holds the array's bytes."""
    if array.dtype.kind in "OUS":
        return helper.make_tensor(name, onnx.TensorProto.STRING, array.shape, [str(v).encode() for v in array.ravel()])
    dtype = dtypes.from_numpy(array.dtype)
    if dtype.bits < 8:
        return numpy_helper.from_array(array, name)
    proto = onnx.TensorProto(name=name, data_type=dtype.onnx_code, dims=array.shape)
    proto.raw_data = np.ascontiguousarray(array).tobytes()
    return proto


def array_from_proto(proto: onnx.TensorProto) -> np.ndarray:
    """The array of a TensorProto whose data is inside; raw bytes are viewed, not copied.

    Raises:
        ValueError: the element type is unknown to optc, or the bytes do not fill the shape.
    """
    dtype = dtype_from_code(proto.data_type)
    if proto.HasField("raw_data") and dtype.bits >= 8:
        expected = int(np.prod(proto.dims, dtype=np.int64)) * dtype.bytes
        if len(proto.raw_data) != expected:
            raise ValueError(f"{len(proto.raw_data)} bytes are stored where {expected} are needed")
        return np.frombuffer(proto.raw_data, dtype.numpy).reshape(tuple(proto.dims))
    array = numpy_helper.to_array(proto)
    if dtype is dtypes.STRING:
        return array.astype(object)
    if array.dtype != dtype.numpy:
        # Element types newer than NumPy: onnx returns the same bits under another dtype.
        array = array.view(dtype.numpy) if array.dtype.itemsize == dtype.bytes else array.astype(dtype.numpy)
    return array


def attribute_from_proto(proto: onnx.AttributeProto) -> Attribute:
    """The IR attribute of an ONNX attribute that holds no graph.

    Raises:
        ValueError: its kind cannot be represented.
    """
    kind = onnx.AttributeProto.AttributeType.Name(proto.type)
    match kind:
        case "FLOAT":
            return float(proto.f)
        case "INT":
            return int(proto.i)
        case "STRING":
            return proto.s.decode("utf-8", "surrogateescape")
        case "FLOATS":
            return tuple(float(v) for v in proto.floats)
        case "INTS":
            return tuple(int(v) for v in proto.ints)
        case "STRINGS":
            return tuple(v.decode("utf-8", "surrogateescape") for v in proto.strings)
        case "TENSOR":
            return array_from_proto(proto.t)
        case "SPARSE_TENSOR":
            return densify(proto.sparse_tensor)
        case "TENSORS":
            return tuple(array_from_proto(tensor) for tensor in proto.tensors)
        case "TYPE_PROTO":
            # The IR has no attribute of this kind: its serialised bytes keep everything.
            return np.frombuffer(proto.tp.SerializeToString(deterministic=True), np.uint8)
        case _:
            raise ValueError(f"attribute '{proto.name}' is of the unsupported kind {kind}")


def densify(sparse: onnx.SparseTensorProto) -> np.ndarray:
    """The dense array of a sparse tensor."""
    values = array_from_proto(sparse.values)
    indices = array_from_proto(sparse.indices)
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        dense.reshape(-1)[indices] = values
    else:
        dense[tuple(indices.T)] = values
    return dense


def attribute_to_proto(name: str, value: Attribute, kind: int | None = None) -> onnx.AttributeProto:
    """The ONNX attribute; `kind` is the AttributeProto.AttributeType that the schema asks for, when known."""
    types = onnx.AttributeProto
    proto = onnx.AttributeProto(name=name)
    if kind is None:
        kind = _guess_kind(value)
    proto.type = kind
    if kind == types.TENSOR:
        assert isinstance(value, np.ndarray)
        proto.t.CopyFrom(array_to_proto(value))
    elif kind == types.TYPE_PROTO:
        assert isinstance(value, np.ndarray)
        proto.tp.ParseFromString(value.tobytes())
    elif kind == types.FLOAT:
        proto.f = float(value)  # type: ignore[arg-type]
    elif kind == types.INT:
        proto.i = int(value)  # type: ignore[arg-type]
    elif kind == types.STRING:
        proto.s = str(value).encode("utf-8", "surrogateescape")
    else:
        items = value if isinstance(value, tuple) else (value,)
        if kind == types.FLOATS:
            proto.floats.extend(float(v) for v in items)  # type: ignore[arg-type]
        elif kind == types.INTS:
            proto.ints.extend(int(v) for v in items)  # type: ignore[arg-type]
        elif kind == types.STRINGS:
            proto.strings.extend(str(v).encode("utf-8", "surrogateescape") for v in items)
        elif kind == types.TENSORS:
            proto.tensors.extend(array_to_proto(v) for v in items if isinstance(v, np.ndarray))
        else:
            raise ValueError(f"attribute '{name}' cannot be written as {types.AttributeType.Name(kind)}")
    return proto


def _guess_kind(value: Attribute) -> int:
    types = onnx.AttributeProto
    if isinstance(value, np.ndarray):
        return types.TENSOR
    if isinstance(value, tuple):
        if any(isinstance(item, float) for item in value):
            return types.FLOATS
        if any(isinstance(item, str) for item in value):
            return types.STRINGS
        return types.TENSORS if any(isinstance(item, np.ndarray) for item in value) else types.INTS
    if isinstance(value, str):
        return types.STRING
    return types.FLOAT if isinstance(value, float) else types.INT


assert ml_dtypes  # numpy_helper and DType.numpy need its dtypes registered
