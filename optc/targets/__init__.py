"""What is known of the devices that optc compiles for: one TOML file each, and the host as it detects itself."""

from __future__ import annotations

from optc.targets.library import available, load
from optc.targets.target import Cache, Target

__all__ = ["Cache", "Target", "available", "load"]
