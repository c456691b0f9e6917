"""Kernels for everything that has no template of its own here: TVM's C code for the templates of the tvm backend."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from optc.backends.c.kernel import CKernel, Constant
from optc.backends.c.literals import real_literal
from optc.backends.tvm.build import build_kernel
from optc.backends.tvm.group import Group
from optc.ir.core import Operation
from optc.targets.target import Target

if TYPE_CHECKING:
    from tvm.tirx import PrimFunc

_ALIGNMENT = 8
_LOCAL = re.compile(r"^ +\w+ (\w+)\[\d+\];$", re.MULTILINE)
_PUNNED = re.compile(r"\(\*\((float|int32_t) \*\)\(&\((\w+)\)\)\)")


def generic(fused: Operation, group: Group, target: Target, symbol: str) -> CKernel:
    """The kernel of a fused operation, as C source with a function called `symbol`."""
    definition = build_kernel(group, target)
    source = _source(symbol, definition.function, target)
    arguments, constants = [], []
    for position, operand in enumerate(fused.operands):
        array = None if operand is None else operand.constant
        if array is None:
            arguments.append(f"$in{position}")
            continue
        packing = definition.packings.get(position)
        stored = np.ascontiguousarray(array if packing is None else packing.pack(array))
        constants.append(Constant(f"constant{position}", stored))
        arguments.append(f"$constant{position}")
    arguments += [f"$out{index}" for index in range(len(fused.results))]
    offset = 0
    for extent in definition.scratch_bytes:
        arguments.append(f"((char*)$scratch + {offset})")
        offset += -(-extent // _ALIGNMENT) * _ALIGNMENT
    function, types = _static_function(source, symbol)
    casts = [f"({kind}){argument}" for kind, argument in zip(types, arguments, strict=True)]
    return CKernel(
        kind="generic",
        call=f"(void){symbol}({', '.join(casts)});",
        constants=tuple(constants),
        scratch_bytes=offset,
        sources=("bits.h",) if "optc_as_" in function else (),
        functions=(function,),
    )


def _source(symbol: str, function: PrimFunc, target: Target) -> str:
    """TVM's C code for a function.

    TVM prints seven digits of a constant: each is printed as a number that stands for it, and put in afterwards. And it
    knows no local arrays in C, where all that a function declares is local.
    """
    from optc.backends.tvm.codegen import load_tvm, lowered, tvm_target

    tvm = load_tvm()
    _lower_absolute_values()
    record = json.loads(tvm.ir.save_json(lowered({symbol: function}, target)).replace('"local"', '"global"'))
    nodes = record["nodes"]
    exact: dict[str, str] = {}
    for node in nodes:
        if node.get("type") != "ir.FloatImm" or not isinstance(node["data"]["value"], float | int):
            continue
        single = nodes[node["data"]["ty"]]["data"]["dtype"] == "float32"
        literal = real_literal(float(node["data"]["value"]), single=single)
        token = f"1.{len(exact):06d}e+30"
        exact[token] = literal
        node["data"]["value"] = float(token)
    module = tvm.ir.load_json(json.dumps(record))
    text = str(tvm.get_global_func("target.build.c")(module, tvm_target(target)).inspect_source("c"))
    # A pointer to another type may not be read through.
    text = re.sub(r"\bbool\b", "_Bool", text)
    text = _PUNNED.sub(r"optc_as_\1(&\2)", text)
    return re.sub(r"1\.\d{6}e\+30f?", lambda match: exact[match[0].rstrip("f")], text)


@cache
def _lower_absolute_values() -> None:
    """Say which C function takes |x|: TVM has no rule of its own for that."""
    from tvm import tirx

    from optc.backends.tvm.math.functions import libm

    tirx.register_intrin_lowering("tirx.fabs", target="c", f=lambda call: libm("fabs", *call.args))


def _static_function(source: str, symbol: str) -> tuple[str, list[str]]:
    """The definition of a function out of a translation unit, static, and the types of its parameters."""
    start = re.search(rf"^[^\n#]*\b{symbol}\(([^)]*)\) \{{$", source, re.MULTILINE)
    assert start is not None, source
    parameters = [parameter.strip().rpartition(" ") for parameter in start[1].split(",")]
    end = source.index("\n}\n", start.end())
    body = source[start.end() : end]
    unused = [name for _, _, name in parameters if not re.search(rf"\b{name}\b", body)]
    ignored = "".join(f"\n  (void){name};" for name in unused)
    # ArgMax keeps the largest elements beside their positions, and reads them or not.
    body = _LOCAL.sub(r"\g<0> (void)\1;", body)
    return f"static int32_t {symbol}({start[1]}) {{{ignored}{body}\n}}\n", [kind for kind, _, _ in parameters]
