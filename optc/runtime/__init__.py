"""Load artifacts and run them, measure them, and compare them with the source model."""

from __future__ import annotations

from optc.runtime.library import StepTime
from optc.runtime.loaded import Artifact, load

__all__ = ["Artifact", "StepTime", "load"]
