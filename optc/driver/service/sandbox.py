"""The limits of a worker process, taken on by itself before it sees a model."""

from __future__ import annotations

import ctypes
import os
import sys

from optc.processes import die_with_parent

_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000


def enter(parent: int, memory: int, seconds: int, disk: int) -> None:
    """Give up what a compile does not need; children inherit it.

    Memory, processor time, the size of files and dumps of memory are limited; programs gain no privileges; where the
    system lets everybody make namespaces, there is no network.

    Args:
        parent: the process that ends this one when it ends.
        memory: bytes of address space.
        seconds: of processor time.
        disk: bytes of a file.
    """
    import resource

    die_with_parent(parent)
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, disk),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(None, use_errno=True)
        library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        library.unshare(_CLONE_NEWNET if os.geteuid() == 0 else _CLONE_NEWUSER | _CLONE_NEWNET)
