// Channels that fill a whole vector are widened; 24 are not.
// RUN: optc opt --passes 'widen-blocks{block=16}'
graph @main(%x: tensor<1x32x4x4xf32>, %y: tensor<1x24x4x4xf32>) -> ("c", "f") {
  %a = optc.relayout(%x) : tensor<1x32x4x4xf32, block(1, 8)>
  %b = onnx.Relu(%a) : tensor<1x32x4x4xf32, block(1, 8)>
  %c = optc.relayout(%b) : tensor<1x32x4x4xf32>
  %d = optc.relayout(%y) : tensor<1x24x4x4xf32, block(1, 8)>
  %e = onnx.Relu(%d) : tensor<1x24x4x4xf32, block(1, 8)>
  %f = optc.relayout(%e) : tensor<1x24x4x4xf32>
  return %c, %f
}
// -----
graph @main(%x: tensor<1x32x4x4xf32>, %y: tensor<1x24x4x4xf32>) -> ("c", "f") {
  %a = optc.relayout(%x) : tensor<1x32x4x4xf32, block(1, 16)>
  %b = onnx.Relu(%a) : tensor<1x32x4x4xf32, block(1, 16)>
  %c = optc.relayout(%b) : tensor<1x32x4x4xf32>
  %d = optc.relayout(%y) : tensor<1x24x4x4xf32, block(1, 8)>
  %e = onnx.Relu(%d) : tensor<1x24x4x4xf32, block(1, 8)>
  %f = optc.relayout(%e) : tensor<1x24x4x4xf32>
  return %c, %f
}
