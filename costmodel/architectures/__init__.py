"""Whole networks of a search space, described by their encoding: features, predictors, adaptation to new devices."""
