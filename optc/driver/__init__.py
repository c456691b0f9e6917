"""The driver: `compile` and what it is made of."""

from __future__ import annotations

from optc.driver.compile import compile

__all__ = ["compile"]
