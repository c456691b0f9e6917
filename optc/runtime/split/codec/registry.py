"""The encodings that there are, found by being defined in one of the modules listed here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from optc.artifact.split_record import CutTensor, Way
from optc.errors import OptcError
from optc.ir.source import near
from optc.runtime.split.frames import Buffer

_MODULES = (
    "optc.runtime.split.codec.plain",
    "optc.runtime.split.codec.affine",
    "optc.runtime.split.codec.histograms",
    "optc.runtime.split.codec.entropy",
)


class CodecFault(Exception):
    """Bytes that no encoder of this name makes; the text is one sentence."""


class Codec(Protocol):
    """Makes bytes of one value at a cut, and that value of the bytes. Called from several threads at once."""

    def encode(self, array: np.ndarray) -> Buffer:
        """Bytes of an array that has the element type and the shape of the value."""
        ...

    def decode(self, data: Buffer) -> np.ndarray:
        """The array, of the element type and the shape of the value, whatever the bytes are.

        Memory stays within a small multiple of the value's own bytes.

        Raises:
            CodecFault: `encode` does not make these bytes.
        """
        ...


@dataclass(frozen=True)
class Place:
    """What a codec is opened for.

    Attributes:
        tensor: the value, its element type and its shape.
        way: the way that it crosses the link in.
        folder: of the split model; files of the way that hold tables lie in it.
    """

    tensor: CutTensor
    way: Way | None = None
    folder: Path | None = None


Factory = TypeVar("Factory", bound=Callable[[str, Place], Codec])
_FACTORIES: dict[str, Callable[[str, Place], Codec]] = {}


def encoding(*names: str) -> Callable[[Factory], Factory]:
    """Register a factory `(name, place) -> Codec` for these encodings.

    An encoding may have a parameter after a hyphen, as in `rans-0123`; the factory gets the whole name.
    """

    def register(factory: Factory) -> Factory:
        _FACTORIES.update(dict.fromkeys(names, factory))
        return factory

    return register


def encodings() -> list[str]:
    """The names of all encodings."""
    for module in _MODULES:
        import_module(module)
    return sorted(_FACTORIES)


def open_codec(place: Place) -> Codec:
    """The codec that a value's encoding names.

    Raises:
        OptcError: there is none of that name, or its files are missing or damaged.
    """
    name = place.tensor.encoding
    family = name.partition("-")[0]
    if family not in (known := encodings()):
        hint = near(name, known) or f"there are {', '.join(known)}"
        raise OptcError(f"no encoding is called '{name}'", where=f"'{place.tensor.name}' of split.json", hint=hint)
    return _FACTORIES[family](name, place)
