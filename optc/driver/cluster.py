"""Ray, which spreads work over processes and machines, where it is installed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from optc.errors import OptcError

LONGEST_WAIT = 1.0  # seconds until it is looked again whether there is time for more


@contextlib.contextmanager
def cluster(address: str | None = None, workers: int | None = None) -> Iterator[Any]:
    """The module `ray`, connected: to the cluster at an address or at $RAY_ADDRESS, else to one on this machine.

    Args:
        address: `HOST:PORT`, `ray://HOST:PORT`, `auto` for one that runs on this machine, `local` for a new one.
        workers: processors of a cluster that is started here; None for all.

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
    here = address == "local" or not (address or os.environ.get("RAY_ADDRESS"))
    own = {"num_cpus": workers, "include_dashboard": False} if here else {}
    try:
        ray.init(address=address or None, log_to_driver=False, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise OptcError("the Ray cluster cannot be reached", where="--ray", why=str(error)) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def spread(
    ray: Any,
    work: Callable[..., Any],
    tasks: Iterable[tuple[Any, ...]],
    *,
    most: int | None = None,
    resources: Callable[..., Mapping[str, float]] = lambda *_task: {},
) -> Iterator[tuple[int, Any]]:
    """Results of `work(*task)` with the tasks' numbers, as they come; as many tasks run as the cluster has processors.

    Args:
        ray: of `cluster`.
        work: a function of a module that the machines of the cluster have.
        tasks: taken one by one when a processor is free.
        most: tasks at a time.
        resources: what a node must have for a task, beside a processor.

    Raises:
        OptcError: a task failed.
    """
    remote = ray.remote(work)
    processors = max(1, int(ray.cluster_resources().get("CPU", 1)))
    processors = min(processors, most or processors)
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
            running[remote.options(resources=dict(resources(*task))).remote(*task)] = number
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
