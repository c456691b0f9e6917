"""The files of an artifact, by what its backend emits."""
