"""Latencies of single GPU operators from their shapes and the specifications of the device."""
