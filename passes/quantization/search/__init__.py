"""The precision of each layer as an optimization problem, and its exact solution."""
