"""Where to cut a model that a device and servers behind it compute together: minimum cuts over predicted costs."""
