// RUN: optc opt --passes 'dce'
graph @main(%x: tensor<4xf32>, %unused: tensor<2xf32>) -> ("y") {
  %c = optc.constant {value = dense<[1.0]> : tensor<1xf32>} : tensor<1xf32>
  %a = onnx.Add(%x, %c) : tensor<4xf32>
  %b = onnx.Relu(%a) : tensor<4xf32>
  %y = onnx.Abs(%x) : tensor<4xf32>
  return %y
}
// -----
graph @main(%x: tensor<4xf32>, %unused: tensor<2xf32>) -> ("y") {
  %y = onnx.Abs(%x) : tensor<4xf32>
  return %y
}

// Inside branches, and what only a dead operation of a branch reads outside.
// RUN: optc opt --passes 'dce'
graph @main(%x: tensor<4xf32>, %c: tensor<bool>) -> ("y") {
  %a = onnx.Relu(%x) : tensor<4xf32>
  %y = onnx.If(%c) (
    then_branch = graph @then() -> ("t") {
      %b = onnx.Neg(%a) : tensor<4xf32>
      %t = onnx.Neg(%x) : tensor<4xf32>
      return %t
    },
    else_branch = graph @else() -> ("e") {
      %e = onnx.Abs(%x) : tensor<4xf32>
      return %e
    }
  ) : tensor<4xf32>
  return %y
}
// -----
graph @main(%x: tensor<4xf32>, %c: tensor<bool>) -> ("y") {
  %y = onnx.If(%c) (
    then_branch = graph @then() -> ("t") {
      %t = onnx.Neg(%x) : tensor<4xf32>
      return %t
    },
    else_branch = graph @else() -> ("e") {
      %e = onnx.Abs(%x) : tensor<4xf32>
      return %e
    }
  ) : tensor<4xf32>
  return %y
}
