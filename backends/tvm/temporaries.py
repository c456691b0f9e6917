"""Names bound around a stored value become local arrays, one element for each lane of the vectorised loop around.

What is the same for all lanes (coordinates of the pixel whose channels are the lanes) stays one element, so that
LLVM sees neighbours where lanes read neighbours at a common place.

TVM's passes and its LLVM generator hand every `Let` to an arithmetic analyzer, which expands names where they are used:
compile time would grow exponentially with the length of a chain of formulas. Arrays are opaque to it, and LLVM turns
them back into registers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr, PrimFunc, Stmt


def bindings_to_arrays(function: PrimFunc) -> PrimFunc:
    """Rewrite every store whose value starts with bindings."""
    return function.with_body(_rewrite(function.body, None, 1))


def _rewrite(statement: Stmt, lane: Any, lanes: int) -> Stmt:
    from tvm import tirx

    if isinstance(statement, tirx.SeqStmt):
        return tirx.SeqStmt([_rewrite(part, lane, lanes) for part in statement.seq])
    if isinstance(statement, tirx.For):
        vectorised = statement.kind == tirx.ForKind.VECTORIZED
        inner = (statement.loop_var, int(statement.extent)) if vectorised else (lane, lanes)
        body = _rewrite(statement.body, *inner)
        return tirx.For(
            statement.loop_var, statement.min, statement.extent, statement.kind, body, annotations=statement.annotations
        )
    if isinstance(statement, tirx.IfThenElse):
        otherwise = None if statement.else_case is None else _rewrite(statement.else_case, lane, lanes)
        return tirx.IfThenElse(statement.condition, _rewrite(statement.then_case, lane, lanes), otherwise)
    if isinstance(statement, tirx.AttrStmt):
        body = _rewrite(statement.body, lane, lanes)
        return tirx.AttrStmt(statement.node, statement.attr_key, statement.value, body)
    if isinstance(statement, tirx.BufferStore) and isinstance(statement.value, tirx.Let):
        return _store(statement, lane, lanes)
    return statement


def _store(statement: Any, lane: Any, lanes: int) -> Stmt:
    from tvm import tirx

    first = tirx.const(0, "int32")
    names: dict[Any, PrimExpr] = {}
    by_lane = set() if lane is None else {lane}
    parts: list[Stmt] = []
    value = statement.value
    while isinstance(value, tirx.Let):
        dtype = str(value.value.ty)
        place, extent = (lane, lanes) if _mentions(value.value, by_lane) else (first, 1)
        if extent > 1:
            by_lane.add(value.var)
        array = tirx.decl_buffer((extent,), "uint8" if dtype == "bool" else dtype, "t", scope="local")
        parts.append(tirx.AllocBuffer(array, {"disable_lower_builtin": tirx.const(1, "int32")}))
        bound = replaced(value.value, names)
        # LLVM code for arrays of bools is refused under vectorised loops: they become bytes.
        parts.append(tirx.BufferStore(array, bound.astype("uint8") if dtype == "bool" else bound, [place]))
        names[value.var] = tirx.NE(array[place], tirx.const(0, "uint8")) if dtype == "bool" else array[place]
        value = value.body
    return tirx.SeqStmt([*parts, tirx.BufferStore(statement.buffer, replaced(value, names), statement.indices)])


def _mentions(value: PrimExpr, variables: set[Any]) -> bool:
    from tvm import tirx

    if isinstance(value, tirx.Var):
        return value in variables
    return any(_mentions(child, variables) for child in _children(value))


def replaced(value: PrimExpr, names: Mapping[Any, PrimExpr]) -> PrimExpr:
    """The expression with variables replaced; parts that hold none of them are kept as they are."""
    from tvm import tirx

    if isinstance(value, tirx.Var):
        return names.get(value, value)
    children = _children(value)
    new = [replaced(child, names) for child in children]
    if all(a.same_as(b) for a, b in zip(children, new, strict=True)):
        return value
    return _rebuilt(value, new)


def _children(value: Any) -> list[Any]:
    from tvm import ir, tirx

    if isinstance(value, ir.Call):
        return list(value.args)
    if isinstance(value, ir.expr.TensorLoad):
        return list(value.indices)
    if isinstance(value, tirx.Cast):
        return [value.value]
    if isinstance(value, tirx.Select):
        return [value.condition, value.true_value, value.false_value]
    if isinstance(value, tirx.Let):
        return [value.value, value.body]
    return [getattr(value, side) for side in ("a", "b") if hasattr(value, side)]


def _rebuilt(value: Any, children: list[Any]) -> PrimExpr:
    from tvm import ir, tirx

    if isinstance(value, ir.Call):
        return ir.Call(value.op, children, value.attrs, value.ty_args, ret_ty=value.ty)
    if isinstance(value, ir.expr.TensorLoad):
        return tirx.BufferLoad(value.source, children)
    if isinstance(value, tirx.Cast):
        return tirx.Cast(str(value.ty), children[0])
    if isinstance(value, tirx.Let):
        return tirx.Let(value.var, *children)
    return type(value)(*children)
