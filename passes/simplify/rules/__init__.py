"""The rules of canonicalize, by topic."""
