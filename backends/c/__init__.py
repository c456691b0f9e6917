"""The c backend: a model as one C99 file and one header for processors without an operating system."""
