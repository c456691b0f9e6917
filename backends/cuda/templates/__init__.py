"""Schedule templates; importing this package registers all of them."""

from optc.backends.cuda.templates import generic, rows, simt  # noqa: F401
