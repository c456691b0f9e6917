"""The generated C compiled for this machine, so that the artifact runs and is verified here."""

from __future__ import annotations

import tempfile
from pathlib import Path

from optc.backends.c.source import Model, header, identifier, source
from optc.toolchain import find_compiler

CALL = "optc_simulated_run"
"""`int32_t CALL(void* input…, void* output…)`: copies the inputs in, runs, copies the outputs out."""

_FLAGS = ("-std=c99", "-O3", "-g0", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off")


def simulation(model: Model) -> bytes:
    """An object file that defines `CALL`.

    Raises:
        OptcError: there is no C compiler, or it fails.
    """
    compiler = find_compiler()
    name = identifier(model.name)
    with tempfile.TemporaryDirectory(prefix="optc-c-") as temporary:
        folder = Path(temporary)
        (folder / f"{name}.h").write_text(header(model))
        (folder / "model.c").write_text(source(model) + _wrapper(model))
        compiler.run([*_FLAGS, "-c", "model.c", "-o", "model.o"], folder)
        return (folder / "model.o").read_bytes()


def _wrapper(model: Model) -> str:
    name = identifier(model.name)
    inputs = [f"input{index}" for index in range(len(model.inputs))]
    outputs = [f"output{index}" for index in range(len(model.outputs))]
    parameters = ", ".join(f"void* {each}" for each in (*inputs, *outputs))
    lines = [
        f"  memcpy({name}_input_{index}(), input{index}, {port.elements} * sizeof *{name}_input_{index}());"
        for index, port in enumerate(model.inputs)
    ]
    lines.append(f"  {name}_run();")
    lines += [
        f"  memcpy(output{index}, {name}_output_{index}(), {port.elements} * sizeof *{name}_output_{index}());"
        for index, port in enumerate(model.outputs)
    ]
    body = "\n".join([*lines, "  return 0;"])
    return f"\nint32_t {CALL}({parameters});\nint32_t {CALL}({parameters}) {{\n{body}\n}}\n"
