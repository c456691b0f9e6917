"""Schedule templates; importing this package registers all of them."""

from optc.backends.cuda.templates import attention, depthwise, generic, rows, simt, tensor_core  # noqa: F401
