"""From a planned module to kernels, steps and addresses."""
