"""From the IR to ONNX: single nodes, and whole models that onnxruntime and other tools load."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from optc.ir.core import CONSTANT, Graph, Module, Operation, Value
from optc.ops.hints import DENSITY_KEY, HINTS, density_of
from optc.ops.onnx_defaults import opset_imports, schema_of, split_name
from optc.ops.onnx_types import array_to_proto, attribute_to_proto, type_to_proto
from optc.ops.restriction import RESTRICT

EXTERNAL_ALIGNMENT = 4096  # bytes; lets a loader map each tensor by itself


def make_node(
    operation: Operation,
    inputs: Sequence[str],
    outputs: Sequence[str],
    graphs: dict[str, onnx.GraphProto] | None = None,
) -> onnx.NodeProto:
    """One node with given names; nested graphs must be given where the operation has them."""
    domain, op_type = split_name(operation.name)
    node = onnx.NodeProto(op_type=op_type)
    if domain:
        node.domain = domain
    if operation.location.nodes:
        node.name = ", ".join(operation.location.nodes)
    node.input.extend(_trimmed(inputs))
    node.output.extend(outputs)
    kinds = _attribute_kinds(operation.name)
    for name in sorted(operation.attributes.keys() - HINTS):
        node.attribute.append(attribute_to_proto(name, operation.attributes[name], kinds.get(name)))
    if (density := density_of(operation)) is not None:
        node.metadata_props.add(key=DENSITY_KEY, value=repr(density))
    for name in sorted(operation.graphs):
        proto = (graphs or {}).get(name) or _Exporter().graph(operation.graphs[name])
        node.attribute.append(helper.make_attribute(name, proto))
    return node


def _attribute_kinds(name: str) -> dict[str, int]:
    """The AttributeProto.AttributeType of each attribute; empty where nobody knows the operation."""
    from optc.ops import runtime_operations

    try:
        return {key: int(attribute.type.value) for key, attribute in schema_of(name).attributes.items()}
    except KeyError:
        return runtime_operations.attribute_kinds(name) if runtime_operations.knows(name) else {}


def to_onnx_node(operation: Operation) -> onnx.NodeProto:
    """One operation as an ONNX node, its values under their own names.

    Nested graphs are written out; what they capture is read by name.
    """
    return make_node(
        operation,
        ["" if value is None else value.name for value in operation.operands],
        [value.name for value in operation.results],
    )


def to_onnx_model(
    source: Module | Graph, *, external_data: Path | None = None, external_threshold: int = 1 << 20
) -> onnx.ModelProto:
    """A graph as a model of its own.

    Inputs and outputs keep their names; other names are kept as far as they are unique. `optc.fused` bodies are
    inlined, `optc.relayout` becomes Identity (ONNX knows logical shapes only), `optc.restrict` a comparison and a
    choice, constants become initializers.

    Args:
        source: a module, or a graph that reads nothing from around it.
        external_data: a file, next to where the model will be saved, that takes the large constants; without it they
            stand inside the model, which cannot then be saved beyond 2 GB.
        external_threshold: constants of at least this many bytes go to the file.
    """
    graph = source.main if isinstance(source, Module) else source
    name = source.name if isinstance(source, Module) else graph.name
    store = None if external_data is None else _ExternalStore(external_data, external_threshold)
    exporter = _Exporter(store)
    try:
        proto = exporter.graph(graph, entry=True)
    finally:
        if store is not None:
            store.close()
    proto.name = name or "model"
    imports = opset_imports(graph.walk())
    model = helper.make_model(proto, opset_imports=imports, producer_name="optc")
    model.ir_version = helper.find_min_ir_version_for(
        [item for item in imports if item.domain in ("", "ai.onnx.ml")], ignore_unknown=True
    )
    return model


class _ExternalStore:
    """Appends arrays to one file and hands out their places."""

    def __init__(self, path: Path, threshold: int) -> None:
        self.path = path
        self.threshold = threshold
        self._file = path.open("wb")

    def tensor(self, array: np.ndarray, name: str) -> onnx.TensorProto | None:
        """A TensorProto that points into the file; None where the array is small."""
        if array.nbytes < self.threshold or array.dtype.kind in "OUS":
            return None
        proto = array_to_proto(np.empty(0, array.dtype), name)
        if not proto.HasField("raw_data"):
            return None
        proto.ClearField("raw_data")
        proto.ClearField("dims")
        proto.dims.extend(array.shape)
        self._file.seek(-(-self._file.tell() // EXTERNAL_ALIGNMENT) * EXTERNAL_ALIGNMENT)
        offset = self._file.tell()
        self._file.write(np.ascontiguousarray(array).data)
        proto.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", self.path.name), ("offset", offset), ("length", array.nbytes)):
            proto.external_data.add(key=key, value=str(value))
        return proto

    def close(self) -> None:
        self._file.close()


_CONVERSIONS = frozenset({"onnx.QuantizeLinear", "onnx.DequantizeLinear"})
"""They leave the name of a node to the operation that it was, where that stands beside them."""


class _Exporter:
    """Holds the names given so far: ONNX wants them unique across all nested graphs."""

    def __init__(self, store: _ExternalStore | None = None) -> None:
        self.names: dict[Value, str] = {}
        self.taken: set[str] = set()
        self.node_names: dict[str, int] = {}
        self.store = store

    def name(self, value: Value) -> str:
        if value not in self.names:
            self.names[value] = self.unique(value.name)
        return self.names[value]

    def unique(self, wanted: str) -> str:
        name = wanted or "value"
        number = 0
        while name in self.taken:
            number += 1
            name = f"{wanted or 'value'}_{number}"
        self.taken.add(name)
        return name

    def _node_name(self, wanted: str) -> str:
        """Unique among the nodes: one source node can have become several."""
        name = wanted
        while name in self.node_names:
            self.node_names[wanted] += 1
            name = f"{wanted}_{self.node_names[wanted]}"
        self.node_names[name] = 0
        return name

    def graph(self, graph: Graph, entry: bool = False) -> onnx.GraphProto:
        proto = onnx.GraphProto(name=graph.name or "graph")
        for value in graph.inputs:
            self.names[value] = value.name if entry else self.unique(value.name)
            self.taken.add(self.names[value])
        self._reserve_outputs(graph, entry)
        for value in graph.inputs:
            proto.input.append(onnx.ValueInfoProto(name=self.names[value], type=type_to_proto(value.type)))
        self._operations(graph, proto)
        for value, name in zip(graph.outputs, self.output_names, strict=True) if entry else self._nested_outputs(graph):
            source = self.name(value)
            if source != name:
                proto.node.append(helper.make_node("Identity", [source], [name]))
            proto.output.append(onnx.ValueInfoProto(name=name, type=type_to_proto(value.type)))
        return proto

    def _reserve_outputs(self, graph: Graph, entry: bool) -> None:
        if not entry:
            return
        self.output_names: list[str] = []
        for value, wanted in zip(graph.outputs, graph.output_names or [v.name for v in graph.outputs], strict=True):
            # An input returned under its own name needs no node; a second use of a name cannot be kept.
            if self.names.get(value) == wanted and wanted not in self.output_names:
                name = self.unique(f"{wanted}_out")
            else:
                name = self.unique(wanted)
            self.output_names.append(name)
            if value.producer is not None and not value.is_constant and value not in self.names:
                self.names[value] = name

    def _nested_outputs(self, graph: Graph) -> Iterable[tuple[Value, str]]:
        """Branch outputs must be made inside the branch, each under a name of its own."""
        seen: set[Value] = set()
        for value in graph.outputs:
            producer = value.producer
            inside = producer is not None and producer.graph is graph and not value.is_constant
            own = inside and value not in seen
            seen.add(value)
            yield value, (self.name(value) if own else self.unique(f"{value.name}_out"))

    def _operations(self, graph: Graph, proto: onnx.GraphProto) -> None:
        computing = {operation.location for operation in graph if operation.name not in _CONVERSIONS}
        for operation in graph:
            if operation.name == CONSTANT:
                self._constant(operation, proto)
            elif operation.name == "optc.fused":
                self._inline(operation, proto)
            elif operation.name == RESTRICT:
                self._restriction(operation, proto)
            elif operation.name == "optc.relayout":
                proto.node.append(helper.make_node("Identity", self._inputs(operation), self._outputs(operation)))
            else:
                nested = {name: self.graph(body) for name, body in sorted(operation.graphs.items())}
                node = make_node(operation, self._inputs(operation), self._outputs(operation), nested)
                wanted = node.name or node.op_type
                if operation.name in _CONVERSIONS and node.name and operation.location in computing:
                    wanted = f"{node.name}_{node.op_type}"
                node.name = self._node_name(wanted)
                proto.node.append(node)

    def _restriction(self, operation: Operation, proto: onnx.GraphProto) -> None:
        data, bound = self._inputs(operation)
        result = self.name(operation.result)
        zero, magnitude, inside = (self.unique(f"{result}.{part}") for part in ("zero", "magnitude", "inside"))
        proto.initializer.append(array_to_proto(np.zeros((), operation.result.dtype.numpy), zero))
        wanted = ", ".join(operation.location.nodes) or result
        for kind, inputs, output in (
            ("Abs", [data], magnitude),
            ("LessOrEqual", [magnitude, bound], inside),
            ("Where", [inside, data, zero], result),
        ):
            proto.node.append(helper.make_node(kind, inputs, [output], self._node_name(f"{wanted}_{kind}")))

    def _constant(self, operation: Operation, proto: onnx.GraphProto) -> None:
        array = operation.attributes["value"]
        assert isinstance(array, np.ndarray)
        name = self.name(operation.result)
        external = None if self.store is None else self.store.tensor(array, name)
        proto.initializer.append(external or array_to_proto(array, name))

    def _inline(self, operation: Operation, proto: onnx.GraphProto) -> None:
        body = operation.graphs["body"]
        for inner, outer in zip(body.inputs, operation.operands, strict=True):
            assert outer is not None
            self.names[inner] = self.name(outer)
        for inner, outer in zip(body.outputs, operation.results, strict=True):
            if inner.producer is not None and not inner.is_constant and inner not in self.names:
                self.names[inner] = self.name(outer)
        self._operations(body, proto)
        for inner, outer in zip(body.outputs, operation.results, strict=True):
            if self.name(inner) != self.name(outer):
                proto.node.append(helper.make_node("Identity", [self.name(inner)], [self.name(outer)]))

    def _inputs(self, operation: Operation) -> list[str]:
        return ["" if value is None else self.name(value) for value in operation.operands]

    def _outputs(self, operation: Operation) -> list[str]:
        """Output names; results that nobody reads are left out: asking for them can cost time or change meaning.

        A loop's and a branch's stay: onnxruntime crashes on those that are absent.
        """
        if operation.graphs:
            return [self.name(value) for value in operation.results]
        names = [self.name(value) if value.uses else "" for value in operation.results]
        required = 1
        try:
            required = max(1, schema_of(operation.name).min_output)
        except KeyError:
            pass
        for position in range(min(required, len(names))):
            names[position] = self.name(operation.results[position])
        return _trimmed(names)


def _trimmed(names: Sequence[str]) -> list[str]:
    """Without the absent ones at the end."""
    kept = list(names)
    while kept and not kept[-1]:
        kept.pop()
    return kept
