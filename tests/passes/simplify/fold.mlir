// RUN: optc opt --passes 'fold'
graph @main(%x: tensor<2xf32>) -> ("y") {
  %a = optc.constant {value = dense<[1.0, 2.0]> : tensor<2xf32>} : tensor<2xf32>
  %b = optc.constant {value = dense<3.0> : tensor<f32>} : tensor<f32>
  %c = onnx.Mul(%a, %b) : tensor<2xf32>
  %d = onnx.Neg(%c) : tensor<2xf32>
  %y = onnx.Add(%x, %d) : tensor<2xf32>
  return %y
}
// REMARK: applied fold: 2 operations on constants
// CHECK: %d = optc.constant {value = dense<[-3.0, -6.0]>
// CHECK: %y = onnx.Add(%x, %d)
// CHECK-NOT: onnx.Mul

// Enlarging the model beyond the limit is refused.
// RUN: optc opt --passes 'fold{max-growth=1000}'
graph @main(%x: tensor<1xf32>) -> ("y") {
  %shape = optc.constant {value = dense<[1000]> : tensor<1xi64>} : tensor<1xi64>
  %zeros = onnx.ConstantOfShape(%shape) : tensor<1000xf32>
  %y = onnx.Add(%x, %zeros) : tensor<1000xf32>
  return %y
}
// REMARK: missed fold: its results are 3992 bytes larger than its operands, above max-growth = 1000
// CHECK: onnx.ConstantOfShape

// RUN: optc opt --passes 'fold'
graph @main(%x: tensor<1xf32>) -> ("y") {
  %zero = optc.constant {value = dense<0.0> : tensor<f32>} : tensor<f32>
  %nan = onnx.Div(%zero, %zero) : tensor<f32>
  %y = onnx.Add(%x, %nan) : tensor<1xf32>
  return %y
}
// REMARK: missed fold: its result holds a NaN, and its operands hold none
// CHECK: onnx.Div

// RUN: optc opt --passes 'fold'
graph @main(%x: tensor<2xf32>) -> ("y", "z") {
  %w = optc.constant {value = dense<[1, 2]> : tensor<2xi8>} : tensor<2xi8>
  %s = optc.constant {value = dense<0.5> : tensor<f32>} : tensor<f32>
  %d = onnx.DequantizeLinear(%w, %s) : tensor<2xf32>
  %y = onnx.Add(%x, %d) : tensor<2xf32>
  %z = onnx.RandomNormal {shape = [2]} : tensor<2xf32>
  return %y, %z
}
// CHECK: onnx.DequantizeLinear
// CHECK: onnx.RandomNormal

// The transposed weight is one more constant; the weight itself has another reader.
// RUN: optc opt --passes 'fold{max-growth=0}'
graph @main(%x: tensor<2xf32>) -> ("y", "z") {
  %w = optc.constant {value = dense<[1.0, 2.0, 3.0, 4.0]> : tensor<2x2xf32>} : tensor<2x2xf32>
  %t = onnx.Transpose(%w) : tensor<2x2xf32>
  %y = onnx.MatMul(%x, %t) : tensor<2xf32>
  %z = onnx.MatMul(%x, %w) : tensor<2xf32>
  return %y, %z
}
// CHECK: %w = optc.constant {value = dense<[1.0, 2.0, 3.0, 4.0]>
// CHECK: %t = optc.constant {value = dense<[1.0, 3.0, 2.0, 4.0]>
