"""A model over a device and a server: what each part costs, where to cut, and the artifacts of both sides."""
