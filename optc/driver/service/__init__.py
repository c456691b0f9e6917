"""Compiles as a service for teams that share a machine: a queue, workers with limits, and an HTTP interface."""

from __future__ import annotations
