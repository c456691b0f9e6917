"""The onnx backend: regions, or the whole optimized model, as ONNX files for onnxruntime."""
