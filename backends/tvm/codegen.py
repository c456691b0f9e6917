"""From scheduled TIR functions to machine code: plain C functions `int32_t symbol(void* p0, …)`, no TVM at run time."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import types
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optc.backends.tvm.temporaries import bindings_to_arrays

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.ir.transform import Pass
    from tvm.target import Target as TvmTarget
    from tvm.tirx import PrimFunc

    from optc.targets.target import Target


@lru_cache(maxsize=1)
def load_tvm() -> Any:
    """Import TVM without what takes long and no template uses: PyTorch, and the registration of tensor intrinsics."""
    with _hidden("torch"):
        import tvm
        from tvm import s_tir

    name = "tvm.s_tir.tensor_intrin"
    if name not in sys.modules:
        placeholder = types.ModuleType(name)
        sys.modules[name] = placeholder
        s_tir.tensor_intrin = placeholder
    return tvm


@contextlib.contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Let imports of a package fail for a while, unless it is loaded already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


def tvm_target(target: Target) -> TvmTarget:
    """TVM's target object, host included."""
    tvm = load_tvm()
    device = tvm.target.Target(dict(target.llvm))
    return device.with_host(device)


def compile_kernels(kernels: Mapping[str, PrimFunc], target: Target) -> bytes:
    """Compile scheduled functions to one relocatable object file.

    Args:
        kernels: by symbol; each becomes `int32_t symbol(void* p0, …)` with the buffers in order, and returns 0.
        target: `target.llvm` is what LLVM is told.

    Returns:
        The object file. The same kernels and target give the same bytes. Its only undefined symbols are libm's and
        the weak slot `__TVMBackendParallelLaunch`, which the host runtime fills.
    """
    module = lower_kernels(kernels, target)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.o"
        module.write_to_file(str(path))
        return path.read_bytes()


def llvm_source(kernels: Mapping[str, PrimFunc], target: Target, kind: str = "ll") -> str:
    """The LLVM IR (`ll`) or assembly (`asm`) of the kernels, for reading."""
    return str(lower_kernels(kernels, target).inspect_source(kind))


def lower_kernels(kernels: Mapping[str, PrimFunc], target: Target) -> Any:
    """Lower and generate code; returns TVM's runtime module."""
    device = tvm_target(target)
    return load_tvm().get_global_func(f"target.build.{device.kind.name}")(lowered(kernels, target), device)


def lowered(kernels: Mapping[str, PrimFunc], target: Target) -> IRModule:
    """The functions as code generators take them: flat buffers, plain parameters, no builtins."""
    tvm = load_tvm()
    from tvm import tirx

    device = tvm_target(target)
    vectorise = device.kind.name != "c"  # TVM prints vectors as OpenCL, which is no C
    module = tvm.IRModule(
        {name: bindings_to_arrays(kernels[name]).with_attr("global_symbol", name) for name in sorted(kernels)}
    )
    module = tirx.transform.BindTarget(device)(module)
    module = tvm.ir.transform.Sequential(_lowering_passes(vectorise))(module)
    module = _each(module, lambda name, function: _with_pointer_parameters(function, name))
    module = tirx.transform.BF16StorageLegalize()(module)
    module = tirx.transform.LowerTVMBuiltin()(module)
    module = _each(module, lambda _, function: _returning_zero(function))
    return tirx.transform.LowerIntrin()(module)


def _each(module: IRModule, change: Any) -> IRModule:
    tvm = load_tvm()
    functions = sorted(((var.name_hint, function) for var, function in module.functions_items()), key=lambda f: f[0])
    return tvm.IRModule({name: change(name, function) for name, function in functions})


def _lowering_passes(vectorise: bool) -> list[Pass]:
    """What turns loop nests into code that LLVM takes.

    Templates write plain loops, no schedulable blocks. Passes that bind names in TVM's arithmetic analyzer are left
    out: it expands each name where it is used, which grows exponentially with the length of a chain of formulas.
    """
    from tvm import s_tir, tirx

    plain = tirx.transform
    return [
        plain.Apply(_flattened),
        plain.BF16ComputeLegalize(),
        plain.VectorizeLoop(vectorise),
        plain.UnrollLoop(),
        plain.StmtSimplify(),
        plain.RemoveNoOp(),
        s_tir.transform.RewriteUnsafeSelect(),
        plain.VerifyMemory(),
    ]


def _flattened(function: PrimFunc) -> PrimFunc:
    """Buffers of several dimensions, or of bools, become flat ones of bytes; others are left alone."""
    tvm = load_tvm()
    from tvm import tirx

    if all(len(buffer.shape) == 1 and str(buffer.dtype) != "bool" for buffer in function.params):
        return function
    return tirx.transform.FlattenBuffer()(tvm.IRModule({"main": function}))["main"]


def _with_pointer_parameters(function: PrimFunc, name: str) -> PrimFunc:
    """Replace buffer parameters by typed pointers and keep the rest as it is."""
    from tvm import ir, tirx

    pointers = [tirx.Var(f"{b.name}_p", ir.PointerType(ir.PrimType(str(b.dtype)), "global")) for b in function.params]
    declarations = [tirx.DeclBuffer(b, data=pointer) for b, pointer in zip(function.params, pointers, strict=True)]
    body = tirx.SeqStmt([*declarations, function.body])
    for key, value in (("device_id", 0), ("device_type", 1)):
        body = tirx.AttrStmt("default", key, tirx.const(value, "int32"), body)
    result = tirx.PrimFunc(pointers, body, ret_type=ir.PrimType("int32"))
    for key, value in function.attrs.items():
        result = result.with_attr(key, value)
    return result.with_attr("global_symbol", name).with_attr("calling_conv", 0)


def _returning_zero(function: PrimFunc) -> PrimFunc:
    from tvm import tirx

    return function.with_body(tirx.SeqStmt([function.body, tirx.Return(tirx.const(0, "int32"))]))
