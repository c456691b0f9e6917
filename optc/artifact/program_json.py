"""The program as JSON, and back with every field checked."""

from __future__ import annotations

from typing import Any, get_args

from optc.artifact.checks import FormatFault, expect, member
from optc.program import (
    Branch,
    CopyStep,
    FallbackCall,
    KernelCall,
    Location,
    Program,
    Space,
    Step,
    TensorInfo,
    check_program,
)

_SPACES = get_args(Space)


def tensor_to_json(info: TensorInfo) -> dict[str, Any]:
    """`{"name", "dtype", "shape"}`; null stands for what only the run decides."""
    shape = None if info.shape is None else list(info.shape)
    return {"name": info.name, "dtype": info.dtype, "shape": shape}


def tensor_from_json(record: Any, where: str) -> TensorInfo:
    """The inverse of `tensor_to_json`. Raises FormatFault."""
    name, dtype = member(record, "name", str, where), member(record, "dtype", str, where)
    if record.get("shape") is None:
        return TensorInfo(name, dtype, None)
    extents = member(record, "shape", list, where)
    shape = tuple(None if extent is None else expect(extent, int, f"{where}.shape") for extent in extents)
    return TensorInfo(name, dtype, shape)


def program_to_json(program: Program) -> dict[str, Any]:
    """Plain data; a location is `[space, index, offset, bytes]`."""
    return {
        "inputs": [tensor_to_json(info) for info in program.inputs],
        "outputs": [tensor_to_json(info) for info in program.outputs],
        "arena_bytes": program.arena_bytes,
        "weights_bytes": program.weights_bytes,
        **({} if program.weights_stored is None else {"weights_stored": program.weights_stored}),
        "steps": [_step_to_json(step) for step in program.steps],
    }


def program_from_json(record: Any) -> Program:
    """The inverse of `program_to_json`.

    Raises:
        FormatFault: a field is missing or has another type, or a location lies outside of its space.
    """
    program = Program(
        inputs=_tensors(record, "inputs"),
        outputs=_tensors(record, "outputs"),
        arena_bytes=member(record, "arena_bytes", int, "program"),
        weights_bytes=member(record, "weights_bytes", int, "program"),
        steps=_steps_from_json(member(record, "steps", list, "program"), "program.steps"),
        weights_stored=member(record, "weights_stored", int, "program") if "weights_stored" in record else None,
    )
    try:
        check_program(program)
    except ValueError as fault:
        raise FormatFault(str(fault)) from fault
    return program


def _tensors(record: Any, key: str) -> tuple[TensorInfo, ...]:
    entries = member(record, key, list, "program")
    return tuple(tensor_from_json(entry, f"program.{key}[{index}]") for index, entry in enumerate(entries))


def _location_to_json(location: Location) -> list[Any]:
    return [location.space, location.index, location.offset, location.bytes]


def _location_from_json(record: Any, where: str) -> Location:
    if not isinstance(record, list) or len(record) != 4 or record[0] not in _SPACES:
        raise FormatFault(f"{where}: expected [space, index, offset, bytes]")
    space, index, offset, size = record
    return Location(space, expect(offset, int, where), expect(size, int, where), expect(index, int, where))


def _operands_to_json(operands: tuple[tuple[TensorInfo, Location | None], ...]) -> list[Any]:
    return [
        {**tensor_to_json(info), "place": None if place is None else _location_to_json(place)}
        for info, place in operands
    ]


def _operands_from_json(record: Any, key: str, where: str) -> tuple[tuple[TensorInfo, Location | None], ...]:
    result = []
    for index, entry in enumerate(member(record, key, list, where)):
        here = f"{where}.{key}[{index}]"
        info = tensor_from_json(entry, here)
        place = entry.get("place")
        result.append((info, None if place is None else _location_from_json(place, f"{here}.place")))
    return tuple(result)


def _step_to_json(step: Step) -> dict[str, Any]:
    match step:
        case KernelCall():
            arguments = [_location_to_json(location) for location in step.arguments]
            return {"kernel": step.symbol, "arguments": arguments, "label": step.label}
        case CopyStep():
            return {"copy": [_location_to_json(step.source), _location_to_json(step.destination)]}
        case Branch():
            return {
                "branch": _location_to_json(step.condition),
                "then": [_step_to_json(inner) for inner in step.then],
                "otherwise": [_step_to_json(inner) for inner in step.otherwise],
                "label": step.label,
            }
        case FallbackCall():
            return {
                "fallback": step.model,
                "inputs": _operands_to_json(step.inputs),
                "outputs": _operands_to_json(step.outputs),
                "label": step.label,
                "reason": step.reason,
            }


def _steps_from_json(records: list[Any], where: str) -> tuple[Step, ...]:
    return tuple(_step_from_json(record, f"{where}[{index}]") for index, record in enumerate(records))


def _step_from_json(record: Any, where: str) -> Step:
    expect(record, dict, where)
    if "kernel" in record:
        arguments = member(record, "arguments", list, where)
        places = tuple(_location_from_json(entry, f"{where}.arguments") for entry in arguments)
        return KernelCall(member(record, "kernel", str, where), places, member(record, "label", str, where))
    if "copy" in record:
        ends = member(record, "copy", list, where)
        if len(ends) != 2:
            raise FormatFault(f"{where}.copy: expected a source and a destination")
        return CopyStep(_location_from_json(ends[0], where), _location_from_json(ends[1], where))
    if "branch" in record:
        return Branch(
            _location_from_json(record["branch"], f"{where}.branch"),
            _steps_from_json(member(record, "then", list, where), f"{where}.then"),
            _steps_from_json(member(record, "otherwise", list, where), f"{where}.otherwise"),
            member(record, "label", str, where),
        )
    if "fallback" in record:
        return FallbackCall(
            member(record, "fallback", str, where),
            _operands_from_json(record, "inputs", where),
            _operands_from_json(record, "outputs", where),
            member(record, "label", str, where),
            member(record, "reason", str, where),
        )
    raise FormatFault(f"{where}: neither a kernel, a copy, a branch nor a fallback")
