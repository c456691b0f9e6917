"""The ways of a split model as they are used: halves, and the codecs of what crosses the link."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from optc.artifact.split_record import CutTensor, SplitRecord, Way
from optc.errors import OptcError
from optc.program import TensorInfo
from optc.runtime.random_inputs import random_inputs
from optc.runtime.split.codec import Codec, CodecFault, Place, open_codec
from optc.runtime.split.frames import FrameFault
from optc.runtime.split.halves import Engine, open_half
from optc.runtime.split.messages import MAX_MESSAGE_HEAD
from optc.runtime.split.tensors import CodedTensor, check_type, numpy_dtype, tensor_head_bytes

if TYPE_CHECKING:
    from optc.runtime.split.tiers import NextTier

_logger = logging.getLogger("optc.split")
# What an encoding may add to the bytes of a value: headers, and a compressor that finds nothing.
_SLACK_SHARE, _SLACK_BYTES = 0.05, 4096


def value_bytes(tensors: Sequence[CutTensor]) -> int:
    """Of values before encoding."""
    return sum(math.prod(tensor.shape) * numpy_dtype(tensor.dtype).itemsize for tensor in tensors)


def message_bytes(tensors: Sequence[CutTensor]) -> int:
    """The longest message that values make, however they are encoded."""
    heads = sum(tensor_head_bytes(len(tensor.shape)) for tensor in tensors)
    size = value_bytes(tensors)
    return MAX_MESSAGE_HEAD + heads + size + len(tensors) * _SLACK_BYTES + math.ceil(size * _SLACK_SHARE)


class Crossing:
    """The values that cross the link in one direction, in the order in which they are sent.

    Args:
        tensors: what the record states of them.
        way: that they belong to.
        folder: of the split model.

    Raises:
        OptcError: the record names an encoding that there is not.
    """

    def __init__(self, tensors: Sequence[CutTensor], way: Way, folder: Path) -> None:
        self.tensors = tuple(tensors)
        self._codecs: list[Codec] = [open_codec(Place(tensor, way, folder)) for tensor in tensors]

    @property
    def value_bytes(self) -> int:
        """Of all values before encoding."""
        return value_bytes(self.tensors)

    @property
    def message_bytes(self) -> int:
        """The longest message that they make."""
        return message_bytes(self.tensors)

    def encode(self, values: Mapping[str, np.ndarray]) -> list[CodedTensor]:
        """The values in the order in which they are sent, coded."""
        return [
            CodedTensor(tensor.dtype, tensor.shape, codec.encode(values[tensor.name]))
            for tensor, codec in zip(self.tensors, self._codecs, strict=True)
        ]

    def decode(self, coded: Sequence[CodedTensor]) -> dict[str, np.ndarray]:
        """The inverse of `encode`.

        Raises:
            FrameFault: something else was sent than the record states, or bytes that no encoder makes.
        """
        if len(coded) != len(self.tensors):
            raise FrameFault(f"{len(coded)} tensors were sent, and {len(self.tensors)} are due")
        values = {}
        for given, tensor, codec in zip(coded, self.tensors, self._codecs, strict=True):
            check_type(given, tensor)
            try:
                values[tensor.name] = codec.decode(given.data)
            except CodecFault as fault:
                raise FrameFault(f"'{tensor.name}' cannot be decoded: {fault}") from fault
        return values


@dataclass(frozen=True)
class OpenWay:
    """A way that one side can take its part in.

    Attributes:
        entry: its number in the record, which requests name.
        way: the record's.
        engine: this side's half; None where this side computes nothing.
        sent: from the device to the server.
        returned: from the server to the device.
    """

    entry: int
    way: Way
    engine: Engine | None
    sent: Crossing
    returned: Crossing

    def warm_up(self, given: Sequence[TensorInfo], crossing: Crossing) -> None:
        """Run the half once on random values, and encode what it makes, so that the first request is like all others.

        Args:
            given: what the half reads.
            crossing: what leaves this side: `sent` on the device, `returned` on the server.
        """
        try:
            values = random_inputs(given)
            if self.engine is not None:
                values |= self.engine.run(values)
            crossing.encode(values)
        except (OptcError, KeyError) as fault:
            # Not all halves compute on random values; requests tell whether this one does on real ones.
            _logger.debug("%s is not warmed up: %s", self.way.name, fault)


def open_way(
    folder: Path,
    record: SplitRecord,
    entry: int,
    *,
    server: bool,
    copies: int = 1,
    threads: int | None = None,
    beyond: NextTier | None = None,
) -> OpenWay:
    """Load one side of a way; `copies`, `threads` and `beyond` as `open_half` has them.

    Raises:
        OptcError: as `open_half` and `open_codec` raise it.
    """
    way = record.ways[entry]
    half = way.server if server else way.device
    return OpenWay(
        entry,
        way,
        None if half is None else open_half(folder, half, copies, threads, beyond),
        Crossing(way.sent, way, folder),
        Crossing(way.returned, way, folder),
    )
