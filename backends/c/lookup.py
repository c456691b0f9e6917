"""Functions of one code: a table of all 256 results, worked out when the model is compiled."""

from __future__ import annotations

import numpy as np

from optc.backends.c.kernel import CKernel, Constant
from optc.backends.c.pattern import DEQUANTIZE, QUANTIZE, Body, NoMatch
from optc.ir.clone import clone_operation
from optc.ir.core import CONSTANT, Graph, Operation, Value
from optc.ops.declaration import Kind, declaration_of
from optc.ops.evaluate import evaluate_graph
from optc.ops.inference import make_operation

_CODES = np.arange(-128, 128).astype(np.int8)


def lookup(body: Body) -> CKernel:
    """The kernel of a group that works out each code of the result from one code.

    Raises:
        NoMatch: it is no such group.
    """
    graph = body.graph
    outputs = graph.outputs
    if len(outputs) != 1 or outputs[0].dtype.name != "i8":
        raise NoMatch("its result is no single tensor of int8 codes")
    data = [value for value in graph.inputs if body.constant(value) is None]
    if len(data) != 1 or data[0].dtype.name != "i8":
        raise NoMatch("it reads more than one tensor of codes")
    value = data[0]
    if outputs[0].shape != value.shape or outputs[0].tensor_type.layout != value.tensor_type.layout:
        raise NoMatch("its result lies in another order")
    table = _table(body, value)
    return CKernel(
        kind="lookup",
        call=f"optc_lookup($table, $in{value.index}, $out0, {value.tensor_type.elements});",
        sources=("lookup.h",),
        constants=(Constant("table", table),),
        overlap={value.index: 0},
    )


def _table(body: Body, data: Value) -> np.ndarray:
    """The results for all codes: the body is run on them in place of the data."""
    type = data.tensor_type
    graph = Graph("table", [("codes", type.with_shape((256,)).with_layout(type.layout.__class__()))])
    mapping: dict[Value, Value] = {data: graph.inputs[0]}
    for operation in body.graph:
        if operation.name == CONSTANT:
            mapping[operation.result] = graph.append(clone_operation(operation, {})).result
            continue
        if declaration_of(operation.name).kind is not Kind.ELEMENTWISE or len(operation.results) != 1:
            raise NoMatch(f"{operation.name} is no function of one element")
        operands = []
        for operand in operation.operands:
            array = body.constant(operand)
            if array is not None and array.size != 1:
                raise NoMatch(f"{operation.name} reads a constant that differs from element to element")
            if operand is not None and operand not in mapping:
                if array is None:
                    raise NoMatch("it reads more than one tensor")
                mapping[operand] = graph.constant(array.reshape(()))
            operands.append(None if operand is None else mapping[operand])
        made: Operation = make_operation(operation.name, operands, operation.attributes)
        mapping[operation.results[0]] = graph.append(made).result
    graph.set_outputs([mapping[body.graph.outputs[0]]])
    if not any(operation.name in (QUANTIZE, DEQUANTIZE) for operation in graph):
        raise NoMatch("it computes on integers, not on codes")
    (table,) = evaluate_graph(graph, [_CODES])
    return table.reshape(-1).astype(np.int8)
