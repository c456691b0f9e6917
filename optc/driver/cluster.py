"""Ray, which spreads work over processes and machines, where it is installed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from optc.errors import OptcError

LONGEST_WAIT = 1.0  # seconds until it is looked again whether there is time for more


@contextlib.contextmanager
def cluster() -> Iterator[Any]:
    """The module `ray`, connected: to the cluster that $RAY_ADDRESS names, else to one on this machine.

    Raises:
        OptcError: Ray is not installed, or the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise OptcError("Ray is not installed", where="--ray", hint="pip install 'optc[cluster]'") from error
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(log_to_driver=False, include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise OptcError("the Ray cluster cannot be reached", where="--ray", why=str(error)) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def spread(ray: Any, work: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
    """Results of `work(*task)` with the tasks' numbers, as they come; as many tasks run as the cluster has processors.

    Args:
        ray: of `cluster`.
        work: a function of a module that the machines of the cluster have.
        tasks: taken one by one when a processor is free.

    Raises:
        OptcError: a task failed.
    """
    remote = ray.remote(work)
    processors = max(1, int(ray.cluster_resources().get("CPU", 1)))
    running: dict[Any, int] = {}
    numbered = enumerate(tasks)
    exhausted = False
    while running or not exhausted:
        while not exhausted and len(running) < processors:
            following = next(numbered, None)
            if following is None:
                exhausted = True
                break
            number, task = following
            running[remote.remote(*task)] = number
        ready, _ = ray.wait(list(running), num_returns=1, timeout=LONGEST_WAIT) if running else ([], [])
        for reference in ready:
            number = running.pop(reference)
            try:
                yield number, ray.get(reference)
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None)
                if isinstance(cause, OptcError):
                    raise cause from error
                why = str(error).strip().splitlines()[-1]
                raise OptcError("work on the Ray cluster failed", where="--ray", why=why) from error
