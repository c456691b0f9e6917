"""Quantized models that learn, in PyTorch: rounding after training, and fine-tuning."""
