"""The backends that turn a planned module into code, one folder each."""
