"""The program of an artifact: the ordered steps that the native library runs over one static arena.

This is the contract between the backends that make kernels, the C code generator and the runtimes. It is plain data
and serialises to JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from optc.ir.dtypes import BY_NAME

Space = Literal["input", "output", "arena", "weights"]

# What kernels need of every buffer, in bytes.
ALIGNMENT = 64

_DTYPES = {dtype.numpy_name: dtype for dtype in BY_NAME.values()}


@dataclass(frozen=True)
class Location:
    """Where a kernel argument lies.

    Attributes:
        space: the caller's input or output buffer, the arena, or the weights file.
        index: for input/output: which one.
        offset: bytes from the start of the space's buffer; 64-byte aligned, except in copies.
        bytes: the extent.
    """

    space: Space
    offset: int
    bytes: int
    index: int = 0


@dataclass(frozen=True)
class TensorInfo:
    """A model input or output, or an operand of a fallback region.

    Attributes:
        name: the user's name.
        dtype: NumPy's name; `object` for strings and for what is no tensor.
        shape: None per dimension that only the run decides, None as a whole where not even the rank is known.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


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
    """Copy `source.bytes` bytes; the offsets may be any."""

    source: Location
    destination: Location


@dataclass(frozen=True)
class Branch:
    """Run one of two step lists by the bool at `condition`."""

    condition: Location
    then: tuple[Step, ...]
    otherwise: tuple[Step, ...]
    label: str


Step = KernelCall | FallbackCall | CopyStep | Branch


@dataclass(frozen=True)
class Program:
    """Everything that the native library executes.

    Attributes:
        inputs, outputs: of the model.
        arena_bytes: of memory for values.
        weights_bytes: of weights in memory.
        steps: in order.
        weights_stored: bytes of the weights file, where it holds them packed; None: it holds them as they are.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    arena_bytes: int
    weights_bytes: int
    steps: tuple[Step, ...]
    weights_stored: int | None = None

    @property
    def weights_file_bytes(self) -> int:
        """Of the weights file."""
        return self.weights_bytes if self.weights_stored is None else self.weights_stored


def walk(steps: Iterable[Step]) -> Iterator[Step]:
    """All steps in the order of the program text; a branch comes before its two lists, `then` first."""
    for step in steps:
        yield step
        if isinstance(step, Branch):
            yield from walk(step.then)
            yield from walk(step.otherwise)


def timed_steps(program: Program) -> list[KernelCall | FallbackCall | CopyStep]:
    """The steps that a profile speaks of; their positions here are the step numbers of the native library."""
    return [step for step in walk(program.steps) if not isinstance(step, Branch)]


def names_of(step: KernelCall | FallbackCall | CopyStep) -> tuple[str, str]:
    """The label and the symbol by which profiles and reports speak of a step."""
    match step:
        case KernelCall():
            return step.label, step.symbol
        case FallbackCall():
            return step.label, step.model
        case CopyStep():
            return f"{step.source.space} to {step.destination.space}", "copy"


def fallback_calls(program: Program) -> list[FallbackCall]:
    """The regions that onnxruntime computes; their positions here are the region numbers of the native library."""
    return [step for step in walk(program.steps) if isinstance(step, FallbackCall)]


def tensor_bytes(info: TensorInfo) -> int | None:
    """Bytes of the dense row-major buffer; None where only the run decides (a dynamic shape, strings)."""
    dtype = _DTYPES[info.dtype]
    if not dtype.bits or info.shape is None or None in info.shape:
        return None
    return math.prod(extent for extent in info.shape if extent is not None) * dtype.bytes


def check_program(program: Program) -> None:
    """Raise ValueError, with the first fault as its text, unless every location lies inside its space and is aligned.

    A program that passes cannot make the native library touch memory outside of the arena, the weights and the
    caller's buffers, as long as the kernels keep to their own extents.
    """
    spaces: dict[tuple[str, int], int | None] = {
        ("arena", 0): program.arena_bytes,
        ("weights", 0): program.weights_bytes,
    }
    for space, infos in (("input", program.inputs), ("output", program.outputs)):
        if len({info.name for info in infos}) != len(infos):
            raise ValueError(f"two {space}s have the same name")
        for index, info in enumerate(infos):
            if info.dtype not in _DTYPES:
                raise ValueError(f"{space} '{info.name}' has the unknown element type '{info.dtype}'")
            spaces[space, index] = tensor_bytes(info)

    def check(location: Location, user: str, *, written: bool, aligned: bool = True) -> None:
        extent = spaces.get((location.space, location.index))
        if extent is None:
            raise ValueError(f"{user} uses {location.space} {location.index}, which has no buffer")
        if location.offset < 0 or location.bytes < 0 or location.offset + location.bytes > extent:
            end = location.offset + location.bytes
            raise ValueError(f"{user} uses bytes {location.offset} to {end} of {location.space}, which has {extent}")
        if aligned and location.offset % ALIGNMENT:
            raise ValueError(f"{user} uses offset {location.offset} of {location.space}, which is not aligned")
        if written and location.space in ("input", "weights"):
            raise ValueError(f"{user} writes to {location.space}, which is read-only")

    regions = fallback_calls(program)
    made = {info.name for region in regions for info, place in region.outputs if place is None}
    made |= {info.name for info in program.inputs if tensor_bytes(info) is None}
    wanted = [info.name for region in regions for info, place in region.inputs if place is None]
    wanted += [info.name for info in program.outputs if tensor_bytes(info) is None]
    if missing := [name for name in wanted if name not in made]:
        raise ValueError(f"no region computes '{missing[0]}', which has no planned place")

    arity: dict[str, int] = {}
    for step in walk(program.steps):
        match step:
            case KernelCall():
                if not step.symbol.isascii() or not step.symbol.isidentifier():
                    raise ValueError(f"kernel name '{step.symbol}' is not a C identifier")
                if arity.setdefault(step.symbol, len(step.arguments)) != len(step.arguments):
                    raise ValueError(f"kernel {step.symbol} is called with different numbers of arguments")
                for location in step.arguments:
                    check(location, f"kernel {step.symbol}", written=False)
            case CopyStep():
                if step.source.bytes != step.destination.bytes:
                    raise ValueError("a copy has a source and a destination of different sizes")
                check(step.source, "a copy", written=False, aligned=False)
                check(step.destination, "a copy", written=True, aligned=False)
            case Branch():
                check(step.condition, f"branch '{step.label}'", written=False)
                if step.condition.bytes < 1:
                    raise ValueError(f"branch '{step.label}' has an empty condition")
            case FallbackCall():
                for operands, written in ((step.inputs, False), (step.outputs, True)):
                    for info, place in operands:
                        if info.dtype not in _DTYPES:
                            raise ValueError(f"'{info.name}' has the unknown element type '{info.dtype}'")
                        if place is None:
                            continue
                        check(place, f"region '{step.label}'", written=written)
                        if tensor_bytes(info) != place.bytes:
                            raise ValueError(f"region '{step.label}': the place of '{info.name}' has another size")
