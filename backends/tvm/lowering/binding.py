"""Sharing inside one element's expression: names for values that are read more than once.

TIR expressions are trees, so an expression that occurs twice doubles the code, and a chain of such expressions grows
exponentially. `scoped` opens the place where one element is computed; `bind` gives a value a name there, and `shared`
does so for every element of a tensor that has several readers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from optc.backends.tvm.lowering.recording import note_condition
from optc.backends.tvm.tensor import LogicalTensor

if TYPE_CHECKING:
    from tvm.tirx import PrimExpr, Var

Key = tuple[object, ...]


@dataclass
class _Scope:
    bindings: list[tuple[Var, PrimExpr]] = field(default_factory=list)
    known: dict[Key, PrimExpr] = field(default_factory=dict)


_SCOPES: ContextVar[tuple[_Scope, ...]] = ContextVar("scopes", default=())


def dtype_of(value: PrimExpr) -> str:
    """TIR's name of an expression's element type."""
    return str(value.ty)


def scoped(build: Callable[[], PrimExpr]) -> PrimExpr:
    """Build an expression in which `bind` may name values; what it named is bound around the result.

    Each branch of a condition is a scope of its own, so that nothing is evaluated outside the branch that guards it.
    """
    (value,) = scoped_all(lambda: (build(),), lambda values: values)
    return value


def scoped_all(
    build: Callable[[], tuple[PrimExpr, ...]], close: Callable[[tuple[PrimExpr, ...]], tuple[PrimExpr, ...]]
) -> tuple[PrimExpr, ...]:
    """As `scoped` for several expressions over the same names; every result binds all the names that it needs."""
    from tvm import tirx

    scope = _Scope()
    token = _SCOPES.set((*_SCOPES.get(), scope))
    try:
        values = close(build())
    finally:
        _SCOPES.reset(token)
    results = []
    for value in values:
        for var, bound in reversed(scope.bindings):
            value = tirx.Let(var, bound, value)
        results.append(value)
    return tuple(results)


def bind(value: PrimExpr) -> PrimExpr:
    """A name for a value that is about to be used more than once; the value itself when it is a name or a constant."""
    from tvm import tirx

    scopes = _SCOPES.get()
    if not scopes or isinstance(value, int | float | tirx.Var | tirx.IntImm | tirx.FloatImm):
        return value
    var = tirx.Var("t", dtype_of(value))
    scopes[-1].bindings.append((var, value))
    return var


def shared(tensor: LogicalTensor) -> LogicalTensor:
    """The same tensor, each element of which is computed once in a scope however often it is read."""

    def element(*indices: PrimExpr | int) -> PrimExpr:
        scopes = _SCOPES.get()
        key = (id(tensor), *(_key(index) for index in indices))
        for scope in reversed(scopes):
            if key in scope.known:
                return scope.known[key]
        value = bind(tensor(*indices))
        if scopes:
            scopes[-1].known[key] = value
        return value

    return LogicalTensor(tensor.shape, tensor.dtype, element)


def _key(index: PrimExpr | int) -> object:
    if isinstance(index, int):
        return index
    import tvm_ffi
    from tvm import tirx

    return int(index) if isinstance(index, tirx.IntImm) else ("expression", tvm_ffi.structural_hash(index))


def choose(condition: PrimExpr, then: Callable[[], PrimExpr], otherwise: Callable[[], PrimExpr]) -> PrimExpr:
    """Evaluate only one of two expressions, for instance because the other would read outside its buffer."""
    from tvm import tirx

    if isinstance(condition, bool | int | tirx.IntImm):
        return then() if bool(condition) else otherwise()
    note_condition(condition)
    return tirx.if_then_else(condition, scoped(then), scoped(otherwise))
