"""Makes operations in front of another one, with inferred types: `op.Mul(x, 0.5)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from optc.ir import dtypes
from optc.ir.core import Attribute, Graph, Operation, Value
from optc.ir.types import TensorType
from optc.ops.inference import make_operation

Operand = Value | None | int | float | bool | np.ndarray | Sequence[int]


class Builder:
    """Inserts operations before `anchor`.

    `op.Conv(x, w, group=2)` makes `onnx.Conv`; `outputs=n` asks for n results. An operand may be a Value, None, an
    array, a list of ints (an i64 vector, for shapes and axes), or a number (a scalar of the first tensor's type).

    Attributes:
        anchor: the operation in front of which everything goes.
        created: what was made so far, constants included.
    """

    def __init__(self, anchor: Operation) -> None:
        assert anchor.graph is not None
        self.anchor = anchor
        self.graph: Graph = anchor.graph
        self.created: list[Operation] = []

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        if op_type.startswith("_"):
            raise AttributeError(op_type)

        def make(*operands: Operand, outputs: int = 1, **attributes: Attribute) -> Any:
            return self.call(f"onnx.{op_type}", operands, attributes, outputs=outputs)

        return make

    def call(
        self,
        name: str,
        operands: Sequence[Operand],
        attributes: Mapping[str, Attribute] | None = None,
        *,
        outputs: int = 1,
        graphs: Mapping[str, Graph] | None = None,
    ) -> Any:
        """The only result (or the tuple of results, where `outputs` > 1) of a new operation of any dialect.

        Raises:
            ValueError: the operation does not accept the operands.
        """
        like = next((item for item in operands if isinstance(item, Value)), None)
        values = [self.value(item, like) for item in operands]
        while values and values[-1] is None:
            values.pop()
        made = {key: value for key, value in (attributes or {}).items() if value is not None}
        names = [self._name(name.rpartition(".")[2]) for _ in range(outputs)]
        operation = make_operation(name, values, made, result_names=names, graphs=graphs)
        self.graph.insert(operation, self.anchor)
        self.created.append(operation)
        return operation.results if outputs > 1 else operation.result

    def clone(self, operation: Operation, operands: Sequence[Operand], **attributes: Attribute | None) -> Any:
        """The same kind of operation with other operands; `attributes` replace its own, None removes one."""
        merged: dict[str, Any] = {**operation.attributes, **attributes}
        return self.call(operation.name, operands, merged, outputs=len(operation.results))

    def constant(self, data: np.ndarray | int | float, like: Value | None = None) -> Value:
        """A constant that shares the array's storage; a number becomes a scalar of the type of `like`."""
        if isinstance(data, np.generic) and not isinstance(data, (int, float)):
            data = np.asarray(data)
        if not isinstance(data, np.ndarray):
            dtype = like.dtype.numpy if like is not None and isinstance(like.type, TensorType) else None
            data = np.asarray(data, dtype=dtype or (np.float32 if isinstance(data, float) else np.int64))
        value = self.graph.constant(data, self._name("constant"), before=self.anchor)
        assert value.producer is not None
        self.created.append(value.producer)
        return value

    def value(self, item: Operand, like: Value | None = None) -> Value | None:
        """What `item` stands for as an operand."""
        if item is None or isinstance(item, Value):
            return item
        if isinstance(item, (int, float, np.ndarray, np.generic)):
            return self.constant(item if isinstance(item, (int, float, np.ndarray)) else np.asarray(item), like)
        return self.constant(np.asarray(list(item), dtype=dtypes.INT64.numpy))

    def discard_unused(self) -> None:
        """Remove what was made and nobody reads."""
        for operation in reversed(self.created):
            if not any(result.uses for result in operation.results):
                self.graph.erase(operation)
        self.created = [operation for operation in self.created if operation.graph is not None]

    def _name(self, suffix: str) -> str:
        base = self.anchor.results[0].name if self.anchor.results else self.graph.name
        return f"{base}.{suffix.lower()}{len(self.created)}"
