"""The rewrite facility: matching, near misses, and what the driver keeps right."""

from __future__ import annotations

import numpy as np
import pytest

from optc.errors import InternalError
from optc.ir.core import Module, Operation, Value
from optc.ir.parser import parse_module
from optc.ir.printer import print_module
from optc.ir.verifier import verify
from optc.passes.base import PassContext, Remark
from optc.passes.rewrite import Builder, Match, Miss, PatternRule, Rule, apply_rules, on
from optc.passes.rewrite.pattern import Pattern, PatternBuilder


def rewritten(text: str, *rules: Rule) -> tuple[Module, list[Remark]]:
    """The module after the rules, verified, and the remarks."""
    module = parse_module(text)
    context = PassContext()
    apply_rules(module, rules, context, "test")
    verify(module)
    return module, context.remarks


def names(module: Module) -> list[str]:
    return [item.name.removeprefix("onnx.") for item in module.main if item.name != "optc.constant"]


def graph(body: str, result: str = "y", header: str = "%x: tensor<4xf32>, %z: tensor<4xf32>") -> str:
    return f'graph @main({header}) -> ("{result}") {{\n{body}\n return %{result}\n}}'


class Twice(PatternRule):
    """x + x·2 → x·3, to have a shared operand."""

    def pattern(self, op: PatternBuilder, x: Pattern) -> Pattern:
        return x + x * 2

    def rewrite(self, op: Builder, x: Value) -> Value:
        return op.Mul(x, 3)


class Distribute(PatternRule):
    """relu(a)·relu(b) + relu(a)"""

    def pattern(self, op: PatternBuilder, a: Pattern, b: Pattern) -> Pattern:
        left = op.Relu(a)
        return left * op.Relu(b) + left

    def rewrite(self, op: Builder, a: Value, b: Value) -> Value:
        return op.Mul(op.Relu(a), op.Add(op.Relu(b), 1))


TWO = "%two = optc.constant {value = dense<2.0> : tensor<f32>} : tensor<f32>\n"


@pytest.mark.parametrize(
    "body",
    [
        "%a = onnx.Mul(%x, %two) : tensor<4xf32>\n%y = onnx.Add(%x, %a) : tensor<4xf32>",
        "%a = onnx.Mul(%two, %x) : tensor<4xf32>\n%y = onnx.Add(%a, %x) : tensor<4xf32>",
    ],
)
def test_operands_of_commutative_operations_match_in_any_order(body: str) -> None:
    module, remarks = rewritten(graph(TWO + body), Twice())
    assert names(module) == ["Mul"]
    assert [(r.status, r.what, r.reason) for r in remarks] == [("applied", "twice", "once")]


def test_a_variable_is_the_same_value_everywhere() -> None:
    body = TWO + "%a = onnx.Mul(%z, %two) : tensor<4xf32>\n%y = onnx.Add(%x, %a) : tensor<4xf32>"
    module, remarks = rewritten(graph(body), Twice())
    assert names(module) == ["Mul", "Add"]
    assert [(r.status, r.reason) for r in remarks] == [("missed", "x would be both 'x' and 'z'")]


def test_shared_operations_of_a_pattern_are_one_operation() -> None:
    shared = """%a = onnx.Relu(%x) : tensor<4xf32>
    %b = onnx.Relu(%z) : tensor<4xf32>
    %c = onnx.Mul(%b, %a) : tensor<4xf32>
    %y = onnx.Add(%c, {}) : tensor<4xf32>"""
    module, _ = rewritten(graph(shared.format("%a")), Distribute())
    assert sorted(names(module)) == ["Add", "Mul", "Relu", "Relu"]
    assert module.main.outputs[0].producer is not None and module.main.outputs[0].producer.name == "onnx.Mul"
    other, _ = rewritten(graph(shared.format("%x")), Distribute())
    assert other.main.outputs[0].producer is not None and other.main.outputs[0].producer.name == "onnx.Add"


def test_an_intermediate_value_with_other_readers_stops_a_pattern() -> None:
    body = TWO + (
        '%a = onnx.Mul(%x, %two) : tensor<4xf32>\n%y = onnx.Add(%x, %a) : tensor<4xf32> loc("sum")\n'
        '%n = onnx.Neg(%a) : tensor<4xf32> loc("reader")\n%w = onnx.Add(%y, %n) : tensor<4xf32>'
    )
    _, remarks = rewritten(graph(body, "w"), Twice())
    missed = [r for r in remarks if r.status == "missed"]
    assert [(r.reason, str(r.location)) for r in missed] == [("'a' is also read by onnx.Neg 'reader'", "'sum'")]


def test_only_the_nearest_miss_is_remarked_on() -> None:
    far = "".join(f"%f{i} = onnx.Add(%x, %z) : tensor<4xf32>\n" for i in range(20))
    near = "".join(
        f'%m{i} = onnx.Mul(%x, %three) : tensor<4xf32>\n%n{i} = onnx.Add(%x, %m{i}) : tensor<4xf32> loc("n{i}")\n'
        for i in range(20)
    )
    three = "%three = optc.constant {value = dense<3.0> : tensor<f32>} : tensor<f32>\n"
    _, remarks = rewritten(graph(three + far + near, "n3"), Twice())
    assert [(r.status, r.reason, str(r.location)) for r in remarks] == [
        ("missed", "'three' is 3 where 2 is expected", "'n0'")
    ]


def test_names_and_locations_survive() -> None:
    body = TWO + (
        '%a = onnx.Mul(%x, %two) : tensor<4xf32> loc("mul")\n%y = onnx.Add(%x, %a) : tensor<4xf32> loc("add")'
    )
    module, remarks = rewritten(graph(body), Twice())
    (result,) = module.main.outputs
    assert result.name == "y" and result.producer is not None
    assert result.producer.location.nodes == ("mul", "add") == remarks[0].location.nodes
    assert "tensor<f32>" in print_module(module)  # the constant took the type of x


def test_constants_match_by_value_within_the_rounding_of_their_type() -> None:
    from optc.passes.rewrite.pattern import constant

    third = constant(1 / 3)
    assert third.accepts(np.full((2, 2), 1 / 3, np.float32))
    assert third.accepts(np.asarray(1 / 3, np.float16))
    assert not third.accepts(np.asarray(0.3334, np.float32))
    assert not third.accepts(np.asarray([1 / 3, 0.5], np.float32))
    assert constant(2).accepts(np.asarray(2)) and not constant(2).accepts(np.asarray(3))
    assert not constant("any", where=lambda array: array.size == 1).accepts(np.zeros(3))


def test_what_reads_a_sharper_result_is_typed_anew() -> None:
    @on("Abs")
    def drop(op: Builder, operation: Operation) -> Value | None:
        return operation.operands[0]

    body = "%a = onnx.Abs(%x) : tensor<*xf32>\n%y = onnx.Neg(%a) : tensor<*xf32>"
    module, _ = rewritten(graph(body), drop)
    assert str(module.main.outputs[0].type) == "tensor<4xf32>"


def test_rules_that_undo_each_other_are_named() -> None:
    @on("Relu")
    def there(op: Builder, operation: Operation) -> Value:
        return op.Abs(operation.operands[0])

    @on("Abs")
    def back(op: Builder, operation: Operation) -> Value:
        return op.Relu(operation.operands[0])

    with pytest.raises(InternalError, match="the rules of test undo each other"):
        rewritten(graph("%y = onnx.Relu(%x) : tensor<4xf32>"), there, back)


def test_a_rule_that_changes_a_type_is_named() -> None:
    @on("Relu")
    def wrong(op: Builder, operation: Operation) -> Value:
        return op.ReduceSum(operation.operands[0])

    with pytest.raises(InternalError, match="the rule wrong changes a type") as caught:
        rewritten(graph("%y = onnx.Relu(%x) : tensor<4xf32>"), wrong)
    assert caught.value.where == "'y', (created by optc)"


def test_a_replacement_that_does_not_fit_is_a_miss_and_leaves_nothing_behind() -> None:
    @on("Relu")
    def wrong(op: Builder, operation: Operation) -> Value:
        return op.Add(op.Abs(operation.operands[0]), np.zeros(3, np.float32))

    module, remarks = rewritten(graph("%y = onnx.Relu(%x) : tensor<4xf32>"), wrong)
    assert names(module) == ["Relu"] and len(module.main) == 1
    assert [(r.status, r.reason) for r in remarks] == [("missed", "shapes (4,) and (3,) do not broadcast")]


def test_a_check_gives_the_reason() -> None:
    class Guarded(Twice):
        def check(self, match: Match) -> str | None:
            return f"{match['x'].name} is sacred"

    body = TWO + "%a = onnx.Mul(%x, %two) : tensor<4xf32>\n%y = onnx.Add(%x, %a) : tensor<4xf32>"
    module, remarks = rewritten(graph(body), Guarded())
    assert names(module) == ["Mul", "Add"] and remarks[0].reason == "x is sacred"


def test_patterns_stay_inside_a_branch() -> None:
    body = (
        TWO
        + """%a = onnx.Mul(%x, %two) : tensor<4xf32>
    %y = onnx.If(%c) (
      then_branch = graph @then() -> ("t") {
        %t = onnx.Add(%x, %a) : tensor<4xf32>
        return %t
      },
      else_branch = graph @else() -> ("e") {
        %b = onnx.Mul(%x, %two) : tensor<4xf32>
        %e = onnx.Add(%x, %b) : tensor<4xf32>
        return %e
      }
    ) : tensor<4xf32>"""
    )
    module, remarks = rewritten(graph(body, header="%x: tensor<4xf32>, %c: tensor<bool>"), Twice())
    branches = {name: [o.name for o in g] for o in module.main for name, g in o.graphs.items()}
    assert branches["then_branch"] == ["onnx.Add"] and "onnx.Mul" in branches["else_branch"]
    assert [r.status for r in remarks] == ["applied"]


def test_operations_that_became_dead_are_not_visited() -> None:
    seen: list[str] = []

    @on("Relu", "Abs", "Neg")
    def watch(op: Builder, operation: Operation) -> Value | Miss | None:
        seen.append(operation.results[0].name)
        return operation.operands[0] if operation.name == "onnx.Neg" else Miss("watched")

    @on("Add")
    def cut(op: Builder, operation: Operation) -> Value | None:
        return operation.operands[0]

    body = """%a = onnx.Relu(%z) : tensor<4xf32>
    %b = onnx.Abs(%a) : tensor<4xf32>
    %y = onnx.Add(%x, %b) : tensor<4xf32>"""
    module, remarks = rewritten(graph(body), cut, watch)
    assert names(module) == [] and {r.status for r in remarks} == {"applied"}
