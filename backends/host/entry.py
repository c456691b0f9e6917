"""Write model.c: the program of an artifact as straight C code over one arena."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from optc.backends.host.guard import Guard
from optc.backends.host.stream import WeightStream
from optc.errors import InternalError
from optc.program import (
    Branch,
    CopyStep,
    FallbackCall,
    KernelCall,
    Location,
    Program,
    Step,
    TensorInfo,
    check_program,
    fallback_calls,
    names_of,
    tensor_bytes,
    timed_steps,
)

_ADDRESS = {
    "input": "OPTC_IN({index}, {offset})",
    "output": "OPTC_OUT({index}, {offset})",
    "arena": "OPTC_ARENA({offset})",
    "weights": "OPTC_WEIGHTS({offset})",
}


def emit_entry(
    program: Program, name: str, threads: int = 0, guard: Guard | None = None, stream: WeightStream | None = None
) -> str:
    """The C source that calls the kernels of `program` in order; it is compiled together with `runtime/`.

    Args:
        program: what to run.
        name: the model's name, for messages.
        threads: the number that the kernels were chosen for, used where the caller asks for none; 0: all CPUs.
        guard: sums of the weights, to notice when they change.
        stream: how the weights are read while the model runs; None: all of them lie in memory.

    Raises:
        InternalError: a location lies outside of its space, or a kernel name is not a C identifier.
    """
    body = stream.placed(program) if stream else program
    try:
        check_program(program)
        check_program(body)
    except ValueError as fault:
        raise InternalError("the memory plan is not valid", where=name, why=str(fault)) from fault
    calls = [step for step in timed_steps(program) if isinstance(step, KernelCall)]
    arity = {call.symbol: len(call.arguments) for call in calls}
    prototypes = [
        f"int32_t {symbol}({', '.join(['void*'] * count) or 'void'});" for symbol, count in sorted(arity.items())
    ]
    regions = fallback_calls(program)
    sections = [
        f"/* {_comment(name)}: written by optc. */",
        '#include "entry.h"',
        "\n".join(prototypes),
        _tensor_table("inputs", program.inputs),
        _tensor_table("outputs", program.outputs),
        _steps_table(program),
        *(
            _tensor_table(f"region_{index}_{role}", [info for info, _ in operands])
            for index, region in enumerate(regions)
            for role, operands in (("inputs", region.inputs), ("outputs", region.outputs))
        ),
        _regions_table(regions),
        "static int run(optc_frame* frame) {\n" + _Body(body, stream).text() + "  return OPTC_OK;\n}",
        guard.source() if guard else "",
        stream.source() if stream else "",
        _entry_table(program, name, threads, guard, stream),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


class _Body:
    """The statements of the steps; numbers the steps and the regions in the order of the text."""

    def __init__(self, program: Program, stream: WeightStream | None) -> None:
        self._program = program
        self._awaited = stream.awaited() if stream else {}
        self._ends = stream.awaiting_ends() if stream else frozenset()
        self._step = 0
        self._region = 0

    def text(self) -> str:
        return "".join(f"{line}\n" for line in self._block(self._program.steps, "  "))

    def _block(self, steps: Iterable[Step], indent: str) -> list[str]:
        return [indent + line for step in steps for line in self._statement(step)]

    def _statement(self, step: Step) -> list[str]:
        if isinstance(step, Branch):
            return [
                f"/* {_comment(step.label)} */",
                f"if (OPTC_CONDITION({_address(step.condition)})) {{",
                *self._block(step.then, "  "),
                "} else {",
                *self._block(step.otherwise, "  "),
                "}",
            ]
        number = self._step
        self._step += 1
        before = [f"OPTC_AWAIT({number}, {self._awaited[number]});"] if number in self._awaited else []
        after = [f"OPTC_ENDED({number});"] if number in self._ends else []
        return [*before, *self._timed(step, number), *after]

    def _timed(self, step: KernelCall | CopyStep | FallbackCall, number: int) -> list[str]:
        if isinstance(step, CopyStep):
            operands = f"{_address(step.destination)}, {_address(step.source)}, {step.source.bytes}"
            return [f"OPTC_COPY({number}, {operands});"]
        if isinstance(step, KernelCall):
            arguments = ", ".join(_address(location) for location in step.arguments)
            return [f"OPTC_KERNEL({number}, {step.symbol}({arguments})); /* {_comment(step.label)} */"]
        region = self._region
        self._region += 1
        return [
            f"{{ /* {_comment(step.label)}: {_comment(step.reason)} */",
            f"  const void* const region_inputs[] = {{{_pointers(step.inputs)}}};",
            f"  void* const region_outputs[] = {{{_pointers(step.outputs)}}};",
            f"  OPTC_FALLBACK_REGION({number}, {region}, region_inputs, region_outputs);",
            "}",
        ]


def is_straight(program: Program) -> bool:
    """Whether every run makes the same calls: there are no branches, and no regions that onnxruntime computes."""
    return not any(isinstance(step, Branch | FallbackCall) for step in program.steps)


def _address(location: Location) -> str:
    return _ADDRESS[location.space].format(index=location.index, offset=location.offset)


def _pointers(operands: Sequence[tuple[TensorInfo, Location | None]]) -> str:
    return ", ".join("NULL" if place is None else _address(place) for _, place in operands) or "NULL"


def _tensor_table(table: str, infos: Sequence[TensorInfo]) -> str:
    rows = []
    for info in infos:
        rank = -1 if info.shape is None else len(info.shape)
        extents = ", ".join(str(-1 if extent is None else extent) for extent in info.shape or ())
        shape = f"(const int64_t[]){{{extents}}}" if info.shape else "NULL"
        size = tensor_bytes(info)
        rows.append(
            f"{{{c_string(info.name)}, {c_string(info.dtype)}, {rank}, {shape}, {-1 if size is None else size}}}"
        )
    return _table("optc_tensor_info", table, rows)


def _steps_table(program: Program) -> str:
    rows = [f"{{{c_string(label)}, {c_string(symbol)}}}" for label, symbol in map(names_of, timed_steps(program))]
    return _table("optc_step", "steps", rows)


def _regions_table(regions: Sequence[FallbackCall]) -> str:
    rows = []
    for index, region in enumerate(regions):
        inputs = _reference(f"region_{index}_inputs", region.inputs)
        outputs = _reference(f"region_{index}_outputs", region.outputs)
        names = f"{c_string(region.model)}, {c_string(region.label)}"
        rows.append(f"{{{names}, {len(region.inputs)}, {len(region.outputs)}, {inputs}, {outputs}}}")
    return _table("optc_fallback_info", "fallbacks", rows)


def _table(kind: str, table: str, rows: Sequence[str]) -> str:
    if not rows:
        return ""
    return f"static const {kind} {table}[] = {{\n" + "".join(f"    {row},\n" for row in rows) + "};"


def _reference(table: str, rows: Sequence[object]) -> str:
    return table if rows else "NULL"


def _entry_table(program: Program, name: str, threads: int, guard: Guard | None, stream: WeightStream | None) -> str:
    steps, regions = timed_steps(program), fallback_calls(program)
    fields = {
        "name": c_string(name),
        "threads": threads,
        "is_straight": int(is_straight(program)),
        "arena_bytes": program.arena_bytes,
        "weights_bytes": program.weights_bytes,
        "weights_stored": program.weights_stored or 0,
        "input_count": len(program.inputs),
        "output_count": len(program.outputs),
        "step_count": len(steps),
        "fallback_count": len(regions),
        "inputs": _reference("inputs", program.inputs),
        "outputs": _reference("outputs", program.outputs),
        "steps": _reference("steps", steps),
        "fallbacks": _reference("fallbacks", regions),
        "guard": "&guard" if guard else "NULL",
        "stream": "&stream" if stream else "NULL",
        "run": "run",
    }
    return "const optc_program optc_entry = {\n" + "".join(f"    .{k} = {v},\n" for k, v in fields.items()) + "};"


def c_string(text: str) -> str:
    """`text` as a C string literal of its UTF-8 bytes; octal escapes, since a hexadecimal one has no fixed end."""
    plain = {byte for byte in range(0x20, 0x7F)} - set(b'"\\?')
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'


def _comment(text: str) -> str:
    """`text` on one line and without the signs that end or begin a comment."""
    printable = "".join(sign if " " <= sign <= "~" and sign not in "\\?" else "." for sign in text)
    return textwrap.shorten(printable.replace("*/", "* /").replace("/*", "/ *"), 100, placeholder=" ...")
