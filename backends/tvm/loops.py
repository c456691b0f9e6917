"""Loop nests built directly as TIR: how a template writes a kernel without going through schedule primitives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optc.backends.tvm.codegen import load_tvm

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimExpr, Stmt

Index = Any  # an int or an integer PrimExpr
Body = Callable[[Any], "Stmt"]

INDEX = "int32"


def constant(value: float, dtype: str = INDEX) -> PrimExpr:
    """A literal of the given type."""
    from tvm import tirx

    return tirx.const(value, dtype)


def sequence(statements: Iterable[Stmt]) -> Stmt:
    """One statement after another; none does nothing."""
    from tvm import tirx

    parts = list(statements)
    if not parts:
        return tirx.Evaluate(constant(0))
    return parts[0] if len(parts) == 1 else tirx.SeqStmt(parts)


def _loop(extent: Index, body: Body, kind: str, name: str, start: Index = 0) -> Stmt:
    load_tvm()
    from tvm import tirx

    if isinstance(extent, int) and extent == 1 and kind != "VECTORIZED":
        return body(constant(start) if isinstance(start, int) else start)
    variable = tirx.Var(name, INDEX)
    first, count = (constant(value) if isinstance(value, int) else value for value in (start, extent))
    return tirx.For(variable, first, count, getattr(tirx.ForKind, kind), body(variable))


def serial(extent: Index, body: Body, name: str = "i", start: Index = 0) -> Stmt:
    """`for name in start … start+extent: body(name)`; a single iteration leaves no loop."""
    return _loop(extent, body, "SERIAL", name, start)


def vectorized(lanes: int, body: Body, name: str = "lane") -> Stmt:
    """All lanes at once; one lane is plain scalar code."""
    return _loop(lanes, body, "VECTORIZED", name) if lanes > 1 else body(constant(0))


def parallel(extent: int, body: Body, name: str = "task") -> Stmt:
    """Iterations that may run on different threads."""
    return _loop(extent, body, "PARALLEL", name)


def outer(extents: Sequence[int], body: Callable[[tuple[Any, ...]], Stmt], *, threads: bool) -> Stmt:
    """A loop nest over `extents`, as one parallel loop where `threads`; `body` gets one index for each extent."""
    if not threads:
        return _nest(list(extents), (), body)
    total = 1
    for extent in extents:
        total *= extent

    def split(task: Any) -> Stmt:
        indices: list[Any] = []
        for extent in reversed(extents):
            indices.insert(0, constant(0) if extent == 1 else task % extent)
            task = task // extent if extent > 1 else task
        return body(tuple(indices))

    return parallel(total, split)


def _nest(extents: list[int], indices: tuple[Any, ...], body: Callable[[tuple[Any, ...]], Stmt]) -> Stmt:
    if not extents:
        return body(indices)
    return serial(extents[0], lambda index: _nest(extents[1:], (*indices, index), body), f"i{len(indices)}")


@dataclass
class View:
    """A buffer that is addressed by other indices than its own.

    Attributes:
        buffer: what is read and stored to.
        place: from the indices that are asked for to those of the buffer.
    """

    buffer: Buffer
    place: Callable[[Sequence[Index]], tuple[Index, ...]]

    def __getitem__(self, indices: Sequence[Index]) -> PrimExpr:
        return self.buffer[self.place(indices)]


def store(buffer: Buffer | View, value: PrimExpr, indices: Sequence[Index]) -> Stmt:
    """`buffer[indices] = value`."""
    from tvm import tirx

    if isinstance(buffer, View):
        buffer, indices = buffer.buffer, buffer.place(indices)
    return tirx.BufferStore(buffer, value, [constant(i) if isinstance(i, int) else i for i in indices])


def ramp(first: Index, lanes: int) -> PrimExpr:
    """The indices of `lanes` neighbours from `first`; one lane is a plain index."""
    from tvm import tirx

    start = constant(first) if isinstance(first, int) else first
    return tirx.Ramp(start, constant(1), lanes) if lanes > 1 else start


def spread(value: PrimExpr, lanes: int) -> PrimExpr:
    """A vector of equal lanes."""
    from tvm import tirx

    return tirx.Broadcast(value, lanes) if lanes > 1 else value


def local(extent: int, dtype: str, name: str) -> tuple[Buffer, Stmt]:
    """A small array on the stack, in registers where all its indices are constants; and the statement that makes it."""
    from tvm import tirx

    buffer = tirx.decl_buffer((extent,), dtype, name, scope="local")
    # Without the annotation TVM asks a workspace allocator at run time.
    return buffer, tirx.AllocBuffer(buffer, {"disable_lower_builtin": constant(1)})


def array(extent: int, dtype: str, name: str, lanes: int) -> tuple[Buffer, list[Stmt]]:
    """An array on the stack that starts where a vector of `lanes` may, for dynamic indices; and what makes it.

    It also aligns the stack frame, and with it the registers that LLVM spills: with a frame at an odd multiple of 16
    bytes kernels that spill whole vectors take up to twice as long.
    """
    from tvm import tirx

    if lanes == 1 or extent % lanes:
        plain, allocation = local(extent, dtype, name)
        return plain, [allocation]
    vectors = tirx.decl_buffer((extent // lanes,), f"{dtype}x{lanes}", f"{name}_vectors", scope="local")
    elements = tirx.decl_buffer((extent,), dtype, name, scope="local", data=vectors.data)
    allocation = tirx.AllocBuffer(vectors, {"disable_lower_builtin": constant(1)})
    return elements, [allocation, tirx.DeclBuffer(elements, data=vectors.data)]


def parameter(shape: Sequence[int], dtype: str, name: str) -> Buffer:
    """A buffer parameter of a kernel."""
    load_tvm()
    from tvm import tirx

    return tirx.decl_buffer(tuple(shape) or (1,), dtype, name)
