// RUN: optc opt --passes 'cse'
graph @main(%x: tensor<4xf32>) -> ("y") {
  %a = onnx.Relu(%x) : tensor<4xf32>
  %b = onnx.Relu(%x) : tensor<4xf32>
  %y = onnx.Add(%a, %b) : tensor<4xf32>
  return %y
}
// -----
graph @main(%x: tensor<4xf32>) -> ("y") {
  %a = onnx.Relu(%x) : tensor<4xf32>
  %y = onnx.Add(%a, %a) : tensor<4xf32>
  return %y
}

// Constants of the same bits are one; 0.0 and -0.0 are two.
// RUN: optc opt --passes 'cse'
graph @main(%x: tensor<2xf32>) -> ("y") {
  %one = optc.constant {value = dense<[0.0, 1.0]> : tensor<2xf32>} : tensor<2xf32>
  %two = optc.constant {value = dense<[0.0, 1.0]> : tensor<2xf32>} : tensor<2xf32>
  %three = optc.constant {value = dense<[-0.0, 1.0]> : tensor<2xf32>} : tensor<2xf32>
  %a = onnx.Div(%x, %one) : tensor<2xf32>
  %b = onnx.Div(%a, %two) : tensor<2xf32>
  %y = onnx.Div(%b, %three) : tensor<2xf32>
  return %y
}
// -----
graph @main(%x: tensor<2xf32>) -> ("y") {
  %one = optc.constant {value = dense<[0.0, 1.0]> : tensor<2xf32>} : tensor<2xf32>
  %three = optc.constant {value = dense<[-0.0, 1.0]> : tensor<2xf32>} : tensor<2xf32>
  %a = onnx.Div(%x, %one) : tensor<2xf32>
  %b = onnx.Div(%a, %one) : tensor<2xf32>
  %y = onnx.Div(%b, %three) : tensor<2xf32>
  return %y
}

// Different attributes, and random numbers, stay apart.
// RUN: optc opt --passes 'cse'
graph @main(%x: tensor<2x2xf32>) -> ("a", "b", "c", "d") {
  %a = onnx.Softmax(%x) {axis = 0} : tensor<2x2xf32>
  %b = onnx.Softmax(%x) {axis = 1} : tensor<2x2xf32>
  %c = onnx.RandomNormalLike(%x) {seed = 1.0} : tensor<2x2xf32>
  %d = onnx.RandomNormalLike(%x) {seed = 1.0} : tensor<2x2xf32>
  return %a, %b, %c, %d
}
// -----
graph @main(%x: tensor<2x2xf32>) -> ("a", "b", "c", "d") {
  %a = onnx.Softmax(%x) {axis = 0} : tensor<2x2xf32>
  %b = onnx.Softmax(%x) {axis = 1} : tensor<2x2xf32>
  %c = onnx.RandomNormalLike(%x) {seed = 1.0} : tensor<2x2xf32>
  %d = onnx.RandomNormalLike(%x) {seed = 1.0} : tensor<2x2xf32>
  return %a, %b, %c, %d
}

// A branch reads what was computed before it, and never the other way round.
// RUN: optc opt --passes 'cse'
graph @main(%x: tensor<4xf32>, %c: tensor<bool>) -> ("y", "z") {
  %a = onnx.Relu(%x) : tensor<4xf32>
  %y = onnx.If(%c) (
    then_branch = graph @then() -> ("t") {
      %b = onnx.Relu(%x) : tensor<4xf32>
      %t = onnx.Neg(%b) : tensor<4xf32>
      return %t
    },
    else_branch = graph @else() -> ("e") {
      %e = onnx.Abs(%x) : tensor<4xf32>
      return %e
    }
  ) : tensor<4xf32>
  %z = onnx.Abs(%x) : tensor<4xf32>
  return %y, %z
}
// -----
graph @main(%x: tensor<4xf32>, %c: tensor<bool>) -> ("y", "z") {
  %a = onnx.Relu(%x) : tensor<4xf32>
  %y = onnx.If(%c) (
    then_branch = graph @then() -> ("t") {
      %t = onnx.Neg(%a) : tensor<4xf32>
      return %t
    },
    else_branch = graph @else() -> ("e") {
      %e = onnx.Abs(%x) : tensor<4xf32>
      return %e
    }
  ) : tensor<4xf32>
  %z = onnx.Abs(%x) : tensor<4xf32>
  return %y, %z
}
