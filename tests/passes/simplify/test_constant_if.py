"""A branch that cannot run with the shapes at hand."""

from __future__ import annotations

from optc.ir.parser import parse_module
from optc.ir.verifier import verify
from optc.passes.base import PassContext
from optc.passes.simplify.constant_if import ConstantIf

TEXT = """graph @main(%x: tensor<4x2xf32>, %c: tensor<bool>) -> ("y") {
  %y = onnx.If(%c) (
    then_branch = graph @then() -> ("t") {
      %w = optc.constant {value = dense<[1.0, 2.0, 3.0]> : tensor<3x1xf32>} : tensor<3x1xf32>
      %t = onnx.MatMul(%x, %w) : tensor<*xf32> loc("for three")
      return %t
    },
    else_branch = graph @else() -> ("e") {
      %w = optc.constant {value = dense<[1.0, 2.0]> : tensor<2x1xf32>} : tensor<2x1xf32>
      %e = onnx.MatMul(%x, %w) : tensor<4x1xf32>
      return %e
    }
  ) : tensor<*xf32>
  return %y
}"""


def test_the_other_branch_is_taken() -> None:
    module = parse_module(TEXT, check=False)
    context = PassContext()
    assert ConstantIf().run(module, context)
    verify(module)
    assert [item.name for item in module.main] == ["optc.constant", "onnx.MatMul"]
    assert str(module.main.outputs[0].type) == "tensor<4x1xf32>"
    (remark,) = context.remarks
    assert remark.reason == (
        "the then_branch cannot run: onnx.MatMul 'for three': the matrices (4, 2) and (3, 1) do not fit: 2 is not 3"
    )


def test_with_two_such_branches_the_if_stays() -> None:
    text = TEXT.replace("4x2xf32", "4x5xf32", 1).replace("tensor<4x1xf32>", "tensor<*xf32>")
    module = parse_module(text, check=False)
    context = PassContext()
    assert not ConstantIf().run(module, context)
    assert [(r.status, r.reason) for r in context.remarks] == [
        ("missed", "the condition 'c' is known only at run time")
    ]
