"""A model as an operator of ONNX Runtime: a library that registers it, and a model of one node that uses it.

Existing code runs it after `SessionOptions.register_custom_ops_library`, on the CPU, in place of the model it had.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

import onnx
from onnx import helper

from optc.backends.host.library import CUSTOM_OP, write_whole
from optc.backends.host.platform import POSIX, Platform
from optc.errors import UsageError
from optc.ir.dtypes import BY_NAME
from optc.program import Program, TensorInfo, fallback_calls
from optc.toolchain import Compiler

DOMAIN = "optc"
"""Followed by the model's name: a session registers a domain once."""

_SOURCES = ("abi.h", "custom_op.c")
_OPSET, _IR_VERSION = 17, 8  # of ONNX Runtime 1.16 at the latest; the model uses nothing of the former
_LONGEST = 16  # axes of a tensor
_TYPES = {each.numpy_name: each.onnx_code for each in BY_NAME.values() if each.bits >= 8}


def custom_op(
    name: str,
    program: Program,
    entry_source: str,
    objects: Sequence[bytes],
    weights: Iterable[bytes | memoryview],
    compiler: Compiler,
    platform: Platform,
) -> dict[str, bytes]:
    """The files of the operator, which are the same for the same arguments and compiler.

    Args:
        name: of the operator, a C identifier; its domain is `optc.NAME`.
        program: what the library executes.
        entry_source, objects: as for `link`.
        weights: the pieces of weights.bin, which become constants of the library.
        compiler, platform: for the machine that shall run it.

    Returns:
        `libNAME_ort.so` and `NAME_ort.onnx`.

    Raises:
        UsageError: the model cannot be an operator.
        OptcError: the compiler fails.
    """
    _check(program, platform)
    library = f"lib{name}_ort.so"
    with tempfile.TemporaryDirectory(prefix="optc-operator-") as temporary:
        folder = Path(temporary)
        write_whole(folder, entry_source, objects, weights, compiler, platform)
        sources = resources.files("optc.backends.host") / "runtime" / "onnxruntime"
        for file_name in _SOURCES:
            (folder / file_name).write_text((sources / file_name).read_text())
        (folder / "operator.h").write_text(_operator_header(name, program))
        (folder / "exports.map").write_text("{ global: RegisterCustomOps; local: *; };\n")
        compiler.run([*platform.compile, "-c", "custom_op.c", "-o", "custom_op.o"], folder)
        options = [each.replace(platform.library, library) for each in platform.link_options()]
        compiler.run([*options, "custom_op.o", "whole.o", "-o", library, *platform.libraries], folder)
        return {library: (folder / library).read_bytes(), f"{name}_ort.onnx": _model(name, program)}


def _check(program: Program, platform: Platform) -> None:
    where = f"--emit {CUSTOM_OP}"
    if platform is not POSIX:
        raise UsageError(
            f"there are no operators of onnxruntime for systems of the kind '{platform.name}'", where=where
        )
    if regions := fallback_calls(program):
        raise UsageError(
            "onnxruntime computes parts of the model, and an operator cannot call it",
            where=where,
            why="; ".join(region.label for region in regions[:4]),
            hint="optc inspect says what falls back, and why",
        )
    for info in (*program.inputs, *program.outputs):
        if not _is_fixed(info):
            why = f"'{info.name}' is {info.dtype} of shape {info.shape}"
            raise UsageError("an operator needs tensors of fixed shapes and whole bytes", where=where, why=why)


def _is_fixed(info: TensorInfo) -> bool:
    fixed = info.shape is not None and None not in info.shape and len(info.shape) <= _LONGEST
    return fixed and info.dtype in _TYPES


def _operator_header(name: str, program: Program) -> str:
    lines = [f'#define OPERATOR "{name}"', f'#define DOMAIN "{DOMAIN}.{name}"']
    for array, infos in (("input_types", program.inputs), ("output_types", program.outputs)):
        codes = ", ".join(str(code) for code in (*(_TYPES[each.dtype] for each in infos), 0))
        lines.append(f"static const int {array}[] = {{{codes}}};")
    return "\n".join([*lines, ""])


def _model(name: str, program: Program) -> bytes:
    """The model of one node, with the inputs and outputs that the compiled one had."""
    inputs, outputs = (
        [helper.make_tensor_value_info(each.name, _TYPES[each.dtype], each.shape) for each in infos]
        for infos in (program.inputs, program.outputs)
    )
    domain = f"{DOMAIN}.{name}"
    names = [each.name for each in program.inputs], [each.name for each in program.outputs]
    graph = helper.make_graph([helper.make_node(name, *names, name=name, domain=domain)], name, inputs, outputs)
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(domain, 1)]
    made: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="optc")
    return bytes(made.SerializeToString(deterministic=True))
