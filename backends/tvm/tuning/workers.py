"""Run functions in child processes that may crash or hang without harm."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from optc.processes import die_with_parent

Task = Callable[[], Any]


@dataclass
class _Running:
    number: int
    process: Any
    deadline: float


def run_isolated(
    tasks: Iterator[tuple[int, Task]], processes: int, limit: float, deadline: float
) -> Iterator[tuple[int, Any]]:
    """Results of tasks as they come, each run in a forked process of its own; None for one that failed.

    Args:
        tasks: numbered; taken one by one when a process is free.
        processes: how many run at once.
        limit: seconds that one task may take.
        deadline: the `time.monotonic()` after which no further task is started.
    """
    context = multiprocessing.get_context("fork")
    running: dict[Connection, _Running] = {}
    exhausted = False
    while running or not exhausted:
        while not exhausted and len(running) < processes:
            following = next(tasks, None) if time.monotonic() < deadline else None
            if following is None:
                exhausted = True
                break
            number, task = following
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_report, args=(task, sender, os.getpid()), daemon=True)
            process.start()
            sender.close()
            running[receiver] = _Running(number, process, time.monotonic() + limit)
        if not running:
            break
        ready = wait(list(running), timeout=max(0.0, min(r.deadline for r in running.values()) - time.monotonic()))
        late = [c for c, r in running.items() if c not in ready and time.monotonic() >= r.deadline]
        for connection in [*ready, *late]:
            assert isinstance(connection, Connection)
            finished = running.pop(connection)
            result = None
            if connection in ready:
                try:
                    result = connection.recv()
                except EOFError:
                    pass
            else:
                finished.process.kill()
            connection.close()
            finished.process.join()
            yield finished.number, result


def _report(task: Task, sender: Connection, parent: int) -> None:
    die_with_parent(parent)
    faulthandler.disable()  # a crash is an answer here, not a fault to show
    try:
        sender.send(task())
    except Exception:  # whatever went wrong costs this task only
        sender.send(None)
