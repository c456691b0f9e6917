"""Models that learn to be divided, in PyTorch: bottlenecks at a cut, and early exits."""
