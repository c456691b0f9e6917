// RUN: optc opt --passes 'inline-loops,fold,dce'
graph @main(%x: tensor<2xf32>) -> ("y", "all") {
  %two = optc.constant {value = dense<2> : tensor<i64>} : tensor<i64>
  %yes = optc.constant {value = dense<true> : tensor<bool>} : tensor<bool>
  %y, %all = onnx.Loop(%two, %yes, %x) (
    body = graph @body(%i: tensor<i64>, %c: tensor<bool>, %v: tensor<2xf32>) -> ("again", "next", "seen") {
      %again = onnx.Identity(%c) : tensor<bool>
      %next = onnx.Add(%v, %x) : tensor<2xf32>
      %seen = onnx.Neg(%v) : tensor<2xf32>
      return %again, %next, %seen
    }
  ) : tensor<2xf32>, tensor<2x2xf32>
  return %y, %all
}
// CHECK: %y = onnx.Add
// CHECK: %all = onnx.Concat
// -----
graph @main(%x: tensor<2xf32>) -> ("y", "all") {
  %a = onnx.Add(%x, %x) : tensor<2xf32>
  %b = onnx.Neg(%x) : tensor<2xf32>
  %axis = optc.constant {value = dense<[0]> : tensor<1xi64>} : tensor<1xi64>
  %c = onnx.Unsqueeze(%b, %axis) : tensor<1x2xf32>
  %y = onnx.Add(%a, %x) : tensor<2xf32>
  %d = onnx.Neg(%a) : tensor<2xf32>
  %axis2 = optc.constant {value = dense<[0]> : tensor<1xi64>} : tensor<1xi64>
  %e = onnx.Unsqueeze(%d, %axis2) : tensor<1x2xf32>
  %all = onnx.Concat(%c, %e) {axis = 0} : tensor<2x2xf32>
  return %y, %all
}

// RUN: optc opt --passes 'inline-loops'
graph @main(%x: tensor<2xf32>, %n: tensor<i64>) -> ("y") {
  %y = onnx.Loop(%n, none, %x) (
    body = graph @body(%i: tensor<i64>, %c: tensor<bool>, %v: tensor<2xf32>) -> ("again", "next") {
      %next = onnx.Neg(%v) : tensor<2xf32>
      return %c, %next
    }
  ) : tensor<2xf32>
  return %y
}
// REMARK: missed inline-loop: the number of rounds is known only at run time
// CHECK: onnx.Loop

// RUN: optc opt --passes 'inline-loops{max-operations=2}'
graph @main(%x: tensor<2xf32>) -> ("y") {
  %three = optc.constant {value = dense<3> : tensor<i64>} : tensor<i64>
  %y = onnx.Loop(%three, none, %x) (
    body = graph @body(%i: tensor<i64>, %c: tensor<bool>, %v: tensor<2xf32>) -> ("again", "next") {
      %next = onnx.Neg(%v) : tensor<2xf32>
      return %c, %next
    }
  ) : tensor<2xf32>
  return %y
}
// REMARK: missed inline-loop: 3 rounds of 1 operations are above max-operations = 2
// CHECK: onnx.Loop

// RUN: optc opt --passes 'inline-loops'
graph @main(%x: tensor<2xf32>, %limit: tensor<f32>) -> ("y") {
  %three = optc.constant {value = dense<3> : tensor<i64>} : tensor<i64>
  %y = onnx.Loop(%three, none, %x) (
    body = graph @body(%i: tensor<i64>, %c: tensor<bool>, %v: tensor<2xf32>) -> ("again", "next") {
      %next = onnx.Neg(%v) : tensor<2xf32>
      %sum = onnx.ReduceSum(%next) {keepdims = 0} : tensor<f32>
      %again = onnx.Less(%sum, %limit) : tensor<bool>
      return %again, %next
    }
  ) : tensor<2xf32>
  return %y
}
// REMARK: missed inline-loop: the body decides whether it runs again
// CHECK: onnx.Loop
