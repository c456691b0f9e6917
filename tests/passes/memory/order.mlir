// A branch is finished before the next one begins.
// RUN: optc opt --passes 'order'
graph @main(%x: tensor<1x4xf32>) -> ("y") {
  %wide = optc.constant {value = dense<1.0> : tensor<4x1024xf32>} : tensor<4x1024xf32>
  %narrow = optc.constant {value = dense<1.0> : tensor<1024x4xf32>} : tensor<1024x4xf32>
  %a = onnx.MatMul(%x, %wide) : tensor<1x1024xf32>
  %r = onnx.Relu(%a) : tensor<1x1024xf32>
  %s = onnx.Sigmoid(%a) : tensor<1x1024xf32>
  %t = onnx.MatMul(%r, %narrow) : tensor<1x4xf32>
  %u = onnx.MatMul(%s, %narrow) : tensor<1x4xf32>
  %y = onnx.Add(%t, %u) : tensor<1x4xf32>
  return %y
}
// REMARK: applied reorder: the peak of live bytes falls from 12288 to 8256
// -----
graph @main(%x: tensor<1x4xf32>) -> ("y") {
  %wide = optc.constant {value = dense<1.0> : tensor<4x1024xf32>} : tensor<4x1024xf32>
  %narrow = optc.constant {value = dense<1.0> : tensor<1024x4xf32>} : tensor<1024x4xf32>
  %a = onnx.MatMul(%x, %wide) : tensor<1x1024xf32>
  %r = onnx.Relu(%a) : tensor<1x1024xf32>
  %t = onnx.MatMul(%r, %narrow) : tensor<1x4xf32>
  %s = onnx.Sigmoid(%a) : tensor<1x1024xf32>
  %u = onnx.MatMul(%s, %narrow) : tensor<1x4xf32>
  %y = onnx.Add(%t, %u) : tensor<1x4xf32>
  return %y
}
