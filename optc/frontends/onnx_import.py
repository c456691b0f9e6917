"""ONNX graphs, with their nested graphs and functions, into IR graphs with inferred types."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np
import onnx
from onnx import defs

from optc.errors import ModelError
from optc.frontends.onnx_file import OLDEST_OPSET, ModelFile
from optc.frontends.onnx_functions import TAKEN_APART, schema_function, without_inputs
from optc.frontends.onnx_order import ordered_nodes
from optc.frontends.onnx_weights import WeightReader
from optc.frontends.opset_upgrade import NewerOperation, SourceNode, changed_since, known_version, upgrade
from optc.ir import dtypes
from optc.ir.core import CONSTANT, UNKNOWN, Attribute, Graph, Location, Operation, Value
from optc.ir.types import UNKNOWN_TYPE, TensorType, ValueType
from optc.ops import runtime_operations
from optc.ops.declaration import declared
from optc.ops.hints import density_from
from optc.ops.inference import make_operation, tolerating_misfits
from optc.ops.onnx_defaults import join_name, schema_of
from optc.ops.onnx_types import attribute_from_proto, type_from_proto
from optc.ops.shapes import describe
from optc.ops.signature import check_signature

_DEEPEST_CALL = 64  # functions calling functions; deeper means they call themselves

Scope = MutableMapping[str, Value]


@dataclass
class _Frame:
    """What the nodes of one graph or function body see.

    Attributes:
        graph: where operations go.
        scope: values by name, those of the graphs around it included.
        opsets: the version of each domain.
        attributes: the arguments of the function call, for references to its attributes.
        prefix: put before the names of values, so that two calls of a function differ.
        caller: the location of the call; empty outside functions.
        depth: how many calls are open.
    """

    graph: Graph
    scope: Scope
    opsets: Mapping[str, int]
    attributes: Mapping[str, onnx.AttributeProto] = field(default_factory=dict)
    prefix: str = ""
    caller: Location = UNKNOWN
    depth: int = 0


class _NodeBuilder:
    """Makes the operations that an adapter asks for."""

    def __init__(self, frame: _Frame, location: Location, label: str) -> None:
        self.frame = frame
        self.location = location
        self.label = label
        self.count = 0

    def _name(self) -> str:
        self.count += 1
        return f"{self.frame.prefix}{self.label}_{self.count}"

    def constant(self, array: np.ndarray) -> Value:
        return append_constant(self.frame.graph, array, self._name(), self.location)

    def emit(
        self,
        op_type: str,
        operands: Sequence[Value | None],
        attributes: dict[str, Attribute] | None = None,
        results: int = 1,
    ) -> Sequence[Value]:
        names = [self._name() for _ in range(results)]
        operation = make_operation(f"onnx.{op_type}", operands, attributes, result_names=names, location=self.location)
        self.frame.graph.append(operation)
        return operation.results


def append_constant(graph: Graph, array: np.ndarray, name: str, location: Location) -> Value:
    """Put a constant that shares the array's storage at the end of a graph."""
    type = TensorType(dtypes.from_numpy(array.dtype), tuple(array.shape))
    operation = Operation(CONSTANT, (), (type,), {"value": array}, result_names=(name,), location=location)
    return graph.append(operation).result


class Importer:
    """Imports the graphs of one model."""

    def __init__(self, model: ModelFile) -> None:
        self.model = model
        self.weights = WeightReader(model)
        self.functions = {(f.domain, f.name, f.overload): f for f in model.proto.functions}

    def main(self, input_types: Mapping[str, ValueType]) -> Graph:
        """The main graph for inputs of the given types.

        Raises:
            ModelError: something in the model is wrong or not supported; says what and where.
        """
        proto = self.model.proto.graph
        graph = Graph(proto.name or "main", list(input_types.items()))
        frame = _Frame(graph, ChainMap({value.name: value for value in graph.inputs}), self.model.opsets)
        self._body(proto, frame)
        return graph

    def _body(self, proto: onnx.GraphProto, frame: _Frame) -> None:
        self._initializers(proto, frame)
        declared_types = {value.name: value.type for value in (*proto.value_info, *proto.output)}
        for node, label in ordered_nodes(proto.node, frame.scope, self.model.label):
            self._node(node, label, frame, declared_types)
        outputs = []
        for index, value in enumerate(proto.output):
            if value.name in (other.name for other in proto.output[:index]):
                raise ModelError(
                    f"The graph has two outputs called '{value.name}'",
                    where=self.model.label,
                    hint="Every output needs a name of its own; export the model again.",
                )
            if value.name not in frame.scope:
                near = get_close_matches(value.name, list(frame.scope), n=1)
                raise ModelError(
                    f"The graph output '{value.name}' is no input, initializer or node output",
                    where=self.model.label,
                    hint=f"Did the exporter mean '{near[0]}'?" if near else None,
                )
            outputs.append(frame.scope[value.name])
        frame.graph.set_outputs(outputs, [value.name for value in proto.output])
        for operation in frame.graph:
            if operation.name == CONSTANT and not operation.result.uses:
                frame.graph.erase(operation)

    def _initializers(self, proto: onnx.GraphProto, frame: _Frame) -> None:
        local = frame.scope.maps[0] if isinstance(frame.scope, ChainMap) else frame.scope
        named = [(tensor.name, tensor) for tensor in proto.initializer]
        named += [(tensor.values.name, tensor) for tensor in proto.sparse_initializer]
        for name, tensor in named:
            if name in local:
                raise ModelError(
                    f"The name '{name}' is defined twice",
                    where=self.model.label,
                    why="by an initializer and by an input or another initializer",
                    hint="Every value of an ONNX graph must have a name of its own; export the model again.",
                )
            sparse = isinstance(tensor, onnx.SparseTensorProto)
            array = self.weights.read_sparse(tensor) if sparse else self.weights.read(tensor)
            local[name] = append_constant(frame.graph, array, frame.prefix + name, Location((name,)))

    def _node(
        self, node: onnx.NodeProto, label: str, frame: _Frame, declared_types: Mapping[str, onnx.TypeProto]
    ) -> None:
        domain = "" if node.domain == "ai.onnx" else node.domain
        location = frame.caller if frame.caller.nodes else Location((label,))
        operands = [frame.scope[name] if name else None for name in node.input]
        function = self.functions.get((node.domain, node.op_type, node.overload))
        results: Sequence[Value]
        if function is not None:
            results = self._call(function, node, label, operands, frame, location)
        else:
            results = self._operation(node, domain, label, operands, frame, location)
        for name, value in zip(node.output, results, strict=False):
            if name:
                frame.scope[name] = value
                if value.type == UNKNOWN_TYPE:
                    self._adopt(value, declared_types.get(name))

    def _adopt(self, value: Value, proto: onnx.TypeProto | None) -> None:
        """Believe what the file says of a value whose type inference could not tell."""
        if proto is None:
            return
        try:
            value.type = type_from_proto(proto, value.name)
        except ValueError as error:
            raise ModelError(
                f"The type of '{value.name}' cannot be imported", where=self.model.label, why=str(error)
            ) from error

    def _operation(
        self,
        node: onnx.NodeProto,
        domain: str,
        label: str,
        operands: list[Value | None],
        frame: _Frame,
        location: Location,
    ) -> Sequence[Value]:
        version = frame.opsets.get(domain)
        self._check_known(node, domain, version, label)
        version = version or 1
        try:
            attributes, graphs = self._attributes(node, operands, frame)
            schema = _schema(domain, node.op_type, version)
            if schema is not None:
                check_signature(schema, operands, len(node.output), attributes, graphs)
            names = [f"{frame.prefix}{name or f'{label}_output{i}'}" for i, name in enumerate(node.output)]
            if domain == "" and node.op_type == "Constant":
                array = _constant_array(attributes)
                return [append_constant(frame.graph, array, names[0], location)]
            source = SourceNode(
                domain, node.op_type, operands, attributes, len(names), _NodeBuilder(frame, location, label), graphs
            )
            if domain == "":
                try:
                    replaced = upgrade(source, version)
                except NewerOperation:
                    body = schema_function(defs.get_schema(node.op_type, version, ""), source)
                    if body is None:
                        raise
                    return self._call(body, node, label, source.operands, frame, location)
                if replaced is not None:
                    for value, name in zip(replaced, names, strict=False):
                        value.name = name
                    return replaced
            name = join_name(domain, source.op_type)
            body = (
                None
                if (name in declared() and name not in TAKEN_APART) or runtime_operations.knows(name)
                else schema_function(schema_of(name), source)
            )
            if body is not None:
                return self._call(body, node, label, source.operands, frame, location)
            operation = make_operation(
                name, source.operands, source.attributes, result_names=names, graphs=graphs, location=location
            )
        except ValueError as error:
            raise self._refused(node, label, domain, version, operands, str(error)) from error
        except (TypeError, IndexError, OverflowError, ZeroDivisionError) as error:
            # Attributes of the right kind with the wrong number of items, or absurd ones.
            reason = f"its attributes do not make sense together ({error})"
            raise self._refused(node, label, domain, version, operands, reason) from error
        if node.metadata_props:
            operation.attributes.update(density_from({each.key: each.value for each in node.metadata_props}))
        frame.graph.append(operation)
        return operation.results

    def _refused(
        self, node: onnx.NodeProto, label: str, domain: str, version: int, operands: Sequence[Value | None], reason: str
    ) -> ModelError:
        shapes = ", ".join(f"'{value.name}' {_describe_type(value.type)}" for value in operands if value is not None)
        opset = f"opset {version}" if not domain else f"{domain} {version}"
        return ModelError(
            f"The node '{label}' ({node.op_type}, {opset}) cannot be imported",
            where=self.model.label,
            why=reason,
            hint=f"Its inputs: {shapes}" if shapes else None,
        )

    def _check_known(self, node: onnx.NodeProto, domain: str, version: int | None, label: str) -> None:
        where, what = self.model.label, f"The node '{label}' uses the unknown operation '{node.op_type}'"
        try:
            schema_of(join_name(domain, node.op_type))
            known = True
        except KeyError:
            known = runtime_operations.knows(join_name(domain, node.op_type))
        if domain == "":
            assert version is not None
            if not known and not known_version("", node.op_type, version):
                near = get_close_matches(node.op_type, _all_operations(), n=1)
                raise ModelError(
                    what,
                    where=where,
                    why=f"ONNX opset {version} has no such operation",
                    hint=f"Did the exporter mean '{near[0]}'?"
                    if near
                    else "Export the model with standard operations.",
                )
            if version < OLDEST_OPSET and changed_since(node.op_type, version, OLDEST_OPSET):
                raise ModelError(
                    f"The node '{label}' uses '{node.op_type}' of ONNX opset {version}, which is too old",
                    where=where,
                    why=f"optc reads opsets from {OLDEST_OPSET} on, which changed the operation",
                    hint=f"Convert the model with onnx.version_converter.convert_version(model, {OLDEST_OPSET}).",
                )
            if not known_version("", node.op_type, version):
                since = min(s.since_version for s in _history(node.op_type))
                raise ModelError(
                    f"The node '{label}' uses '{node.op_type}', which ONNX opset {version} does not have",
                    where=where,
                    why=f"it came with opset {since}",
                    hint=f"Export the model with opset {max(since, OLDEST_OPSET)} or newer.",
                )
        elif not known:
            domains = sorted({function.domain for function in self.model.proto.functions})
            raise ModelError(
                f"{what} of the domain '{domain}'",
                where=where,
                why="neither ONNX, onnxruntime nor a function of the model defines it",
                hint=f"The model defines functions in {', '.join(domains)}."
                if domains
                else "Export the model with standard ONNX operations, or with the operation's function body.",
            )

    def _attributes(
        self, node: onnx.NodeProto, operands: Sequence[Value | None], frame: _Frame
    ) -> tuple[dict[str, Attribute], dict[str, Graph]]:
        attributes: dict[str, Attribute] = {}
        graphs: dict[str, Graph] = {}
        for proto in node.attribute:
            name = proto.name
            if proto.ref_attr_name:
                if proto.ref_attr_name not in frame.attributes:
                    continue  # the caller left it out: so does the node
                proto = frame.attributes[proto.ref_attr_name]
            if proto.HasField("g"):
                if node.op_type == "If":
                    with tolerating_misfits():
                        graphs[name] = self._nested(proto.g, name, frame)
                else:
                    graphs[name] = self._nested(proto.g, name, frame, _body_input_types(node, operands))
            else:
                attributes[name] = attribute_from_proto(proto)
        return attributes, graphs

    def _nested(self, proto: onnx.GraphProto, name: str, frame: _Frame, input_types: Sequence[ValueType] = ()) -> Graph:
        inputs = [(v.name, type_from_proto(v.type, v.name)) for v in proto.input]
        for position, type in enumerate(input_types[: len(inputs)]):
            if type != UNKNOWN_TYPE:  # what the caller passes is surer than what the body declares
                inputs[position] = (inputs[position][0], type)
        graph = Graph(name, [(frame.prefix + input_name, type) for input_name, type in inputs])
        local = {input_name: value for (input_name, _), value in zip(inputs, graph.inputs, strict=True)}
        scope = ChainMap(local, *(frame.scope.maps if isinstance(frame.scope, ChainMap) else [frame.scope]))
        nested = _Frame(graph, scope, frame.opsets, frame.attributes, frame.prefix, frame.caller, frame.depth)
        self._body(proto, nested)
        return graph

    def _call(
        self,
        function: onnx.FunctionProto,
        node: onnx.NodeProto,
        label: str,
        operands: Sequence[Value | None],
        frame: _Frame,
        location: Location,
    ) -> list[Value]:
        """Inline a function: its nodes go where the call stands."""
        if frame.depth > _DEEPEST_CALL:
            raise ModelError(
                f"The function '{function.name}' calls itself", where=self.model.label, why=f"at the node '{label}'"
            )
        given = {attribute.name: attribute for attribute in node.attribute}
        for attribute in function.attribute_proto:
            given.setdefault(attribute.name, attribute)
        for name, proto in list(given.items()):
            if proto.ref_attr_name:
                if proto.ref_attr_name in frame.attributes:
                    given[name] = frame.attributes[proto.ref_attr_name]
                else:
                    del given[name]
        scope: Scope = ChainMap({})
        absent: set[str] = set(function.input[len(operands) :])
        for name, value in zip(function.input, operands, strict=False):
            if value is None:
                absent.add(name)
            else:
                scope[name] = value
        opsets = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in function.opset_import}
        inner = _Frame(
            frame.graph, scope, {**frame.opsets, **opsets}, given, f"{frame.prefix}{label}/", location, frame.depth + 1
        )
        nodes = [without_inputs(item, absent) for item in function.node]
        for item, item_label in ordered_nodes(nodes, scope, self.model.label):
            self._node(item, item_label, inner, {})
        missing = [name for name in function.output[: len(node.output)] if name not in scope]
        if missing:
            raise ModelError(
                f"The function '{function.name}' does not define its output '{missing[0]}'", where=self.model.label
            )
        results = [scope[name] for name in function.output[: len(node.output)]]
        for value, name in zip(results, node.output, strict=True):
            if name and value.producer is not None and value not in operands:
                value.name = frame.prefix + name
        return results


def _schema(domain: str, op_type: str, version: int) -> defs.OpSchema | None:
    """Of the version that the model imports; the newest one where it imports none that its domain has."""
    if known_version(domain, op_type, version):
        return defs.get_schema(op_type, version, domain)
    try:
        return schema_of(join_name(domain, op_type)) if domain else None
    except KeyError:
        return None


def _describe_type(type: ValueType) -> str:
    return describe(type.shape) if isinstance(type, TensorType) else type.description


def _body_input_types(node: onnx.NodeProto, operands: Sequence[Value | None]) -> list[ValueType]:
    """The types that a Loop or Scan gives the inputs of its body on the first turn."""
    types = [UNKNOWN_TYPE if value is None else value.type for value in operands]
    if node.op_type == "Loop":
        return [TensorType(dtypes.INT64, ()), TensorType(dtypes.BOOL, ()), *types[2:]]
    if node.op_type != "Scan":
        return []
    scanned = next((a.i for a in node.attribute if a.name == "num_scan_inputs"), 0)
    axes = next((list(a.ints) for a in node.attribute if a.name == "scan_input_axes"), []) or [0] * scanned
    for position, axis in enumerate(axes, start=len(types) - scanned):
        type = types[position]
        if isinstance(type, TensorType) and type.shape:
            axis %= len(type.shape)
            types[position] = type.with_shape(type.shape[:axis] + type.shape[axis + 1 :])
    return types


def _constant_array(attributes: Mapping[str, Attribute]) -> np.ndarray:
    """The value of a Constant node, in whichever of its attributes it stands."""
    ((name, value),) = attributes.items()
    if isinstance(value, np.ndarray):
        return value
    if "string" in name:
        return np.asarray(value, dtype=object)
    return np.asarray(value, dtype=np.float32 if "float" in name else np.int64)


def _history(op_type: str) -> list[defs.OpSchema]:
    return [s for s in defs.get_all_schemas_with_history() if s.name == op_type and s.domain == ""]


def _all_operations() -> list[str]:
    return sorted({schema.name for schema in defs.get_all_schemas() if schema.domain == ""})
