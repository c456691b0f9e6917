"""Weights as arrays that share storage: views of the parsed message, or of memory-mapped external files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx

from optc.errors import ModelError
from optc.frontends.onnx_file import ModelFile
from optc.ops.onnx_types import array_from_proto, densify, dtype_from_code

_CHUNK = 1 << 24  # bytes looked at together in the search for NaN


class WeightReader:
    """Reads the initializers of one model.

    Args:
        model: the parsed model.
    """

    def __init__(self, model: ModelFile) -> None:
        self.model = model
        self._files: dict[Path, np.ndarray] = {}

    def read(self, proto: onnx.TensorProto) -> np.ndarray:
        """The array of an initializer.

        Raises:
            ModelError: its data is missing, truncated, of an unknown type, outside the model's folder, or holds NaN.
        """
        name = proto.name
        try:
            if proto.data_location == onnx.TensorProto.EXTERNAL:
                return self._external(proto)
            array = array_from_proto(proto)
        except (ValueError, TypeError) as error:
            raise ModelError(
                f"The weight '{name}' cannot be read", where=self.model.label, why=str(error), hint=_EXPORT_AGAIN
            ) from error
        self._refuse_nan(_chunks(array), name, array)
        return array

    def read_sparse(self, proto: onnx.SparseTensorProto) -> np.ndarray:
        """The dense array of a sparse initializer. Raises ModelError as `read` does."""
        try:
            array = densify(proto)
        except (ValueError, TypeError, IndexError) as error:
            raise ModelError(
                f"The weight '{proto.values.name}' cannot be read", where=self.model.label, why=str(error)
            ) from error
        self._refuse_nan(_chunks(array), proto.values.name, array)
        return array

    def _external(self, proto: onnx.TensorProto) -> np.ndarray:
        entries = {entry.key: entry.value for entry in proto.external_data}
        location = entries.get("location", "")
        where = self.model.label
        if self.model.folder is None:
            raise ModelError(
                f"The weight '{proto.name}' lies in the file '{location}', which only the model's path can locate",
                where=where,
                hint="Pass the path of the model file instead of its content.",
            )
        folder = self.model.folder.resolve()
        path = (folder / location).resolve()
        if not location or Path(location).is_absolute() or not path.is_relative_to(folder):
            raise ModelError(
                f"The weight '{proto.name}' points outside the model's folder",
                where=where,
                why=f"its location is '{location}'",
                hint="External data must lie next to the model; move it there and export again.",
            )
        if not path.is_file():
            raise ModelError(
                f"The weight '{proto.name}' lies in the file '{location}', which is missing",
                where=where,
                hint="Put the file next to the model.",
            )
        dtype = dtype_from_code(proto.data_type)
        shape = tuple(proto.dims)
        count = int(np.prod(shape, dtype=np.int64))
        needed = (count * dtype.bits + 7) // 8
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", needed))
        size = path.stat().st_size
        if length != needed:
            raise ValueError(f"it is stored in {length} bytes where its shape {shape} needs {needed}")
        if offset < 0 or offset + length > size:
            raise ModelError(
                f"The file '{location}' with the weight '{proto.name}' is truncated",
                where=where,
                why=f"{offset + length} bytes are needed, it has {size}",
                hint="Download or export it again.",
            )
        if not count:
            return np.empty(shape, dtype.numpy)
        if path not in self._files:
            self._files[path] = np.asarray(np.memmap(path, np.uint8, "r"))
        data = self._files[path][offset : offset + length]
        if dtype.bits < 8:
            packed = onnx.TensorProto(data_type=proto.data_type, dims=proto.dims, raw_data=data.tobytes())
            return array_from_proto(packed)
        array = data.view(dtype.numpy).reshape(shape)
        self._refuse_nan(_chunks_of_file(path, offset, length, dtype.numpy), proto.name, array)
        return array

    def _refuse_nan(self, chunks: Iterable[np.ndarray], name: str, array: np.ndarray) -> None:
        """NaN only: infinities are legitimate in masks."""
        if array.dtype.kind not in "fc" and "float" not in array.dtype.name:
            return
        damaged = sum(int(np.count_nonzero(np.isnan(chunk))) for chunk in chunks)
        if damaged:
            verb = "is" if damaged == 1 else "are"
            raise ModelError(
                f"The weight '{name}' holds NaN",
                where=self.model.label,
                why=f"{damaged} of its {array.size} elements {verb} not a number",
                hint="The training diverged or the file is damaged; export the model again from good weights.",
            )


def _chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    flat = array.reshape(-1)
    step = _CHUNK // max(1, array.itemsize)
    return (flat[start : start + step] for start in range(0, flat.size, step))


def _chunks_of_file(path: Path, offset: int, length: int, dtype: np.dtype) -> Iterator[np.ndarray]:
    """Reads through one buffer: several times as fast as touching each page of the map, which would stay resident."""
    buffer = bytearray(min(length, _CHUNK))
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        while length:
            found = file.readinto(memoryview(buffer)[: min(length, _CHUNK)])
            if not found:
                return
            yield np.frombuffer(buffer, np.uint8, found)[: found - found % dtype.itemsize].view(dtype)
            length -= found


_EXPORT_AGAIN = "The file is damaged or unusual; export the model again."
