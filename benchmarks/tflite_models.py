"""The MLPerf Tiny reference networks (int8 .tflite files of mlcommons/tiny) as ONNX models in QDQ form.

    python benchmarks/tflite_models.py ic.tflite -o ic.onnx

Every scale, zero point, weight and bias is kept, so that both files say the same arithmetic. Needs the package tflite.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

OPSET = 21
_DTYPES = {0: np.float32, 2: np.int32, 9: np.int8}  # by the codes of tflite.TensorType


class Converter:
    """Writes the first subgraph of a file; images become channels first."""

    def __init__(self, content: bytes) -> None:
        import tflite

        self.tflite = tflite
        self.file = tflite.Model.GetRootAsModel(content, 0)
        self.graph = self.file.Subgraphs(0)
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.reals: dict[int, str] = {}

    def convert(self, name: str) -> onnx.ModelProto:
        entering, leaving = int(self.graph.Inputs(0)), int(self.graph.Outputs(0))
        shape = self._shape(entering)
        self.reals[entering] = self._coded("input", entering)
        kinds = {value: key for key, value in vars(self.tflite.BuiltinOperator).items() if isinstance(value, int)}
        for index in range(self.graph.OperatorsLength()):
            operator = self.graph.Operators(index)
            kind = kinds[self.file.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()]
            getattr(self, f"_{kind.lower()}")(operator)
        inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)]
        result = self.reals[leaving]
        outputs = [helper.make_tensor_value_info(result, TensorProto.FLOAT, self._shape(leaving))]
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        onnx.checker.check_model(model)
        return model

    def _shape(self, index: int) -> list[int]:
        shape = [int(extent) for extent in self.graph.Tensors(index).ShapeAsNumpy()]
        return [shape[0], shape[3], shape[1], shape[2]] if len(shape) == 4 else shape

    def _array(self, index: int) -> np.ndarray:
        tensor = self.graph.Tensors(index)
        data = self.file.Buffers(tensor.Buffer()).DataAsNumpy()
        return np.frombuffer(data.tobytes(), _DTYPES[tensor.Type()]).reshape(tensor.ShapeAsNumpy())

    def _scales(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        quantization = self.graph.Tensors(index).Quantization()
        return quantization.ScaleAsNumpy().astype(np.float32), quantization.ZeroPointAsNumpy()

    def _add_node(self, kind: str, operands: list[str], **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, operands, [name], name=name, **attributes))
        return name

    def _constant(self, array: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def _coded(self, value: str, index: int) -> str:
        """The value rounded to the codes of a tensor."""
        scale, zero = self._scales(index)
        operands = [self._constant(scale.reshape(())), self._constant(zero.astype(np.int8).reshape(()))]
        return self._add_node("DequantizeLinear", [self._add_node("QuantizeLinear", [value, *operands]), *operands])

    def _dequantized(self, array: np.ndarray, scale: np.ndarray, axis: int) -> str:
        if scale.size == 1:
            return self._add_node("DequantizeLinear", [self._constant(array), self._constant(scale.reshape(()))])
        return self._add_node("DequantizeLinear", [self._constant(array), self._constant(scale)], axis=axis)

    def _finish(self, operator: Any, value: str, activation: int) -> None:
        """Clamp, and round to the codes of the operator's result."""
        if activation == self.tflite.ActivationFunctionType.RELU:
            value = self._add_node("Relu", [value])
        elif activation == self.tflite.ActivationFunctionType.RELU6:
            value = self._add_node("Clip", [value, *map(self._constant, (np.float32(0), np.float32(6)))])
        else:
            assert activation == self.tflite.ActivationFunctionType.NONE
        index = int(operator.Outputs(0))
        self.reals[index] = self._coded(value, index)

    def _options(self, operator: Any, kind: str) -> Any:
        options = getattr(self.tflite, kind)()
        table = operator.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
        return options

    def _contraction(self, operator: Any, kind: str, weights: np.ndarray, attributes: dict[str, Any]) -> str:
        """A Conv or Gemm whose weights have their outputs first."""
        scale, _ = self._scales(int(operator.Inputs(1)))
        data_scale, _ = self._scales(int(operator.Inputs(0)))
        operands = [self.reals[int(operator.Inputs(0))], self._dequantized(weights, scale, 0)]
        if operator.InputsLength() > 2 and operator.Inputs(2) >= 0:
            bias = self._array(int(operator.Inputs(2)))
            operands.append(self._dequantized(bias, (scale * data_scale).astype(np.float32), 0))
        return self._add_node(kind, operands, **attributes)

    def _window(self, options: Any, kernel: list[int]) -> dict[str, Any]:
        same = options.Padding() == self.tflite.Padding.SAME
        return {
            "kernel_shape": kernel,
            "strides": [options.StrideH(), options.StrideW()],
            "auto_pad": "SAME_UPPER" if same else "VALID",
        }

    def _conv_2d(self, operator: Any) -> None:
        options = self._options(operator, "Conv2DOptions")
        weights = self._array(int(operator.Inputs(1))).transpose(0, 3, 1, 2)
        made = self._contraction(operator, "Conv", weights, self._window(options, list(weights.shape[2:])))
        self._finish(operator, made, options.FusedActivationFunction())

    def _depthwise_conv_2d(self, operator: Any) -> None:
        options = self._options(operator, "DepthwiseConv2DOptions")
        weights = self._array(int(operator.Inputs(1))).transpose(3, 0, 1, 2)
        attributes = self._window(options, list(weights.shape[2:]))
        attributes["group"] = len(weights) // options.DepthMultiplier()
        made = self._contraction(operator, "Conv", weights, attributes)
        self._finish(operator, made, options.FusedActivationFunction())

    def _fully_connected(self, operator: Any) -> None:
        options = self._options(operator, "FullyConnectedOptions")
        weights = self._array(int(operator.Inputs(1)))
        made = self._contraction(operator, "Gemm", weights, {"transB": 1})
        self._finish(operator, made, options.FusedActivationFunction())

    def _add(self, operator: Any) -> None:
        operands = [self.reals[int(operator.Inputs(position))] for position in (0, 1)]
        options = self._options(operator, "AddOptions")
        self._finish(operator, self._add_node("Add", operands), options.FusedActivationFunction())

    def _average_pool_2d(self, operator: Any) -> None:
        options = self._options(operator, "Pool2DOptions")
        attributes = self._window(options, [options.FilterHeight(), options.FilterWidth()])
        pooled = self._add_node("AveragePool", [self.reals[int(operator.Inputs(0))]], **attributes)
        self._finish(operator, pooled, options.FusedActivationFunction())

    def _reshape(self, operator: Any) -> None:
        source, result = int(operator.Inputs(0)), int(operator.Outputs(0))
        assert self._shape(source)[2:] in ([1, 1], []), "only what has one pixel keeps its order"
        shape = self._constant(np.asarray(self._shape(result), np.int64))
        self.reals[result] = self._coded(self._add_node("Reshape", [self.reals[source], shape]), result)

    def _softmax(self, operator: Any) -> None:
        softmax = self._add_node("Softmax", [self.reals[int(operator.Inputs(0))]], axis=-1)
        self._finish(operator, softmax, self.tflite.ActivationFunctionType.NONE)


def convert(path: Path) -> onnx.ModelProto:
    """The network of a file."""
    return Converter(path.read_bytes()).convert(path.stem)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    onnx.save(convert(arguments.file), arguments.output)


if __name__ == "__main__":
    main()
