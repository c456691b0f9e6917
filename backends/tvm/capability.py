"""Which operations the TVM backend has native code for. Imports no TVM, so that drivers and passes may ask at will."""

from __future__ import annotations

from collections.abc import Callable

from optc.backends.tvm.lowering import LOWERINGS, resize
from optc.ir.core import CONSTANT, Operation
from optc.ir.types import TensorType
from optc.ops.attention import unusual_form
from optc.ops.declaration import Kind, declaration_of
from optc.ops.parameters import PARAMETERS
from optc.ops.recurrence import RECURRENCE
from optc.ops.shapes import integer

ELEMENT_TYPES = frozenset({"f32", "f64", "f16", "bf16", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "bool"})
_MOST_ELEMENTS = 2**31 - 1  # offsets are 32-bit
_MOST_PASSES = 2**18  # elements that one row of a TopK looks at: above, a heap is faster
_MOST_GATES = 8192  # of a recurrence, which keeps them on the stack
_FEWEST_QUERIES = 4  # of an attention, whose kernel has them in the lanes of a vector

Check = Callable[[Operation], "str | None"]
CHECKS: dict[str, Check] = {}
"""Further conditions by operation: None when they hold, else the reason."""


def checks(*names: str) -> Callable[[Check], Check]:
    """Register a condition that operations must meet."""

    def register(check: Check) -> Check:
        for name in names:
            CHECKS[name] = check
        return check

    return register


def supports(operation: Operation) -> str | None:
    """None where there is native code for the operation, else the reason why not."""
    if operation.name == CONSTANT:
        return None
    if operation.name not in LOWERINGS and operation.name not in CHECKS:
        return "it has no native lowering"
    parameters = PARAMETERS.get(operation.name, ())
    operands = [operand for position, operand in enumerate(operation.operands) if position not in parameters]
    for value in (*operands, *operation.results):
        refusal = None if value is None else _type_refusal(value.type, value.name)
        if refusal is not None:
            return refusal
    for position in parameters:
        operand = operation.operand(position)
        if operand is not None and operand.constant is None:
            return f"operand {position} ('{operand.name}') is not constant"
    declaration = declaration_of(operation.name)
    if not declaration.deterministic:
        return "its results are random"
    if declaration.kind is Kind.CONTRACTION and any(r.dtype.name == "bf16" for r in operation.results):
        return "it contracts elements of type bf16"
    check = CHECKS.get(operation.name)
    return None if check is None else check(operation)


def _type_refusal(kind: object, name: str) -> str | None:
    if not isinstance(kind, TensorType):
        return f"'{name}' is no tensor"
    if kind.dtype.name not in ELEMENT_TYPES:
        return f"elements of '{name}' are {kind.dtype}"
    if not kind.is_static:
        return f"the shape of '{name}' is not static"
    if kind.elements == 0:
        return f"'{name}' is empty"
    if kind.elements > _MOST_ELEMENTS:
        return f"'{name}' has more than 2^31 - 1 elements"
    return None


@checks("onnx.CumSum")
def _cumulative_sum(operation: Operation) -> str | None:
    axis = operation.operands[1]
    assert axis is not None and axis.constant is not None
    extent = operation.results[0].shape[int(axis.constant.reshape(-1)[0])]
    return None if extent <= 512 else f"it sums over {extent} elements, more than 512"


@checks("onnx.Attention")
def _attention(operation: Operation) -> str | None:
    refusal = unusual_form(operation)
    if refusal is not None:
        return refusal
    query = operation.operands[0]
    assert query is not None
    if query.dtype.name != "f32":
        return f"its operands are {query.dtype}"
    return None if query.shape[2] >= _FEWEST_QUERIES else f"{query.shape[2]} queries do not fill a vector"


@checks("onnx.ScatterElements", "onnx.ScatterND")
def _scatter(operation: Operation) -> str | None:
    narrow = operation.results[0].dtype.name in ("f16", "bf16")
    return f"it changes elements of type {operation.results[0].dtype}" if narrow else None


@checks("onnx.TopK")
def _top_k(operation: Operation) -> str | None:
    data = operation.operands[0]
    assert data is not None
    if data.dtype.name in ("f16", "bf16", "bool"):
        return f"it orders elements of type {data.dtype}"
    axis = integer(operation, "axis", -1) % len(data.shape)
    extent, count = data.shape[axis], operation.results[0].shape[axis]
    return f"it looks for {count} of {extent} elements" if extent * count > _MOST_PASSES else None


@checks(RECURRENCE)
def _recurrence(operation: Operation) -> str | None:
    projected = operation.operands[0]
    assert projected is not None
    if projected.dtype.name != "f32":
        return f"its operands are {projected.dtype}"
    wide = projected.shape[2] > _MOST_GATES
    return f"its gates have {projected.shape[2]} elements, more than {_MOST_GATES}" if wide else None


@checks("onnx.OneHot")
def _one_hot(operation: Operation) -> str | None:
    return None if operation.operands[1] is not None else "the depth is missing"


@checks("onnx.Cast")
def _cast(operation: Operation) -> str | None:
    return None if operation.operands else "it has no operand"


@checks("onnx.BatchNormalization")
def _batch_normalization(operation: Operation) -> str | None:
    return "it is in training mode" if operation.attributes.get("training_mode", 0) else None


@checks("onnx.Resize", "onnx.Upsample")
def _resize(operation: Operation) -> str | None:
    return resize.refusal(operation)


@checks("onnx.MaxPool")
def _max_pool(operation: Operation) -> str | None:
    return "it returns indices" if len(operation.results) > 1 else None
