"""A split model at work: the device half, the wire, the server half, and the whole model where neither helps."""

from __future__ import annotations

from optc.runtime.split.client import Answer, Chooser, Client, Fixed, Report
from optc.runtime.split.link import State, Timing
from optc.runtime.split.observation import Observation
from optc.runtime.split.server import Limits, Server
from optc.runtime.split.tiers import NextTier

__all__ = [
    "Answer",
    "Chooser",
    "Client",
    "Fixed",
    "Limits",
    "NextTier",
    "Observation",
    "Report",
    "Server",
    "State",
    "Timing",
]
