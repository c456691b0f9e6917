// A bound shape: nothing is left of the arithmetic.
// RUN: optc opt --passes 'fold-shapes,dce'
graph @main(%x: tensor<2x3x4xf32>) -> ("y") {
  %shape = onnx.Shape(%x) : tensor<3xi64>
  %zero = optc.constant {value = dense<0> : tensor<i64>} : tensor<i64>
  %axes = optc.constant {value = dense<[0]> : tensor<1xi64>} : tensor<1xi64>
  %rest = optc.constant {value = dense<[-1]> : tensor<1xi64>} : tensor<1xi64>
  %batch = onnx.Gather(%shape, %zero) {axis = 0} : tensor<i64>
  %vector = onnx.Unsqueeze(%batch, %axes) : tensor<1xi64>
  %target = onnx.Concat(%vector, %rest) {axis = 0} : tensor<2xi64>
  %y = onnx.Reshape(%x, %target) : tensor<2x12xf32>
  return %y
}
// -----
graph @main(%x: tensor<2x3x4xf32>) -> ("y") {
  %target = optc.constant {value = dense<[2, -1]> : tensor<2xi64>} : tensor<2xi64>
  %y = onnx.Reshape(%x, %target) : tensor<2x12xf32>
  return %y
}

// A symbolic batch: the target says "as the input".
// RUN: optc opt --passes 'fold-shapes,dce'
graph @main(%x: tensor<batchx3x4xf32>) -> ("y") {
  %shape = onnx.Shape(%x) {start = 0, end = 1} : tensor<1xi64>
  %rest = optc.constant {value = dense<[12]> : tensor<1xi64>} : tensor<1xi64>
  %target = onnx.Concat(%shape, %rest) {axis = 0} : tensor<2xi64>
  %y = onnx.Reshape(%x, %target) : tensor<batchx12xf32>
  return %y
}
// -----
graph @main(%x: tensor<batchx3x4xf32>) -> ("y") {
  %target = optc.constant {value = dense<[0, 12]> : tensor<2xi64>} : tensor<2xi64>
  %y = onnx.Reshape(%x, %target) : tensor<batchx12xf32>
  return %y
}

// Two extents that only the run knows, at new places.
// RUN: optc opt --passes 'fold-shapes'
graph @main(%x: tensor<6xaxbxf32>) -> ("y") {
  %a = onnx.Shape(%x) {start = 1, end = 2} : tensor<1xi64>
  %b = onnx.Shape(%x) {start = 2, end = 3} : tensor<1xi64>
  %six = optc.constant {value = dense<[6]> : tensor<1xi64>} : tensor<1xi64>
  %target = onnx.Concat(%a, %b, %six) {axis = 0} : tensor<3xi64>
  %y = onnx.Reshape(%x, %target) : tensor<axbx6xf32>
  return %y
}
// REMARK: missed fold-shapes: the shape tensor<axbx6xf32> holds more than one extent that is known only at run time
// CHECK: onnx.Concat

// An extent times a real number is not an extent that is known.
// RUN: optc opt --passes 'fold-shapes'
graph @main(%x: tensor<nx4xf32>) -> ("y") {
  %shape = onnx.Shape(%x) : tensor<2xi64>
  %real = onnx.Cast(%shape) {to = 1} : tensor<2xf32>
  %half = optc.constant {value = dense<0.5> : tensor<f32>} : tensor<f32>
  %scaled = onnx.Mul(%real, %half) : tensor<2xf32>
  %target = onnx.Cast(%scaled) {to = 7} : tensor<2xi64>
  %y = onnx.ConstantOfShape(%target) : tensor<*xf32>
  return %y
}
// CHECK: onnx.Shape
// CHECK: onnx.Mul
