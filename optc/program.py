"""The program of an artifact: the ordered steps that the native library runs over one static arena.

This is the contract between the backends that make kernels, the C code generator and the runtimes. It is plain data
and serialises to JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Union

Space = Literal["input", "output", "arena", "weights"]


@dataclass(frozen=True)
class Location:
    """Where a kernel argument lies.

    Attributes:
        space: the caller's input or output buffer, the arena, or the weights file.
        index: for input/output: which one.
        offset: bytes from the start of the space's buffer; 64-byte aligned.
        bytes: the extent.
    """

    space: Space
    offset: int
    bytes: int
    index: int = 0


@dataclass(frozen=True)
class TensorInfo:
    """A model input or output, or an operand of a fallback region. `shape` is None per dimension that is dynamic."""

    name: str
    dtype: str  # NumPy's name
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class KernelCall:
    """Call `int32_t symbol(void* argument0, …)` with the addresses of the arguments, in order."""

    symbol: str
    arguments: tuple[Location, ...]
    label: str  # the user's node names, for profiles and reports


@dataclass(frozen=True)
class FallbackCall:
    """Hand a region to onnxruntime: `model` is a file of the artifact.

    A location is None where the value's shape is known only at run time: it is then passed between regions, and to
    the caller, by the host under the tensor's name.
    """

    model: str
    inputs: tuple[tuple[TensorInfo, Location | None], ...]
    outputs: tuple[tuple[TensorInfo, Location | None], ...]
    label: str
    reason: str


@dataclass(frozen=True)
class CopyStep:
    """Copy `source.bytes` bytes."""

    source: Location
    destination: Location


@dataclass(frozen=True)
class Branch:
    """Run one of two step lists by the bool at `condition`."""

    condition: Location
    then: tuple[Step, ...]
    otherwise: tuple[Step, ...]
    label: str


Step = Union[KernelCall, FallbackCall, CopyStep, Branch]


@dataclass(frozen=True)
class Program:
    """Everything that the native library executes."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    arena_bytes: int
    weights_bytes: int
    steps: tuple[Step, ...]
