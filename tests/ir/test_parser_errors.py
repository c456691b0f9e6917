"""Every mistake in IR text is shown with its line, a caret and what was expected."""

from __future__ import annotations

import pytest

from optc.errors import ModelError
from optc.ir.dims import parse_dim
from optc.ir.parser import parse_module

HEAD = 'graph @main(%x: tensor<4xf32>) -> ("y") {'


def _message(body: str) -> str:
    with pytest.raises(ModelError) as caught:
        parse_module(f"{HEAD}\n{body}\n}}", file="m.mlir")
    return str(caught.value)


CASES = {
    "undefined value": (
        "  %conv1 = onnx.Relu(%x) : tensor<4xf32>\n  %y = onnx.Relu(%conv2) : tensor<4xf32>\n  return %y",
        """%conv2 is not defined before this line
  at m.mlir:3:18
    %y = onnx.Relu(%conv2) : tensor<4xf32>
                   ^~~~~~
  hint: did you mean 'conv1'?""",
    ),
    "use before definition": (
        "  %y = onnx.Relu(%later) : tensor<4xf32>\n  %later = onnx.Relu(%x) : tensor<4xf32>\n  return %y",
        """%later is not defined before this line
  at m.mlir:2:18
    %y = onnx.Relu(%later) : tensor<4xf32>
                   ^~~~~~""",
    ),
    "redefinition": (
        "  %x = onnx.Relu(%x) : tensor<4xf32>\n  return %x",
        """%x is defined twice
  at m.mlir:2:3
    %x = onnx.Relu(%x) : tensor<4xf32>
    ^~
  hint: give one of the two another name""",
    ),
    "unknown operation": (
        "  %y = onnx.Rellu(%x) : tensor<4xf32>\n  return %y",
        """no operation is called 'onnx.Rellu'
  at m.mlir:2:8
    %y = onnx.Rellu(%x) : tensor<4xf32>
         ^~~~~~~~~~
  hint: did you mean 'onnx.Relu' or 'onnx.PRelu' or 'onnx.Selu'?""",
    ),
    "wrong arity": (
        "  %y = onnx.Add(%x) : tensor<4xf32>\n  return %y",
        """this onnx.Add is illegal
  at m.mlir:2:8
    %y = onnx.Add(%x) : tensor<4xf32>
         ^~~~~~~~
  it has 1 inputs where 2 fit""",
    ),
    "results and types": (
        "  %y, %z = onnx.Relu(%x) : tensor<4xf32>\n  return %y",
        """onnx.Relu has 2 results but 1 result types
  at m.mlir:2:12
    %y, %z = onnx.Relu(%x) : tensor<4xf32>
             ^~~~~~~~~""",
    ),
    "unknown element type": (
        "  %y = onnx.Relu(%x) : tensor<4xfloat>\n  return %y",
        """'float' is no element type; expected one of f32, u8, i8, u16, i16, i32, i64, string, bool, f16, f64, u32, """
        """u64, c64, c128, bf16, f8e4m3fn, f8e4m3fnuz, f8e5m2, f8e5m2fnuz, u4, i4
  at m.mlir:2:33
    %y = onnx.Relu(%x) : tensor<4xfloat>
                                  ^~~~~""",
    ),
    "bad layout": (
        "  %y = onnx.Relu(%x) : tensor<4xf32, blocked(0, 4)>\n  return %y",
        """expected permute(axis, …), block(axis, factor) or quant(scale = […], …)
  at m.mlir:2:38
    %y = onnx.Relu(%x) : tensor<4xf32, blocked(0, 4)>
                                       ^~~~~~~~~~~~~""",
    ),
    "unclosed type": (
        "  %y = onnx.Relu(%x) : tensor<4xf32\n  return %y",
        """'tensor' has no place here
  at m.mlir:2:24
    %y = onnx.Relu(%x) : tensor<4xf32
                         ^~~~~~
  expected 'opaque' or a type (tensor<1x3xf32>)""",
    ),
    "missing value": (
        "  %y = onnx.LeakyRelu(%x) {alpha = } : tensor<4xf32>\n  return %y",
        """'}' has no place here
  at m.mlir:2:36
    %y = onnx.LeakyRelu(%x) {alpha = } : tensor<4xf32>
                                     ^
  expected '[' or 'dense' or 'resource' or a number or a string or false or true""",
    ),
    "attribute twice": (
        "  %y = onnx.LeakyRelu(%x) {alpha = 1.0, alpha = 2.0} : tensor<4xf32>\n  return %y",
        """the attribute 'alpha' is given twice
  at m.mlir:2:41
    %y = onnx.LeakyRelu(%x) {alpha = 1.0, alpha = 2.0} : tensor<4xf32>
                                          ^~~~~""",
    ),
    "stray character": (
        "  %y = onnx.Relu(%x) ; tensor<4xf32>\n  return %y",
        """';' has no place here
  at m.mlir:2:22
    %y = onnx.Relu(%x) ; tensor<4xf32>
                       ^
  expected '(' or ':' or 'loc' or 'return' or '{' or a string or a value (%name) or an operation (onnx.Add)""",
    ),
    "too few elements": (
        "  %c = optc.constant {value = dense<[1.0, 2.0]> : tensor<3xf32>} : tensor<3xf32>\n  return %c",
        """the constant does not fit its type
  at m.mlir:2:51
    %c = optc.constant {value = dense<[1.0, 2.0]> : tensor<3xf32>} : tensor<3xf32>
                                                    ^~~~~~~~~~~~~
  2 elements, but the type holds 3""",
    ),
    "element out of range": (
        "  %c = optc.constant {value = dense<[300]> : tensor<1xi8>} : tensor<1xi8>\n  return %c",
        """the constant does not fit its type
  at m.mlir:2:46
    %c = optc.constant {value = dense<[300]> : tensor<1xi8>} : tensor<1xi8>
                                               ^~~~~~~~~~~~
  300 does not fit i8 (-128 … 127)""",
    ),
    "element of another kind": (
        '  %c = optc.constant {value = dense<["1"]> : tensor<1xi8>} : tensor<1xi8>\n  return %c',
        """the constant does not fit its type
  at m.mlir:2:46
    %c = optc.constant {value = dense<["1"]> : tensor<1xi8>} : tensor<1xi8>
                                               ^~~~~~~~~~~~
  "1" is no i8 value""",
    ),
    "missing resource": (
        '  %c = optc.constant {value = resource<"w"> : tensor<1xi8>} : tensor<1xi8>\n  return %c',
        """the bytes of resource 'w' are missing
  at m.mlir:2:40
    %c = optc.constant {value = resource<"w"> : tensor<1xi8>} : tensor<1xi8>
                                         ^~~
  hint: the file NAME.resources must lie beside NAME.mlir""",
    ),
    "value from outside of a fused body": (
        """  %y = optc.fused(%x) (
    body = graph @b(%a: tensor<4xf32>) -> ("b") {
      %b = onnx.Relu(%x) : tensor<4xf32>
      return %b
    }
  ) : tensor<4xf32>
  return %y""",
        """%x is not defined before this line
  at m.mlir:4:22
        %b = onnx.Relu(%x) : tensor<4xf32>
                       ^~""",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_message(case: str) -> None:
    body, message = CASES[case]
    assert _message(body) == message


def test_text_that_ends_too_early() -> None:
    with pytest.raises(ModelError) as caught:
        parse_module("graph @main(%x: tensor<4xf32>) ->\n", file="m.mlir")
    assert str(caught.value) == (
        "the text ends too early\n"
        "  at m.mlir:1:34\n"
        "  graph @main(%x: tensor<4xf32>) ->\n"
        "                                   ^\n"
        "  expected '('"
    )


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ModelError) as caught:
        parse_module(f"{HEAD}\n  %y = onnx.Relu(%x) {{a = {'[' * 4000}{']' * 4000}}} : tensor<4xf32>\n  return %y\n}}")
    assert str(caught.value) == "the text is nested too deeply\n  at <string>"


def test_long_lines_are_cut_around_the_caret() -> None:
    operands = ", ".join(["%x"] * 60)
    message = _message(f"  %y = onnx.Sum({operands}, %z, {operands}) : tensor<4xf32>\n  return %y")
    line, caret = message.splitlines()[2:4]
    assert line.startswith("  … ") and line.endswith(" …") and len(line) < 120
    assert line[caret.index("^") :].startswith("%z")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2*", "a dimension ends too early"),
        ("a b", "'b' has no place here in the dimension 'a b'"),
        ("a ? b", "'?' has no place in a dimension"),
        ("(a", "expected ')' in a dimension"),
        ("a/0", "a dimension is divided by zero"),
        ("1/2", "'1/2' is no whole number"),
        ("9**9**9", "'**' has no place here in the dimension '9**9**9'"),
        ("1" * 19, "a number in a dimension has at most 18 digits"),
        ("a**1000", "an exponent is a number up to 64, not '1000'"),
        ("__import__('os')", "''' has no place in a dimension"),
    ],
)
def test_bad_dimensions(text: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_dim(text)
    assert str(caught.value) == why


def test_comments_and_bare_graphs_are_read() -> None:
    module = parse_module(f"// a comment\n{HEAD} // another\n  return %x // last\n}}")
    assert module.name == "model"
    assert module.main.outputs == (module.main.inputs[0],)
