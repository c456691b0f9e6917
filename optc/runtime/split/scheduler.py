"""The server's queue: bounded, in order of arrival, computed by a pool of threads, in batches where the halves allow.

Kernels release Python's global lock, so threads compute at the same time. A worker that becomes free takes the oldest
request and with it those of the same way that already wait; nobody waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from optc.errors import OptcError
from optc.runtime.split.batches import compute
from optc.runtime.split.messages import Reply, Request, Statistics
from optc.runtime.split.ways import OpenWay

_FORGETTING = 0.1  # of the mean service time, for each request


class Busy(Exception):
    """The queue is full.

    Attributes:
        retry_ms: when a place is likely to be free, in milliseconds.
        statistics: of the server now.
    """

    def __init__(self, retry_ms: int, statistics: Statistics) -> None:
        super().__init__("the server is busy")
        self.retry_ms = retry_ms
        self.statistics = statistics


@dataclass
class _Job:
    way: OpenWay
    request: Request
    answer: asyncio.Future[Reply]
    arrived: float = field(default_factory=time.monotonic)

    @property
    def expired(self) -> bool:
        return time.monotonic() - self.arrived > self.request.patience_ms / 1e3


@dataclass
class Totals:
    """What the server has done since it started."""

    answered: int = 0
    failed: int = 0
    refused: int = 0
    expired: int = 0
    batches: int = 0


class Scheduler:
    """The queue and its workers; used from one event loop.

    Args:
        workers: requests, or batches, that are computed at a time.
        places: requests that may wait.
        batch: the most requests in a batch.
        batched: the ways whose requests may be computed together.
    """

    def __init__(self, workers: int, places: int, batch: int = 1, batched: Collection[OpenWay] = ()) -> None:
        self.workers = workers
        self.totals = Totals()
        self._places = places
        self._batch = batch
        self._batched = frozenset(map(id, batched))
        self._pool = ThreadPoolExecutor(workers, "optc-serve")
        self._waiting: deque[_Job] = deque()
        self._running = 0
        self._service = 0.0

    @property
    def statistics(self) -> Statistics:
        return Statistics(queued=len(self._waiting), service_us=round(self._service * 1e6))

    async def answer(self, way: OpenWay, request: Request) -> Reply:
        """Compute a request when its turn comes.

        Raises:
            Busy: the queue is full.
            FrameFault: its tensors are not what the way's server half reads.
            OptcError: the half failed, or nobody waits for the answer any more.
        """
        if len(self._waiting) >= self._places:
            self.totals.refused += 1
            ahead = len(self._waiting) + self._running
            raise Busy(round(ahead / self.workers * self._service * 1e3) + 1, self.statistics)
        job = _Job(way, request, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._dispatch()
        return await job.answer

    def close(self) -> None:
        """Forget what waits and end the workers."""
        while self._waiting:
            self._waiting.popleft().answer.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _dispatch(self) -> None:
        while self._waiting and self._running < self.workers:
            batch = self._next_batch()
            if batch:
                self._running += 1
                task = asyncio.get_running_loop().run_in_executor(self._pool, _timed, batch)
                task.add_done_callback(lambda done, batch=batch: self._done(batch, done))  # type: ignore[misc]

    def _next_batch(self) -> list[_Job]:
        """The oldest request and those that can be computed with it; empty when nobody waits for the oldest."""
        first = self._waiting.popleft()
        if first.answer.done():
            return []
        if first.expired:
            self.totals.expired += 1
            first.answer.set_exception(OptcError("the request waited longer than the client does"))
            return []
        batch: list[_Job] = [first]
        others: list[_Job] = []
        most = self._batch if id(first.way) in self._batched else 1
        while self._waiting and len(batch) < most:
            job = self._waiting.popleft()
            fits = job.way is first.way and not job.expired and not job.answer.done()
            (batch if fits else others).append(job)
        self._waiting.extendleft(reversed(others))
        return batch

    def _done(self, batch: list[_Job], done: asyncio.Future[tuple[list[Reply | Exception], float, float]]) -> None:
        self._running -= 1
        if not done.cancelled():
            answers, began, seconds = done.result()
            self.totals.batches += 1
            self._service += (seconds - self._service) * (_FORGETTING if self._service else 1.0)
            for job, answer in zip(batch, answers, strict=True):
                waited = round((began - job.arrived) * 1e6)
                self._give(job, answer, Statistics(len(self._waiting), len(batch), waited, round(seconds * 1e6)))
        self._dispatch()

    def _give(self, job: _Job, answer: Reply | Exception, statistics: Statistics) -> None:
        if job.answer.done():
            return
        if isinstance(answer, Exception):
            self.totals.failed += 1
            job.answer.set_exception(answer)
        else:
            self.totals.answered += 1
            job.answer.set_result(Reply(statistics, answer.tensors))


def _timed(batch: Sequence[_Job]) -> tuple[list[Reply | Exception], float, float]:
    """Compute a batch; with when it began and how many seconds it took."""
    began = time.monotonic()
    answers = compute(batch[0].way, [job.request for job in batch])
    return answers, began, time.monotonic() - began
