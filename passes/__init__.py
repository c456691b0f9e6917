"""The passes that rewrite and plan a module, one file or folder each."""
