"""Quantized models in integer arithmetic: what QuantizeLinear and DequantizeLinear say, without the floats between."""
