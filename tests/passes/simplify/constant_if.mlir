// RUN: optc opt --passes 'constant-if,dce'
graph @main(%x: tensor<4xf32>) -> ("y") {
  %c = optc.constant {value = dense<true> : tensor<bool>} : tensor<bool>
  %v = onnx.If(%c) (
    then_branch = graph @then() -> ("t") {
      %a = onnx.Neg(%x) : tensor<4xf32>
      %t = onnx.If(%c) (
        then_branch = graph @inner() -> ("u") {
          %u = onnx.Relu(%a) : tensor<4xf32>
          return %u
        },
        else_branch = graph @other() -> ("w") {
          return %a
        }
      ) : tensor<4xf32>
      return %t
    },
    else_branch = graph @else() -> ("e") {
      %e = onnx.If(%c) (
        then_branch = graph @inner() -> ("u") {
          %u = onnx.Relu(%x) : tensor<4xf32>
          return %u
        },
        else_branch = graph @other() -> ("w") {
          return %x
        }
      ) : tensor<4xf32>
      return %e
    }
  ) : tensor<4xf32>
  %y = onnx.Abs(%v) : tensor<4xf32>
  return %y
}
// REMARK: applied constant-if: the condition is known
// -----
graph @main(%x: tensor<4xf32>) -> ("y") {
  %a = onnx.Neg(%x) : tensor<4xf32>
  %v = onnx.Relu(%a) : tensor<4xf32>
  %y = onnx.Abs(%v) : tensor<4xf32>
  return %y
}

// The type of the taken branch is known, so what follows is typed anew.
// RUN: optc opt --passes 'constant-if,dce'
graph @main(%x: tensor<4x1xf32>) -> ("y") {
  %c = optc.constant {value = dense<false> : tensor<bool>} : tensor<bool>
  %v = onnx.If(%c) (
    then_branch = graph @then() -> ("t") {
      return %x
    },
    else_branch = graph @else() -> ("e") {
      %axes = optc.constant {value = dense<[1]> : tensor<1xi64>} : tensor<1xi64>
      %e = onnx.Squeeze(%x, %axes) : tensor<4xf32>
      return %e
    }
  ) : tensor<*xf32>
  %y = onnx.Abs(%v) : tensor<*xf32>
  return %y
}
// -----
graph @main(%x: tensor<4x1xf32>) -> ("y") {
  %axes = optc.constant {value = dense<[1]> : tensor<1xi64>} : tensor<1xi64>
  %v = onnx.Squeeze(%x, %axes) : tensor<4xf32>
  %y = onnx.Abs(%v) : tensor<4xf32>
  return %y
}

// RUN: optc opt --passes 'constant-if'
graph @main(%x: tensor<4xf32>, %c: tensor<bool>) -> ("y") {
  %y = onnx.If(%c) (
    then_branch = graph @then() -> ("t") {
      return %x
    },
    else_branch = graph @else() -> ("e") {
      %e = onnx.Abs(%x) : tensor<4xf32>
      return %e
    }
  ) : tensor<4xf32>
  return %y
}
// REMARK: missed constant-if: the condition 'c' is known only at run time
// CHECK: onnx.If
