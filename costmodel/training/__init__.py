"""The training run: configuration, checkpoints, resumption, early stopping and logs."""
