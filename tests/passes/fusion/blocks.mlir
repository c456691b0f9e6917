// Where memory is slow, the wide values of an inverted residual never leave the cache.
// RUN: optc opt --passes 'fuse,fuse-blocks' --target rpi4
graph @main(%x: tensor<1x16x112x112xf32, block(1, 4)>) -> ("y") {
  %e = optc.constant {value = dense<0.5> : tensor<96x16x1x1xf32>} : tensor<96x16x1x1xf32>
  %d = optc.constant {value = dense<0.5> : tensor<96x1x3x3xf32>} : tensor<96x1x3x3xf32>
  %p = optc.constant {value = dense<0.5> : tensor<24x96x1x1xf32>} : tensor<24x96x1x1xf32>
  %a = onnx.Conv(%x, %e) : tensor<1x96x112x112xf32, block(1, 4)> loc("expand")
  %b = onnx.Relu(%a) : tensor<1x96x112x112xf32, block(1, 4)>
  %c = onnx.Conv(%b, %d) {group = 96, pads = [1, 1, 1, 1], strides = [2, 2]} : tensor<1x96x56x56xf32, block(1, 4)> loc("depthwise")
  %f = onnx.Relu(%c) : tensor<1x96x56x56xf32, block(1, 4)>
  %y = onnx.Conv(%f, %p) : tensor<1x24x56x56xf32, block(1, 4)> loc("project")
  return %y
}
// REMARK: missed block-conv-conv
// REMARK: applied block-conv-conv-conv
// CHECK: %y = optc.fused(%x, %e, %d, %p)
// CHECK: onnx.Conv
// CHECK: onnx.Relu
// CHECK: onnx.Conv
// CHECK: onnx.Relu
// CHECK: onnx.Conv

// With few rows and many weights the tiles would read the weights more often than what they save.
// RUN: optc opt --passes 'fuse,fuse-blocks' --target rpi4
graph @main(%x: tensor<1x14x14x512xf32>) -> ("y") {
  %u = optc.constant {value = dense<0.5> : tensor<512x2048xf32>} : tensor<512x2048xf32>
  %d = optc.constant {value = dense<0.5> : tensor<2048x512xf32>} : tensor<2048x512xf32>
  %a = onnx.MatMul(%x, %u) : tensor<1x14x14x2048xf32> loc("up")
  %b = onnx.Relu(%a) : tensor<1x14x14x2048xf32>
  %y = onnx.MatMul(%b, %d) : tensor<1x14x14x512xf32> loc("down")
  return %y
}
// REMARK: missed block-matmul-matmul

// What others read too must be written.
// RUN: optc opt --passes 'fuse,fuse-blocks' --target rpi4
graph @main(%x: tensor<1x8x112x112xf32, block(1, 4)>) -> ("a", "y") {
  %d = optc.constant {value = dense<0.5> : tensor<8x1x3x3xf32>} : tensor<8x1x3x3xf32>
  %p = optc.constant {value = dense<0.5> : tensor<8x8x1x1xf32>} : tensor<8x8x1x1xf32>
  %a = onnx.Conv(%x, %d) {group = 8, pads = [1, 1, 1, 1]} : tensor<1x8x112x112xf32, block(1, 4)>
  %y = onnx.Conv(%a, %p) : tensor<1x8x112x112xf32, block(1, 4)>
  return %a, %y
}
// CHECK: optc.fused(%x, %d)
// CHECK: optc.fused(%a, %p)
