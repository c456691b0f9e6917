"""The generated C compiled for this machine, so that the artifact runs and is verified here."""

from __future__ import annotations

import tempfile
from pathlib import Path

from optc.backends.c.literals import real_literal
from optc.backends.c.source import Model, Port, header, identifier, source
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
        _moved(port, f"input{index}", f"{name}_input_{index}()", "enter") for index, port in enumerate(model.inputs)
    ]
    lines.append(f"  {name}_run();")
    lines += [
        _moved(port, f"output{index}", f"{name}_output_{index}()", "leave") for index, port in enumerate(model.outputs)
    ]
    body = "\n".join([*lines, "  return 0;"])
    return f"{_CODES}\nint32_t {CALL}({parameters});\nint32_t {CALL}({parameters}) {{\n{body}\n}}\n"


_CODES = """
static inline void enter(const float* real, int8_t* code, float scale, int zero) {
  const float rounded = nearbyintf(*real / scale) + (float)zero;
  *code = (int8_t)(rounded < -128.0f ? -128.0f : rounded > 127.0f ? 127.0f : rounded);
}
static inline void leave(float* real, const int8_t* code, float scale, int zero) {
  *real = (float)(*code - zero) * scale;
}
"""


def _moved(port: Port, user: str, own: str, convert: str) -> str:
    """Statements that copy a tensor between the user's buffer and the model's, element by element where they differ."""
    if port.quantization is None:
        source, destination = (user, own) if convert == "enter" else (own, user)
        return f"  memcpy({destination}, {source}, {port.elements} * sizeof *{own});"
    (scale,), (zero,) = port.quantization.scale, port.quantization.zero_point
    strides = {}
    step = 1
    for axis in reversed(port.permutation or range(len(port.shape))):
        strides[axis] = step
        step *= port.shape[axis]
    lines = [f"  {{ int n = 0; float* real = {user}; int8_t* codes = (int8_t*){own};"]
    lines += [f"  for (int i{axis} = 0; i{axis} < {extent}; i{axis}++)" for axis, extent in enumerate(port.shape)]
    place = " + ".join(f"i{axis} * {stride}" for axis, stride in sorted(strides.items())) or "0"
    lines.append(f"    {convert}(real + n++, codes + {place}, {real_literal(scale, single=True)}, {zero}); }}")
    return "\n".join(lines)
