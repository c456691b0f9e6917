"""The verifier finds every kind of broken module, and accepts valid ones without touching them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from optc.ir import dtypes
from optc.ir.core import Graph, Module, Operation
from optc.ir.parser import parse_module
from optc.ir.printer import print_module
from optc.ir.types import Layout, OpaqueType, Quantization, TensorType
from optc.ir.verifier import InvalidModule, compatible, verify

TEXT = """module @m {
  graph @main(%x: tensor<4x8xf32>, %c: tensor<bool>) -> ("y", "z") {
    %a = onnx.Relu(%x) : tensor<4x8xf32> loc("relu")
    %b = onnx.Add(%a, %x) : tensor<4x8xf32> loc("add")
    %y = onnx.If(%c) (
      then_branch = graph @then() -> ("t") {
        %t = onnx.Neg(%a) : tensor<4x8xf32>
        return %t
      },
      else_branch = graph @else() -> ("e") {
        return %b
      }
    ) : tensor<4x8xf32> loc("if")
    %z = optc.fused(%b) (
      body = graph @body(%i: tensor<4x8xf32>) -> ("o") {
        %o = onnx.Abs(%i) : tensor<4x8xf32>
        return %o
      }
    ) : tensor<4x8xf32>
    return %y, %z
  }
}
"""
F32 = TensorType(dtypes.FLOAT32, (4, 8))


def _ops(module: Module) -> dict[str, Operation]:
    return {operation.name.split(".")[1]: operation for operation in module.walk()}


def test_a_valid_module_passes_unchanged() -> None:
    module = parse_module(TEXT)
    uses = [len(result.uses) for operation in module.walk() for result in operation.results]
    verify(module)
    assert print_module(module) == TEXT
    assert [len(result.uses) for operation in module.walk() for result in operation.results] == uses


def _reorder(module: Module) -> None:
    add = _ops(module)["Add"]
    module.main.unlink(add)
    module.main.insert(add, next(iter(module.main)))


def _read_the_outside(module: Module) -> None:
    _ops(module)["Abs"].set_operand(0, module.main.inputs[0])


def _read_a_closed_branch(module: Module) -> None:
    _ops(module)["fused"].set_operand(0, _ops(module)["Neg"].result)


def _read_a_removed_operation(module: Module) -> None:
    stray = Operation("optc.constant", (), (F32,))
    _ops(module)["Add"].set_operand(1, stray.result)


def _forget_a_use(module: Module) -> None:
    _ops(module)["Relu"].result.uses.clear()


def _keep_a_stale_use(module: Module) -> None:
    Operation("onnx.Relu", (_ops(module)["Relu"].result,), (F32,))


def _wrong_type(module: Module) -> None:
    _ops(module)["Relu"].result.type = TensorType(dtypes.FLOAT32, (4, 9))


def _wrong_dtype(module: Module) -> None:
    _ops(module)["Relu"].result.type = TensorType(dtypes.INT8, (4, 8))


def _bad_permutation(module: Module) -> None:
    _ops(module)["Relu"].result.type = F32.with_layout(Layout(permutation=(0, 2)))


def _bad_block(module: Module) -> None:
    _ops(module)["Relu"].result.type = F32.with_layout(Layout(blocks=((2, 8),)))


def _bad_quantization(module: Module) -> None:
    quantization = Quantization((1.0, 2.0), (0, 0), axis=0)
    _ops(module)["Relu"].result.type = TensorType(dtypes.FLOAT32, (4, 8), quantization=quantization)


def _bad_attribute(module: Module) -> None:
    _ops(module)["Relu"].attributes["no_such"] = 1


def _unknown_operation(module: Module) -> None:
    _ops(module)["Relu"].name = "onnx.Relo"


def _shared_graph(module: Module) -> None:
    operation = _ops(module)["If"]
    operation.graphs["else_branch"] = operation.graphs["then_branch"]


def _lost_parent(module: Module) -> None:
    _ops(module)["If"].graphs["then_branch"].parent = None


def _nameless_output(module: Module) -> None:
    module.main.output_names.pop()


def _equal_output_names(module: Module) -> None:
    module.main.output_names[1] = "y"


def _none_output(module: Module) -> None:
    module.main.terminator.set_operand(0, None)


def _foreign_terminator(module: Module) -> None:
    module.main.terminator.name = "onnx.Relu"


NODE = "'relu', in graph @main"
RELU = '%a = onnx.Relu(%x) : tensor<4x8xf32> loc("relu")'
ADD = '%b = onnx.Add(%a, %x) : tensor<4x8xf32> loc("add")'
FAULTS: dict[Callable[[Module], None], str] = {
    _reorder: f"""%a cannot be read here
  at 'add', in graph @main
  {ADD}
                ^~
  it is defined later, or in the graph @main that is closed to this one""",
    _read_the_outside: """%x cannot be read here
  at graph @body
  %o = onnx.Abs(%x) : tensor<4x8xf32>
                ^~
  it is defined later, or in the graph @main that is closed to this one""",
    _read_a_closed_branch: """%t cannot be read here
  at graph @main
  %z = optc.fused(%t) : tensor<4x8xf32>
                  ^~
  it is defined later, or in the graph @then that is closed to this one""",
    _read_a_removed_operation: """%v0 cannot be read here
  at 'add', in graph @main
  %b = onnx.Add(%a, %v0) : tensor<4x8xf32> loc("add")
                    ^~~
  it belongs to no graph of the module""",
    _forget_a_use: f"""operand 0 is not tracked
  at 'add', in graph @main
  {ADD}
                ^~
  %a does not list it among its uses""",
    _keep_a_stale_use: f"""%a lists a stale use
  at {NODE}
  {RELU}
       ^~~~~~~~~
  onnx.Relu is not in the module""",
    _wrong_type: f"""the type of %a is wrong
  at {NODE}
  {RELU.replace("4x8", "4x9")}
                       ^~~~~~~~~~~~~~~
  its dimension 1 should be 8, not 9: tensor<4x8xf32>""",
    _wrong_dtype: f"""the type of %a is wrong
  at {NODE}
  {RELU.replace("f32", "i8")}
                       ^~~~~~~~~~~~~~
  its elements should be f32, not i8""",
    _bad_permutation: f"""%a has an illegal type
  at {NODE}
  %a = onnx.Relu(%x) : tensor<4x8xf32, permute(0, 2)> loc("relu")
                       ^~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
  permute(0, 2) is no permutation of 2 axes""",
    _bad_block: f"""%a has an illegal type
  at {NODE}
  %a = onnx.Relu(%x) : tensor<4x8xf32, block(2, 8)> loc("relu")
                       ^~~~~~~~~~~~~~~~~~~~~~~~~~~~
  block(2, 8) does not fit 2 axes""",
    _bad_quantization: f"""%a has an illegal type
  at {NODE}
  %a = onnx.Relu(%x) : tensor<4x8xf32, quant(scale = [1.0, 2.0], zero_point = [0, 0], axis = 0)> loc("relu")
                       ^~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
  quantization axis 0 has extent 4, but 2 scales""",
    _unknown_operation: f"""no operation is called 'onnx.Relo'
  at {NODE}
  {RELU.replace("Relu", "Relo")}
       ^~~~~~~~~
  did you mean 'onnx.Relu' or 'onnx.PRelu' or 'onnx.Selu'?""",
    _nameless_output: """the graph @main has 1 output names, but returns 2 values
  at graph @main
  optc.return(%y, %z)
  ^~~~~~~~~~~
  every output needs a name""",
    _none_output: """the graph @main returns nothing for an output
  at graph @main
  optc.return(none, %z)
              ^~~~
  an output is none""",
    _equal_output_names: "two outputs of the model are called 'y'",
    _foreign_terminator: """the graph @main does not end in a return
  at graph @main
  onnx.Relu(%y, %z)
  ^~~~~~~~~
  its terminator is onnx.Relu""",
    _shared_graph: "the graph @then is held twice",
}


@pytest.mark.parametrize("damage", FAULTS, ids=lambda damage: damage.__name__[1:])
def test_fault(damage: Callable[[Module], None]) -> None:
    module = parse_module(TEXT)
    damage(module)
    with pytest.raises(InvalidModule) as caught:
        verify(module)
    assert str(caught.value) == FAULTS[damage]


@pytest.mark.parametrize("damage", [_bad_attribute, _lost_parent], ids=lambda damage: damage.__name__[1:])
def test_the_operation_at_fault_is_given(damage: Callable[[Module], None]) -> None:
    module = parse_module(TEXT)
    damage(module)
    with pytest.raises(InvalidModule) as caught:
        verify(module)
    assert caught.value.operation is _ops(module)["Relu" if damage is _bad_attribute else "If"]


def test_a_dangling_user_in_a_dropped_graph_is_found() -> None:
    module = parse_module(TEXT)
    operation = _ops(module)["If"]
    operation.graphs["then_branch"] = Graph("empty")
    operation.graphs["then_branch"].parent = operation
    with pytest.raises(InvalidModule, match="%a lists a stale use"):
        verify(module)


def test_a_branch_may_contradict_shapes_with_which_it_is_never_taken() -> None:
    text = TEXT.replace("%t = onnx.Neg(%a)", "%t = onnx.Squeeze(%a)")
    axis = "%i = optc.constant {value = dense<[0]> : tensor<1xi64>} : tensor<1xi64>\n        %t = onnx.Squeeze(%a, %i)"
    verify(parse_module(text.replace("%t = onnx.Squeeze(%a)", axis)))
    outside = text.replace("%a = onnx.Relu(%x)", "%i = optc.constant {value = dense<[0]> : tensor<1xi64>} : "
                           "tensor<1xi64>\n    %a = onnx.Squeeze(%x, %i)")  # fmt: skip
    with pytest.raises(InvalidModule, match="cannot be squeezed"):
        verify(parse_module(outside))


def test_types_that_know_less_are_compatible() -> None:
    text = 'graph @main(%x: tensor<batchx8xf32>) -> ("y") {\n  %y = onnx.Relu(%x) : TYPE\n  return %y\n}'
    for type in ("tensor<*xf32>", "tensor<4x8xf32>", "tensor<nx8xf32>", "tensor<batchxmxf32>"):
        verify(parse_module(text.replace("TYPE", type)))
    assert compatible(OpaqueType("seq"), OpaqueType("other")) is None
    assert compatible(OpaqueType("seq"), F32) == "it should be tensor<4x8xf32>"
    assert compatible(F32, TensorType(dtypes.FLOAT32, (4,))) == "its rank should be 1, not 2: tensor<4xf32>"
