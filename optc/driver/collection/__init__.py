"""Collect measured kernels: sample workloads and points, build them in workers, time them, append them to a store."""
