"""Arrays from `.npy` and `.npz` files of strangers: what a file says of itself is checked before memory is taken."""

from __future__ import annotations

import lzma
import math
import os
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

UNFOLDED_BYTES = 256 << 20
UNFOLDED_TIMES = 100
"""A compressed archive may unfold to the bytes, and to so many times its own size. Zeros would reach 1000."""

_HEADER_CHARACTERS = 10_000
_FAULTS = (
    ValueError,
    TypeError,
    EOFError,
    KeyError,
    RuntimeError,
    OverflowError,
    MemoryError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What NumPy and the archive formats raise at bytes that are not theirs."""


class ArrayFault(Exception):
    """The file holds no arrays that can be read; the text says why."""


@dataclass(frozen=True)
class _Array:
    """What a header says: `offset` is where the elements begin."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    offset: int


class ArrayFile(Mapping[str, np.ndarray]):
    """The arrays of a file by name, each read when it is asked for; the one of an `.npy` is called "".

    Args:
        path: `.npy` or `.npz`; the content decides which.
        mapped: the elements of an `.npy` stay in the file until they are used.

    Raises:
        OSError: the file cannot be opened or read.
        ArrayFault: a header promises what the file does not hold, or more than memory; or there are pickles in it. The
            elements themselves are read later, with the same errors.
    """

    def __init__(self, path: Path, *, mapped: bool = False) -> None:
        self._path, self._mapped = path, mapped
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ArrayFault("it is no regular file")
            magic = file.read(len(np.lib.format.MAGIC_PREFIX))
            file.seek(0)
            self.is_archive = magic.startswith(b"PK")
            if not self.is_archive and magic != np.lib.format.MAGIC_PREFIX:
                raise ArrayFault("it begins as no .npy or .npz file; pickles are not read")
            try:
                size = status.st_size
                self._arrays = _members(file, size) if self.is_archive else {"": _header(file, size)}
            except _FAULTS as fault:
                raise ArrayFault(_text(fault)) from fault
        if not mapped or self.is_archive:
            _check_memory(self._arrays.values())

    @property
    def only(self) -> np.ndarray:
        """The array, where there is no other."""
        if len(self) != 1:
            raise ArrayFault(f"it holds {len(self)} arrays in place of one")
        return self[next(iter(self))]

    def __getitem__(self, name: str) -> np.ndarray:
        array = self._arrays[name]
        try:
            if self._mapped and not self.is_archive and 0 not in array.shape:
                order: Any = "F" if array.is_fortran else "C"
                return np.memmap(self._path, array.dtype, "r", array.offset, array.shape, order)
            with self._path.open("rb") as file:
                if not self.is_archive:
                    return _elements(file)
                with zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as member:
                    return _elements(member)
        except _FAULTS as fault:
            raise ArrayFault(_text(fault)) from fault

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def _members(file: IO[bytes], stored: int) -> dict[str, _Array]:
    found: dict[str, _Array] = {}
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        unfolded = sum(member.file_size for member in members)
        if unfolded > UNFOLDED_BYTES + UNFOLDED_TIMES * stored:
            raise ArrayFault(
                f"its {stored} bytes would unfold to {_size(unfolded)}, over {UNFOLDED_TIMES} times as much; "
                "numpy.savez writes without compression"
            )
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name == member.filename or name in found:
                raise ArrayFault(f"'{member.filename}' in it is no array, or there twice")
            with archive.open(member) as content:
                try:
                    found[name] = _header(content, member.file_size)
                except (*_FAULTS, ArrayFault) as fault:
                    raise ArrayFault(f"'{name}' in it: {_text(fault)}") from fault
    return found


def _header(file: IO[bytes], stored: int) -> _Array:
    """The header at the beginning of a file of `stored` bytes."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file, _HEADER_CHARACTERS)
    elif version == (2, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(file, _HEADER_CHARACTERS)
    else:
        raise ArrayFault(f"version {version[0]}.{version[1]} of the format is for records with names beyond Latin-1")
    if dtype.hasobject:
        raise ArrayFault("its elements are Python objects (pickles), which are not read")
    if any(extent < 0 for extent in shape):
        raise ArrayFault("its header names a negative extent")
    promised, held = math.prod(shape) * dtype.itemsize, stored - file.tell()
    if promised > held:
        raise ArrayFault(f"its header promises {_size(promised)}, and {held} bytes follow: it was cut, or is damaged")
    return _Array(shape, is_fortran, dtype, file.tell())


def _elements(file: IO[bytes]) -> np.ndarray:
    array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False, max_header_size=_HEADER_CHARACTERS)
    return array


def _check_memory(arrays: Iterable[_Array]) -> None:
    needed = sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > machine:
        raise ArrayFault(f"it holds {_size(needed)}, and this machine has {_size(machine)} of memory")


def _size(count: int) -> str:
    for unit, size in (("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def _text(fault: BaseException) -> str:
    return next(iter(str(fault).splitlines()), "") or type(fault).__name__
