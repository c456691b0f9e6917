"""Project files: several models, each for several targets, compiled where something changed."""

from __future__ import annotations
