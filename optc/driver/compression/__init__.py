"""Smaller model files: lossy where a ratio is asked for, lossless where not."""
