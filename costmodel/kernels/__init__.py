"""The learned cost model of kernels: measured rows, features, predictors, and the model that steers the passes."""
