"""A split model at work: the device half, the wire, the server half, and the whole model where neither helps."""

from __future__ import annotations
