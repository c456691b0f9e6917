"""The version of optc, for modules that must not import the whole package."""

from __future__ import annotations

__version__ = "0.1.0"
