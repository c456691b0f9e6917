"""Which NVIDIA GPUs this machine has, and whether code that was compiled for some kinds of them runs here."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass

LIBRARY = "libcuda.so.1"

_MAJOR, _MINOR = 75, 76  # attributes of a device, in the driver's stable numbering

EMBEDDED = frozenset({53, 62, 72, 87, 101, 110})
"""Of system-on-chips: their cubins and those of other GPUs are not exchangeable within a major version."""


@dataclass(frozen=True)
class Gpus:
    """What the driver says.

    Attributes:
        capabilities: of each GPU, 87 for 8.7.
        reason: why there are none; empty where there are.
    """

    capabilities: tuple[int, ...]
    reason: str = ""


def gpu_refusal(codes: Sequence[str]) -> str | None:
    """Why none of this machine's GPUs can run any of some codes; None where one can.

    Args:
        codes: `sm_80` for a cubin, `compute_80` for PTX.
    """
    found = gpus()
    if found.reason:
        return found.reason
    if any(runs_on(code, capability) for code in codes for capability in found.capabilities):
        return None
    here = ", ".join(f"sm_{capability}" for capability in found.capabilities)
    return f"it has code for {', '.join(codes)}, and this machine's GPUs are {here}"


def runs_on(code: str, capability: int) -> bool:
    """Whether a cubin or PTX runs on a GPU, by the rules of the CUDA programming guide."""
    kind, _, number = code.partition("_")
    made_for = int(number)
    if kind == "compute" or made_for == capability:
        return made_for <= capability
    same = made_for // 10 == capability // 10 and made_for < capability
    return same and not {made_for, capability} & EMBEDDED


@functools.cache
def gpus() -> Gpus:
    """The GPUs that the CUDA driver lists."""
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        return Gpus((), "the CUDA driver is not installed")
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return Gpus((), "this machine has no GPU that CUDA can use")
    return Gpus(tuple(_capability(driver, ordinal) for ordinal in range(count.value)))


def _capability(driver: ctypes.CDLL, ordinal: int) -> int:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), ordinal)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    return 10 * major.value + minor.value
