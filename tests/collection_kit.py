"""A few small workloads to collect."""

from __future__ import annotations

from onnx import ModelProto

from optc.backends import kernel_backend
from optc.backends.interface import KernelBackend
from optc.driver.collection.networks import random_network
from optc.driver.collection.workloads import VARIANTS, KernelWorkload, planned, workloads_of
from optc.targets import load


def backend() -> KernelBackend:
    """The one that makes kernels."""
    found = kernel_backend("tvm")
    assert found is not None
    return found


def small_workloads(count: int = 2) -> list[KernelWorkload]:
    """The simplest groups of some random networks."""
    target = load("cpu")
    found: dict[str, KernelWorkload] = {}
    for seed in range(3):
        network: ModelProto = random_network(seed)
        for workload in workloads_of(planned(network, backend(), target, VARIANTS[0][0]), "random"):
            found.setdefault(workload.key, workload)
    return sorted(found.values(), key=lambda each: len(each.ir))[:count]
