"""The model as one C file and one header."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from string import Template

import numpy as np

from optc.backends.c.kernel import CKernel
from optc.backends.c.literals import TYPES, array_definition
from optc.ir.types import Quantization

ORDER = (
    "bits.h", "requantize.h", "take.h", "sum.h", "finish.h", "lanes_avx512.h", "lanes_avx2.h", "lanes_neon.h",
    "lanes_mve.h", "lanes.h", "finish_lanes.h", "finish_one.h", "halves.h", "window.h", "patch.h", "convolve.h",
    "patch_place.h", "convolve_core.h", "convolve_helium.h", "tiles.h", "convolve_wide.h", "convolve_band.h",
    "depthwise.h", "depthwise_core.h", "depthwise_lanes.h", "pool.h", "maximum.h", "add.h", "lookup.h", "trees.h",
)  # fmt: skip
"""The runtime headers, each behind those that it needs."""


@dataclass(frozen=True)
class Port:
    """An input or output of the model.

    Attributes:
        name: the user's.
        dtype: NumPy's name.
        shape: as the user knows it.
        offset: in the arena.
        quantization: of codes, where the user knows reals.
        permutation: the order in which its axes lie in memory; empty for the user's.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    quantization: Quantization | None = None
    permutation: tuple[int, ...] = ()

    @property
    def known_dtype(self) -> str:
        """Of the tensor that the user knows."""
        return self.dtype if self.quantization is None else "float32"

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Row-major in memory."""
        return tuple(self.shape[axis] for axis in self.permutation or range(len(self.shape)))

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape, dtype=int))


@dataclass(frozen=True)
class Call:
    """A kernel with its addresses: offsets in the arena, or None where the kernel reads a constant."""

    kernel: CKernel
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    scratch: int
    label: str


@dataclass(frozen=True)
class Copy:
    """Bytes that move inside the arena, or into it from a constant."""

    source: int | np.ndarray
    destination: int
    bytes: int


@dataclass(frozen=True)
class Model:
    """Everything that the C file holds."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    steps: tuple[Call | Copy, ...]
    arena_bytes: int
    target: str


def identifier(name: str) -> str:
    """A C identifier made of a name."""
    cleaned = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "model"
    return f"m_{cleaned}" if cleaned[0].isdigit() else cleaned


def flash_bytes(model: Model) -> int:
    """Bytes of all constants, each distinct array once."""
    distinct = {_key(array): array.nbytes for step in model.steps for array in _arrays(step)}
    return sum(distinct.values())


def header(model: Model) -> str:
    """The public header."""
    name = identifier(model.name)
    guard = f"{name.upper()}_H"
    lines = [
        f"/* {_comment(model.name)}: compiled by optc for {model.target}.",
        " *",
        f" * RAM: {model.arena_bytes} bytes, one static arena that also holds the inputs and outputs.",
        f" * Flash: {flash_bytes(model)} bytes of constants, and the code.",
        " *",
        f" * Write the inputs, call {name}_run(), read the outputs. Both lie in the arena; a run overwrites inputs.",
        " * Nothing is allocated, and nothing but <stdint.h>, <string.h> and <math.h> is needed. Not reentrant.",
        " */",
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        "#include <stdint.h>",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        f"#define {name.upper()}_RAM_BYTES {model.arena_bytes}",
        f"#define {name.upper()}_CONSTANT_BYTES {flash_bytes(model)}",
        "",
    ]
    for role, ports in (("input", model.inputs), ("output", model.outputs)):
        for index, port in enumerate(ports):
            const = "const " if role == "output" else ""
            lines.append(f"/* {role} {index}: {_described(port)} */")
            lines.append(f"#define {name.upper()}_{role.upper()}_{index}_SIZE {port.elements}")
            lines.append(f"{const}{TYPES[port.dtype]}* {name}_{role}_{index}(void);")
            lines.append("")
    lines += [f"void {name}_run(void);", "", "#ifdef __cplusplus", "}", "#endif", "", "#endif", ""]
    return "\n".join(lines)


def _described(port: Port) -> str:
    shape = "x".join(map(str, port.stored_shape)) or "scalar"
    text = f"'{_comment(port.name)}', {TYPES[port.dtype]}[{shape}]"
    if port.permutation:
        text += f", axis 1 of {'x'.join(map(str, port.shape))} innermost"
    if port.quantization is not None:
        (scale,), (zero,) = port.quantization.scale, port.quantization.zero_point
        text += f"; real = (code - {zero}) * {scale:.9g}" if zero >= 0 else f"; real = (code + {-zero}) * {scale:.9g}"
    return text


def source(model: Model) -> str:
    """The C file."""
    name = identifier(model.name)
    calls = [step for step in model.steps if isinstance(step, Call)]
    used = {header for call in calls for header in call.kernel.sources}
    defines = sorted({define for call in calls for define in call.kernel.defines})
    functions = dict.fromkeys(text for call in calls for text in call.kernel.functions)
    constants = _Constants()
    records, statements = [], []
    for number, step in enumerate(model.steps):
        if isinstance(step, Copy):
            place = step.source
            origin = _place(place) if isinstance(place, int) else constants.name(place, f"copy{number}")
            statements.append(f"  memmove({_place(step.destination)}, {origin}, {step.bytes});")
            continue
        names = {each.name: constants.name(each.values, f"k{number}_{each.name}") for each in step.kernel.constants}
        names |= {f"in{i}": _place(offset) for i, offset in enumerate(step.inputs) if offset is not None}
        names |= {f"out{i}": _place(offset) for i, offset in enumerate(step.outputs)}
        names |= {"scratch": _place(step.scratch), "record": f"k{number}", "record_sum": f"k{number}_sum"}
        if step.kernel.sum_record is not None:
            records.append(f"static const optc_sum_of_codes k{number}_sum = {step.kernel.sum_record};")
        if step.kernel.record is not None:
            kind, initializer = step.kernel.record
            records.append(f"static const {kind} k{number} = {Template(initializer).substitute(names)};")
        statements.append(f"  /* {_comment(step.label)} */")
        statements.append(f"  {Template(step.kernel.call).substitute(names)}")
    accessors = [
        f"{'const ' if role == 'output' else ''}{TYPES[port.dtype]}* {name}_{role}_{index}(void) {{ "
        f"return ({TYPES[port.dtype]}*){_place(port.offset)}; }}"
        for role, ports in (("input", model.inputs), ("output", model.outputs))
        for index, port in enumerate(ports)
    ]
    sections = [
        f"/* {_comment(model.name)}: written by optc; see {name}.h. */",
        "#include <math.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <string.h>",
        f'#include "{name}.h"',
        "".join(f"#define {define}\n" for define in defines).rstrip(),
        *(_runtime(header).rstrip() for header in ORDER if header in used),
        *(text.rstrip() for text in functions),
        "\n".join(constants.definitions),
        "\n".join(records),
        _ARENA.format(bytes=max(model.arena_bytes, 1)),
        "\n".join(accessors),
        f"void {name}_run(void) {{\n" + "\n".join(statements) + "\n}",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


_ARENA = """#ifndef OPTC_ARENA
#define OPTC_ARENA
#endif
/* Define OPTC_ARENA to place it, for instance in a section of tightly coupled memory. */
OPTC_ARENA static union {{
  int64_t aligned;
  int8_t bytes[{bytes}];
}} arena;"""


class _Constants:
    """Each distinct array once."""

    def __init__(self) -> None:
        self.definitions: list[str] = []
        self._names: dict[tuple[str, bytes], str] = {}

    def name(self, array: np.ndarray, wanted: str) -> str:
        key = _key(array)
        if key not in self._names:
            self._names[key] = wanted
            self.definitions.append(array_definition(array, wanted))
        return self._names[key]


def _key(array: np.ndarray) -> tuple[str, bytes]:
    return str(array.dtype), np.ascontiguousarray(array).tobytes()


def _arrays(step: Call | Copy) -> Iterable[np.ndarray]:
    if isinstance(step, Copy):
        return [step.source] if isinstance(step.source, np.ndarray) else []
    return [each.values for each in step.kernel.constants]


def _place(offset: int) -> str:
    return f"(void*)(arena.bytes + {offset})"


def _runtime(file: str) -> str:
    return (resources.files("optc.backends.c") / "runtime" / file).read_text()


def _comment(text: str) -> str:
    printable = "".join(sign if " " <= sign <= "~" and sign not in "\\?" else "." for sign in text)
    return textwrap.shorten(printable.replace("*/", "* /").replace("/*", "/ *"), 90, placeholder=" ...")
