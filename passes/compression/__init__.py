"""Weights in fewer bytes: steps that cost the model least for the bytes they save, and entropy coding."""
