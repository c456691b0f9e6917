"""Quantization of a model on data: calibration, post-training methods, analysis and mixed precision."""
