"""Schedules measured for models without compiling these: here or on a Ray cluster, and carried between machines."""

from __future__ import annotations
