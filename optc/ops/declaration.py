"""What the compiler must know of an operation kind, in one declaration each.

An operation that nobody declared still works: `declaration_of` derives a declaration from the ONNX schema (shape
inference and numeric reference come from the onnx package, or from onnxruntime for its own domain), of kind OPAQUE, so
that no pass touches it and no native backend claims it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np

from optc.ir.core import Operation
from optc.ir.types import TensorType, ValueType

Infer = Callable[[Operation], Sequence[ValueType]]
Evaluate = Callable[[Operation, Sequence["np.ndarray | None"]], Sequence[np.ndarray]]
Verify = Callable[[Operation], None]
Count = Callable[[Operation], int]


class Kind(Enum):
    """How the elements of the results depend on those of the operands; fusion reasons with this alone."""

    ELEMENTWISE = "elementwise"  # one output element reads the same (broadcast) element of each operand
    MOVEMENT = "movement"  # one output element reads at most one element of each operand, elsewhere
    REDUCTION = "reduction"  # one output element reads many along some axes
    CONTRACTION = "contraction"  # convolution, matrix product: the anchors
    WINDOW = "window"  # pooling: a small neighbourhood
    CONTROL = "control"  # holds nested graphs that are executed
    CONSTANT = "constant"
    OPAQUE = "opaque"  # anything else


@dataclass(frozen=True)
class OpDeclaration:
    """One operation kind.

    Attributes:
        name: `onnx.Conv`, `optc.relayout` …; ONNX operations keep ONNX's names and semantics (opset OPSET).
        kind: see Kind.
        infer: the result types from operands and attributes. Symbolic dimensions are kept; raises ValueError with
            the reason when operands do not fit.
        evaluate: the numeric reference on NumPy arrays (logical shapes; None for an absent operand).
        verify: raises ValueError with the reason when attributes or operands are illegal.
        flops: floating-point operations of one execution (a multiply-add is two). Needs static shapes.
        bytes: bytes read and written by one execution. Needs static shapes.
        deterministic: False for random generators: never folded, never merged.
    """

    name: str
    kind: Kind
    infer: Infer
    evaluate: Evaluate
    verify: Verify
    flops: Count
    bytes: Count
    deterministic: bool = True


_DECLARATIONS: dict[str, OpDeclaration] = {}


def elements_of(operation: Operation) -> int:
    """The elements of all tensor results."""
    return sum(r.tensor_type.elements for r in operation.results if isinstance(r.type, TensorType))


def bytes_touched(operation: Operation) -> int:
    """The bytes of all tensor operands and results: the least an execution moves when nothing is cached."""
    values = [*operation.present_operands, *operation.results]
    return sum(value.tensor_type.bytes for value in values if isinstance(value.type, TensorType))


def declare(
    name: str,
    kind: Kind,
    *,
    infer: Infer | None = None,
    evaluate: Evaluate | None = None,
    verify: Verify | None = None,
    flops: Count | None = None,
    bytes: Count | None = None,
    deterministic: bool = True,
) -> OpDeclaration:
    """Register an operation kind; what is left out of an ONNX operation comes from the onnx package.

    Raises:
        ValueError: the name is declared already.
    """
    from optc.ops import onnx_defaults

    if name in _DECLARATIONS:
        raise ValueError(f"{name} is declared twice")
    declaration = OpDeclaration(
        name,
        kind,
        infer or onnx_defaults.infer,
        evaluate or onnx_defaults.evaluate,
        verify or onnx_defaults.verify,
        flops or elements_of,
        bytes or bytes_touched,
        deterministic,
    )
    _DECLARATIONS[name] = declaration
    return declaration


@lru_cache(maxsize=1)
def _load_declarations() -> None:
    import optc.ops.catalog  # noqa: F401  (declares by being imported)


def declaration_of(name: str) -> OpDeclaration:
    """The declaration of an operation kind; derived from the ONNX schema where nobody wrote one.

    Raises:
        KeyError: neither optc nor ONNX nor onnxruntime knows the name.
    """
    _load_declarations()
    found = _DECLARATIONS.get(name)
    if found is None:
        from optc.ops import onnx_defaults, runtime_operations

        if runtime_operations.knows(name):
            found = declare(
                name,
                Kind.OPAQUE,
                infer=runtime_operations.infer,
                evaluate=runtime_operations.evaluate,
                verify=runtime_operations.verify,
            )
        else:
            onnx_defaults.schema_of(name)
            found = declare(name, Kind.OPAQUE)
    return found


def declared() -> dict[str, OpDeclaration]:
    """All declarations that were written by hand, by name."""
    _load_declarations()
    return dict(_DECLARATIONS)
