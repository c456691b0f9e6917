// Epilogues go with the convolution, the residual is read from outside, weights stay operands, scalars go inside.
// RUN: optc opt --passes 'fuse' --target x86-64-v3
graph @main(%x: tensor<1x16x32x32xf32>) -> ("y") {
  %k = optc.constant {value = dense<0.5> : tensor<16x16x3x3xf32>} : tensor<16x16x3x3xf32>
  %six = optc.constant {value = dense<6.0> : tensor<f32>} : tensor<f32>
  %zero = optc.constant {value = dense<0.0> : tensor<f32>} : tensor<f32>
  %a = onnx.Conv(%x, %k) {pads = [1, 1, 1, 1]} : tensor<1x16x32x32xf32> loc("conv")
  %b = onnx.Add(%a, %x) : tensor<1x16x32x32xf32> loc("add")
  %y = onnx.Clip(%b, %zero, %six) : tensor<1x16x32x32xf32> loc("clip")
  return %y
}
// REMARK: applied fuse-conv-add-clip: 3 operations in one kernel
// -----
graph @main(%x: tensor<1x16x32x32xf32>) -> ("y") {
  %k = optc.constant {value = dense<0.5> : tensor<16x16x3x3xf32>} : tensor<16x16x3x3xf32>
  %six = optc.constant {value = dense<6.0> : tensor<f32>} : tensor<f32>
  %zero = optc.constant {value = dense<0.0> : tensor<f32>} : tensor<f32>
  %y = optc.fused(%x, %k) (
    body = graph @body(%p: tensor<1x16x32x32xf32>, %q: tensor<16x16x3x3xf32>) -> ("y") {
      %lo = optc.constant {value = dense<0.0> : tensor<f32>} : tensor<f32>
      %hi = optc.constant {value = dense<6.0> : tensor<f32>} : tensor<f32>
      %a = onnx.Conv(%p, %q) {pads = [1, 1, 1, 1]} : tensor<1x16x32x32xf32>
      %b = onnx.Add(%a, %p) : tensor<1x16x32x32xf32>
      %c = onnx.Clip(%b, %lo, %hi) : tensor<1x16x32x32xf32>
      return %c
    }
  ) : tensor<1x16x32x32xf32>
  return %y
}

// A value that others need too is written as well, and the kernel goes on.
// RUN: optc opt --passes 'fuse' --target x86-64-v3
graph @main(%x: tensor<1x16x32x32xf32>) -> ("a", "y") {
  %a = onnx.Sigmoid(%x) : tensor<1x16x32x32xf32>
  %b = onnx.Mul(%x, %a) : tensor<1x16x32x32xf32>
  %y = onnx.Tanh(%b) : tensor<1x16x32x32xf32>
  return %a, %y
}
// REMARK: applied fuse-sigmoid-mul-tanh
// CHECK: optc.fused(%x)
// CHECK: return %a, %y

// Two convolutions are two kernels; a pooling window does not work out its operand again and again.
// RUN: optc opt --passes 'fuse' --target x86-64-v3
graph @main(%x: tensor<1x16x32x32xf32>) -> ("y") {
  %k = optc.constant {value = dense<0.5> : tensor<16x16x3x3xf32>} : tensor<16x16x3x3xf32>
  %a = onnx.Conv(%x, %k) {pads = [1, 1, 1, 1]} : tensor<1x16x32x32xf32>
  %b = onnx.Relu(%a) : tensor<1x16x32x32xf32>
  %c = onnx.Conv(%b, %k) {pads = [1, 1, 1, 1]} : tensor<1x16x32x32xf32>
  %d = onnx.Tanh(%c) : tensor<1x16x32x32xf32>
  %e = onnx.MaxPool(%d) {kernel_shape = [2, 2]} : tensor<1x16x31x31xf32>
  %y = onnx.Relu(%e) : tensor<1x16x31x31xf32>
  return %y
}
// REMARK: applied fuse-conv-relu
// REMARK: applied fuse-conv-tanh
// REMARK: applied fuse-maxpool-relu

// A view alone is no kernel; what a reshape must know goes inside when it is fused.
// RUN: optc opt --passes 'fuse' --target x86-64-v3
graph @main(%x: tensor<4x6xf32>) -> ("y", "z") {
  %s = optc.constant {value = dense<[3, 8]> : tensor<2xi64>} : tensor<2xi64>
  %z = onnx.Reshape(%x, %s) : tensor<3x8xf32>
  %a = onnx.Exp(%x) : tensor<4x6xf32>
  %b = onnx.Reshape(%a, %s) : tensor<3x8xf32>
  %y = onnx.Transpose(%b) {perm = [1, 0]} : tensor<8x3xf32>
  return %y, %z
}
// CHECK: onnx.Reshape(%x, %s)
// CHECK: optc.fused(%x)
// CHECK: optc.constant {value = dense<[3, 8]>
// CHECK: onnx.Transpose

// Operations without native code are left alone, with the reason.
// RUN: optc opt --passes 'fuse' --target x86-64-v3
graph @main(%x: tensor<4x6xf32>) -> ("y") {
  %a = onnx.Relu(%x) : tensor<4x6xf32>
  %b = onnx.RandomUniformLike(%a) : tensor<4x6xf32>
  %y = onnx.Add(%a, %b) : tensor<4x6xf32>
  return %y
}
// REMARK: missed native: onnx.RandomUniformLike is opaque
// CHECK: optc.fused(%x)
// CHECK: onnx.RandomUniformLike(%a)
// CHECK: optc.fused(%a, %b)

// The branches of an If are divided too.
// RUN: optc opt --passes 'fuse' --target x86-64-v3
graph @main(%x: tensor<4x6xf32>, %c: tensor<bool>) -> ("y") {
  %y = onnx.If(%c) (
    then_branch = graph @then() -> ("t") {
      %a = onnx.Relu(%x) : tensor<4x6xf32>
      %t = onnx.Exp(%a) : tensor<4x6xf32>
      return %t
    },
    else_branch = graph @else() -> ("e") {
      %e = onnx.Abs(%x) : tensor<4x6xf32>
      return %e
    }
  ) : tensor<4x6xf32>
  return %y
}
// REMARK: applied fuse-relu-exp
// CHECK: then_branch
// CHECK: optc.fused(%x)
// CHECK: else_branch
// CHECK: optc.fused(%x)
