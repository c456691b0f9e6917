"""Choose between plain and channel-blocked storage for every value, and insert the conversions which that needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from optc.costmodel.analytical import AnalyticalCostModel
from optc.ir.core import CONSTANT, Graph, Module, Operation, Value
from optc.ir.types import PLAIN, Layout, TensorType
from optc.passes.base import Pass, PassContext, Remark
from optc.passes.layout.cut import LabelProblem, Node
from optc.passes.layout.pricing import RELAYOUT, Question, price, price_relayouts
from optc.passes.layout.rules import CHANNEL_AXIS, Port, Rule, blockable_type, rule_of


@dataclass(frozen=True)
class AssignLayouts(Pass):
    """Store activations in blocks of channels where the cost model says that it pays.

    Every operation that can work on blocks is labelled blocked or plain by a minimum cut over its predicted costs and
    those of the `optc.relayout` conversions between neighbours. Model inputs and outputs and constants stay plain.

    Attributes:
        block: channels a block; 0 takes the target's `channel_block`.
    """

    name: ClassVar[str] = "layout"
    block: int = 0

    def run(self, module: Module, context: PassContext) -> bool:
        block = channels_a_block(self.block, context)
        # A branch reads what the graph around it made plain.
        return block > 1 and any([_GraphLayouts(graph, block, context).run() for graph in _with_branches(module.main)])


def _with_branches(graph: Graph) -> Iterator[Graph]:
    """A graph, and then those of the branches in it."""
    yield graph
    for operation in graph:
        if operation.name == "onnx.If":
            for branch in operation.graphs.values():
                yield from _with_branches(branch)


def channels_a_block(wanted: int, context: PassContext) -> int:
    """`wanted`, or the target's `channel_block` for 0; 1 where there is no target to block for."""
    if context.target is None:
        return 1
    return wanted or context.target.channel_block


def predicted_seconds(graph: Graph, block: int, context: PassContext) -> float:
    """What a graph is predicted to cost with the best layouts, conversions included, before fusion."""
    return _GraphLayouts(graph, block, context).problem().minimum()


def _is_priced(operation: Operation) -> bool:
    """Whether a cost model can tell what an operation costs."""
    values = (*operation.present_operands, *operation.results)
    return not operation.graphs and all(isinstance(v.type, TensorType) and v.type.is_static for v in values)


class _GraphLayouts:
    """Holds what labelling one graph works out."""

    def __init__(self, graph: Graph, block: int, context: PassContext) -> None:
        assert context.target is not None
        self.graph = graph
        self.block = block
        self.context = context
        self.target = context.target
        self.model = context.cost_model or AnalyticalCostModel()
        self.layout = Layout(blocks=((CHANNEL_AXIS, block),))
        self.operations = [operation for operation in graph if operation.name != CONSTANT]
        self.rules = {operation: self._rule(operation) for operation in self.operations}

    def run(self) -> bool:
        if all(rule.refusal for rule in self.rules.values()):
            self._remark(set())
            return False
        blocked = self.problem().solve()
        for operation in self.operations:
            if operation in blocked:
                for result in operation.results:
                    result.type = result.tensor_type.with_layout(self.layout)
        self._convert(blocked)
        self._remark(blocked)
        return bool(blocked)

    def _rule(self, operation: Operation) -> Rule:
        reason = self.context.supports(operation)
        if reason is not None:
            return Rule((Port.PLAIN,) * len(operation.operands), f"no native code: {reason}")
        return rule_of(operation, self.block)

    def problem(self) -> LabelProblem:
        """The energy of every labelling of the operations and ports."""
        problem = LabelProblem()
        questions: list[Question] = []
        priced = {operation: rule for operation, rule in self.rules.items() if _is_priced(operation)}
        for operation, rule in priced.items():
            questions += self._questions(operation, rule)
        seconds = dict(zip(questions, price(questions, self.model, self.target), strict=True))
        for operation, rule in priced.items():
            self._operation_cost(problem, operation, rule, seconds)
        values = self._values()
        changeable = [value for value in values if blockable_type(value, self.block) is None]
        prices = price_relayouts(changeable, self.layout, self.model, self.target)
        for value, cost in zip(changeable, prices, strict=True):
            problem.conversion_cost(self._producer_node(value), self._consumers(value), cost)
        return problem

    def _own_port(self, operation: Operation, rule: Rule) -> int | None:
        """The position of the operand whose layout is chosen apart from the results'."""
        for position, port in enumerate(rule.ports):
            value = operation.operands[position]
            if port is Port.OWN and value is not None and blockable_type(value, self.block) is None:
                return position
        return None

    def _questions(self, operation: Operation, rule: Rule) -> list[Question]:
        results = (PLAIN, self.layout) if rule.refusal is None else (PLAIN,)
        own = self._own_port(operation, rule)
        return [
            self._question(operation, rule, own, source, result)
            for result in results
            for source in ((PLAIN, self.layout) if own is not None else (PLAIN,))
        ]

    def _question(self, operation: Operation, rule: Rule, own: int | None, source: Layout, result: Layout) -> Question:
        follows = [(position, result) for position, port in enumerate(rule.ports) if port is Port.FOLLOWS]
        chosen = [(own, source)] if own is not None else []
        return Question(operation, tuple(follows + chosen), result)

    def _operation_cost(
        self, problem: LabelProblem, operation: Operation, rule: Rule, seconds: dict[Question, float]
    ) -> None:
        own = self._own_port(operation, rule)

        def cost(source: Layout, result: Layout) -> float:
            return seconds[self._question(operation, rule, own, source, result)]

        if rule.refusal is not None:
            plain = cost(PLAIN, PLAIN)
            if own is None:
                problem.constant += plain
            else:
                problem.label_cost((operation, own), blocked=cost(self.layout, PLAIN), plain=plain)
            return
        if own is None:
            problem.label_cost(operation, blocked=cost(PLAIN, self.layout), plain=cost(PLAIN, PLAIN))
            return
        # E(source, result) as label costs plus a pair cost; what is left over is never negative for a model in which
        # equal layouts are no worse than different ones.
        both_plain, both_blocked = cost(PLAIN, PLAIN), cost(self.layout, self.layout)
        into_plain, into_blocked = cost(self.layout, PLAIN), cost(PLAIN, self.layout)
        port: Node = (operation, own)
        problem.label_cost(port, blocked=into_plain, plain=both_plain)
        problem.label_cost(operation, blocked=both_blocked, plain=into_plain)
        problem.pair_cost(operation, port, into_plain + into_blocked - both_plain - both_blocked)
        problem.constant -= into_plain

    def _values(self) -> list[Value]:
        made = [*self.graph.inputs, *(result for operation in self.operations for result in operation.results)]
        read = (value for operation in self.operations for value in operation.present_operands)
        return list(dict.fromkeys([*made, *(value for value in read if not value.is_constant)]))

    def _producer_node(self, value: Value) -> Node:
        producer = value.producer
        rule = None if producer is None else self.rules.get(producer)  # none of what a branch captures
        return producer if producer is not None and rule is not None and not rule.refusal else LabelProblem.PLAIN

    def _consumers(self, value: Value) -> list[Node]:
        """The labels that the readers of a value want it to have."""
        nodes: dict[Node, None] = {}
        for operation, position in value.uses:
            node = self._consumer_node(operation, position, value)
            if node is not None:
                nodes[node] = None
        return list(nodes)

    def _consumer_node(self, operation: Operation, position: int, value: Value) -> Node | None:
        rule = self.rules.get(operation)
        if rule is None:  # the terminator, or an operation of a nested graph
            return LabelProblem.PLAIN
        port = rule.ports[position]
        if port is Port.ANY:
            return None
        if port is Port.OWN:
            return (operation, position) if self._own_port(operation, rule) == position else None
        if port is Port.FOLLOWS and rule.refusal is None:
            return operation
        return LabelProblem.PLAIN

    def _convert(self, blocked: set[Node]) -> None:
        """Insert a relayout, shared by all who need it, where a reader wants another layout than a value has."""
        for value in self._values():
            if not isinstance(value.type, TensorType) or blockable_type(value, self.block) is not None:
                continue
            have = value.type.layout
            readers = []
            for operation, position in value.uses:
                node = self._consumer_node(operation, position, value)
                want = self.layout if node in blocked else PLAIN
                if node is not None and want != have:
                    readers.append((operation, position))
            if readers:
                self._insert_relayout(value, PLAIN if have == self.layout else self.layout, readers)

    def _insert_relayout(self, value: Value, layout: Layout, readers: Sequence[tuple[Operation, int]]) -> None:
        producer = value.producer
        suffix = "blocked" if layout == self.layout else "plain"
        location = producer.location if producer is not None else readers[0][0].location
        relayout = Operation(
            RELAYOUT,
            (value,),
            (value.tensor_type.with_layout(layout),),
            result_names=(f"{value.name}.{suffix}",),
            location=location,
        )
        here = producer is not None and producer.graph is self.graph
        self.graph.insert(relayout, producer.next if here and producer is not None else self._first_operation())
        for operation, position in readers:
            operation.set_operand(position, relayout.result)
        (cost,) = price_relayouts([value], layout, self.model, self.target)
        reason = f"'{value.name}' is read {suffix}"
        remark = Remark(AssignLayouts.name, "applied", "relayout", reason, location, {"seconds": cost})
        self.context.remarks.append(remark)

    def _first_operation(self) -> Operation | None:
        return next((operation for operation in self.graph if operation.name != CONSTANT), None)

    def _remark(self, blocked: set[Node]) -> None:
        for operation, rule in self.rules.items():
            if operation.name not in ("onnx.Conv", "onnx.ConvTranspose"):
                continue
            if operation in blocked:
                reason = f"channels in blocks of {self.block} are predicted to be faster"
                self.context.remarks.append(Remark(AssignLayouts.name, "applied", "block", reason, operation.location))
            else:
                reason = rule.refusal or "plain storage is predicted to be no slower, conversions included"
                self.context.remarks.append(Remark(AssignLayouts.name, "missed", "block", reason, operation.location))
