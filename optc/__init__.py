"""optc: compile a trained model into the fastest deployable that it can prove correct."""
