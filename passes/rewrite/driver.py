"""Applies rules to a fixed point, and remarks on what it did and on what it nearly did."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

from optc.errors import InternalError
from optc.ir.core import CONSTANT, Location, Module, Operation, Value
from optc.ir.verifier import compatible
from optc.passes.base import PassContext, Remark
from optc.passes.rewrite.builder import Builder
from optc.passes.rewrite.rules import Miss, Rule
from optc.passes.rewrite.types import propagate_types, refined

REPEATS = 64  # rewrites for each operation of the module before rules are taken to chase each other


def apply_rules(module: Module, rules: Sequence[Rule], context: PassContext, pass_name: str) -> bool:
    """Apply `rules` everywhere in `module`, nested graphs included, until none applies; whether one did.

    At one operation the rules are tried in their order. What a rewrite makes carries the locations of all that it
    replaced, the result keeps its name, and the operations around it are looked at again.

    Raises:
        InternalError: rules undo each other without end, or one changes a type.
    """
    return _Driver(module, rules, context, pass_name).run()


class _Driver:
    def __init__(self, module: Module, rules: Sequence[Rule], context: PassContext, pass_name: str) -> None:
        self.context = context
        self.pass_name = pass_name
        self.rules: dict[str, list[Rule]] = defaultdict(list)
        for rule in rules:
            for root in rule.roots:
                self.rules[root].append(rule)
        self.waiting: deque[Operation] = deque()
        self.queued: set[Operation] = set()
        self.dead: set[Operation] = set()
        self.applied: dict[str, list[Location]] = defaultdict(list)
        self.missed: dict[tuple[str, Operation], Miss] = {}
        self.push(module.walk())
        self.limit = REPEATS * (len(self.waiting) + 16)

    def push(self, operations: Iterable[Operation]) -> None:
        for operation in operations:
            if operation.name in self.rules and operation not in self.queued:
                self.queued.add(operation)
                self.waiting.append(operation)

    def run(self) -> bool:
        count = 0
        while self.waiting:
            operation = self.waiting.popleft()
            self.queued.discard(operation)
            for rule in self.rules[operation.name]:
                if operation in self.dead or operation.graph is None:
                    break
                if self.try_rule(rule, operation):
                    count += 1
                    if count > self.limit:
                        raise InternalError(f"the rules of {self.pass_name} undo each other", where=rule.name)
                    break
        self.remark()
        return count > 0

    def try_rule(self, rule: Rule, operation: Operation) -> bool:
        builder = Builder(operation)
        try:
            outcome = rule.apply(builder, operation)
        except ValueError as error:
            outcome = Miss(str(error))
        key = rule.name, operation
        if outcome is None or isinstance(outcome, Miss):
            builder.discard_unused()
            if outcome is None:
                self.missed.pop(key, None)
            else:
                self.missed[key] = outcome
            return False
        self.replace(rule, operation, outcome, builder)
        return True

    def replace(self, rule: Rule, operation: Operation, values: Sequence[Value | None], builder: Builder) -> None:
        assert len(values) == len(operation.results), rule.name
        created = set(builder.created)
        sharper: list[Value] = []
        for old, new in zip(operation.results, values, strict=True):
            if new is None:
                assert not old.uses, rule.name
                continue
            if (difference := compatible(old.type, new.type)) is not None:
                where = f"'{old.name}', {operation.location}"
                raise InternalError(f"the rule {rule.name} changes a type", where=where, why=difference)
            new.type = refined(new.type, old.type)
            if new.type != old.type:
                sharper.append(new)
            if new.producer in created:
                new.name = old.name
            old.replace_by(new)
        location = self.erase(operation)
        builder.discard_unused()
        for item in builder.created:
            item.location = item.location + location
        self.applied[rule.name].append(location)
        self.push(propagate_types(sharper))
        self.push(builder.created)
        self.push(user for value in values if value is not None for user in value.users)
        self.push(value.producer for item in created for value in item.present_operands if value.producer is not None)

    def erase(self, operation: Operation) -> Location:
        """Remove an operation and what only it needed; returns their merged location, in order of execution."""
        locations: list[Location] = []
        waiting = [operation]
        while waiting:
            item = waiting.pop()
            if item.graph is None or any(result.uses for result in item.results):
                continue
            operands = [value.producer for nested in item.walk() for value in nested.present_operands]
            if item.name != CONSTANT:
                locations.append(item.location)
            self.dead.update(item.walk())
            item.graph.erase(item)
            alive = [producer for producer in operands if producer is not None and producer not in self.dead]
            waiting += alive
            self.push(user for producer in alive for result in producer.results for user in result.users)
            self.push(alive)
        return Location(tuple(dict.fromkeys(node for item in reversed(locations) for node in item.nodes)))

    def remark(self) -> None:
        for name, locations in self.applied.items():
            times = "once" if len(locations) == 1 else f"{len(locations)} times"
            nodes = tuple(dict.fromkeys(node for location in locations for node in location.nodes))
            self.context.remarks.append(Remark(self.pass_name, "applied", name, times, Location(nodes)))
        nearest: dict[str, tuple[Miss, Operation]] = {}
        for (name, operation), miss in self.missed.items():
            alive = operation.graph is not None and operation not in self.dead
            if alive and (name not in nearest or miss.nearness > nearest[name][0].nearness):
                nearest[name] = miss, operation
        for name, (miss, operation) in nearest.items():
            self.context.remarks.append(Remark(self.pass_name, "missed", name, miss.reason, operation.location))
