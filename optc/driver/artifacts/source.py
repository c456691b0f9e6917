"""The artifact of a target that is compiled as C source: the two files, and a library that runs the same C here."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from optc import artifact
from optc.backends.c.host import CALL, simulation
from optc.backends.c.source import Call, Port, flash_bytes, header, identifier, source
from optc.backends.host.entry import emit_entry
from optc.backends.host.link import HEADER, link, runtime_sources
from optc.backends.interface import SourceBackend
from optc.driver.artifacts.product import Job, Product
from optc.driver.artifacts.source_model import SourceModel, source_model
from optc.driver.program.lowering import FUSED, operations_in, static_flops
from optc.driver.records.decisions import remarks_record
from optc.driver.records.memory import check_limit, memory_record
from optc.driver.records.origins import Placed, step_record, view_record
from optc.driver.verification.emulation import Linkable
from optc.ir.core import CONSTANT, Operation, Value
from optc.ir.printer import print_module
from optc.program import KernelCall, Location, Program, TensorInfo
from optc.runtime.random_inputs import random_inputs


def source_product(job: Job) -> Product:
    """Plan a model for a `SourceBackend` and write it in C.

    Raises:
        ModelError: an operation has no kernel.
        LimitError: the arena exceeds the limit.
    """
    name, target, options = job.name, job.target, job.options
    context = job.plan(job.module, options)
    made = source_model(job.module, cast(SourceBackend, job.backend), target, name)
    check_limit(made, options.memory_limit)
    options.progress("writing C", 0, 1)
    files = {
        f"{identifier(name)}.c": source(made.model).encode(),
        f"{identifier(name)}.h": header(made.model).encode(),
    }
    program = _program(made)
    flash = flash_bytes(made.model)
    linkable = Linkable(emit_entry(program, name, 1), [simulation(made.model)])
    contents = artifact.Contents(
        program=program,
        target=target.name,
        host=artifact.requirements_of(target),
        library=link(linkable.entry, linkable.objects),
        header=runtime_sources()[HEADER].encode(),
        weights=(),
        module=print_module(job.module),
        decisions={
            "remarks": remarks_record(context),
            "kernels": [],
            "threads": 1,
            "memory": memory_record(made),
            "steps": [_whole(made)],
            "calls": _calls(made),
            "views": [view_record(each) for each in job.module.main if each.name not in (CONSTANT, FUSED)],
        },
        extra=files,
        cost={
            "ram_bytes": made.model.arena_bytes,
            "flash_bytes": flash,
            "arena_bytes": made.plan.arena_bytes,
            "arena_lower_bound": made.plan.lower_bound,
            "native_flops": 1.0,
            "native_nodes": 1.0,
        },
        command=options.command or "",
    )
    return Product(contents, linkable, _probing_inputs(made))


def _probing_inputs(made: SourceModel) -> dict[str, np.ndarray]:
    """Random inputs; those that are rounded to codes take all codes, where normal ones might be nearly constant."""
    inputs = random_inputs(map(_info, made.model.inputs))
    generator = np.random.default_rng(0)
    for port in made.model.inputs:
        if port.quantization is not None:
            codes = generator.integers(-128, 128, port.shape)
            reals = (codes - port.quantization.zero_point[0]) * np.float32(port.quantization.scale[0])
            inputs[port.name] = reals.astype(np.float32)
    return inputs


def _program(made: SourceModel) -> Program:
    """One call of the simulation with the caller's buffers; the arena is inside it."""
    inputs, outputs = (tuple(map(_info, ports)) for ports in (made.model.inputs, made.model.outputs))
    places = [Location("input", 0, _bytes(port), index) for index, port in enumerate(made.model.inputs)]
    places += [Location("output", 0, _bytes(port), index) for index, port in enumerate(made.model.outputs)]
    return Program(inputs, outputs, made.model.arena_bytes, 0, (KernelCall(CALL, tuple(places), made.model.name),))


def _info(port: Port) -> TensorInfo:
    return TensorInfo(port.name, port.known_dtype, port.shape)


def _bytes(port: Port) -> int:
    return port.elements * np.dtype(port.known_dtype).itemsize


def _calls(made: SourceModel) -> list[dict[str, Any]]:
    """The kernels of the C function in order."""
    records = []
    for step, operation in zip(made.model.steps, made.operations, strict=True):
        if operation is None:
            records.append({"label": "", "kind": "copy", "operations": [], "flops": 0})
            continue
        assert isinstance(step, Call)
        body = operations_in(operation)
        records.append(
            {
                "label": str(operation.location),
                "kind": step.kernel.kind,
                "operations": [each.name for each in body],
                "flops": sum(map(static_flops, body)),
                **step_record([operation], body, *_placed(operation, step)),
            }
        )
    return records


def _placed(operation: Operation, call: Call) -> tuple[list[Placed], list[Placed]]:
    """What a call reads and writes, and where in the arena."""

    def at(value: Value, offset: int | None) -> Placed:
        return value, None if offset is None else Location("arena", offset, value.tensor_type.bytes)

    operands = zip(operation.operands, call.inputs, strict=True)
    reads = [at(value, offset) for value, offset in operands if value is not None]
    return reads, [at(value, offset) for value, offset in zip(operation.results, call.outputs, strict=True)]


def _whole(made: SourceModel) -> dict[str, Any]:
    """The facts of the one step that the host sees."""
    bodies = [operations_in(operation) for operation in made.operations if operation is not None]
    return {
        "label": made.model.name,
        "symbol": CALL,
        "template": "c",
        "operations": [each.name for body in bodies for each in body],
        "flops": sum(static_flops(each) for body in bodies for each in body),
        "dtype": "f32",
        "bytes": made.model.arena_bytes + flash_bytes(made.model),
        "predicted_seconds": None,
    }
