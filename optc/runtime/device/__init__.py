"""Run artifacts on devices that are elsewhere."""
