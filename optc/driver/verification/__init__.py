"""A staged artifact against the model that it came from, here or in an emulator."""
