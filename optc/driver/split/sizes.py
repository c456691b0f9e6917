"""How many bytes each value becomes on the link, encoded by the codec that will send it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from optc.artifact.split_record import CutTensor
from optc.driver.quantization.running import Runner
from optc.errors import OptcError
from optc.ir.core import Module, Value
from optc.ir.types import TensorType

RAW = "raw"
LOSSLESS = "lossless"
Feeds = Mapping[str, np.ndarray]


def encoding_of(value: Value, wanted: str) -> str:
    """The encoding for a value: codes are for floats only, the rest goes without loss."""
    if wanted in (RAW, LOSSLESS) or value.tensor_type.dtype.is_float:
        return wanted
    return LOSSLESS


def cut_tensor(value: Value, name: str, encoding: str, size: int) -> CutTensor:
    """What the record says of a value that crosses the link."""
    type = value.tensor_type
    return CutTensor(name, type.dtype.numpy_name, type.static_shape, encoding, size)


def encoded_sizes(
    module: Module, values: Sequence[Value], encodings: Sequence[str], batches: Iterable[Feeds]
) -> dict[str, dict[Value, int]]:
    """The mean bytes of each value by encoding; values of no fixed size are left out.

    Args:
        module: what makes them.
        values: inputs and results of its main graph.
        encodings: their names.
        batches: inputs of the model.

    Raises:
        OptcError: there is no such encoding.
    """
    from optc.runtime.split.codec import Place, open_codec

    known = [value for value in values if isinstance(value.type, TensorType) and value.type.is_static]
    known = [value for value in known if value.type.dtype.bits > 0]  # type: ignore[union-attr]
    made = [value for value in known if value.producer is not None]
    totals: dict[str, dict[Value, int]] = {encoding: dict.fromkeys(known, 0) for encoding in encodings}
    codecs = {
        (encoding, value): open_codec(Place(cut_tensor(value, value.name, encoding_of(value, encoding), 0)))
        for encoding in encodings
        for value in known
    }
    runner = Runner(module, made) if made else None
    count = 0
    for feeds in batches:
        count += 1
        arrays = dict(zip(made, runner.run(feeds), strict=True)) if runner is not None else {}
        arrays |= {value: feeds[value.name] for value in known if value.producer is None}
        for encoding in encodings:
            for value, array in arrays.items():
                totals[encoding][value] += memoryview(codecs[encoding, value].encode(array)).nbytes
    if not count:
        raise OptcError("no samples were given to measure the size of encoded values on")
    return {name: {value: -(-total // count) for value, total in sizes.items()} for name, sizes in totals.items()}
