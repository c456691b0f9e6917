"""The jobs of a service: each has a folder with its model, its state and, at last, its artifact."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optc.driver.project.records import write_json
from optc.driver.service.settings import Settings
from optc.driver.service.worker import ARTIFACT, MODEL, Worker, read_json

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
_ID = re.compile(r"[0-9a-f]{16}")
_STATE = "job.json"


@dataclass
class Job:
    """A job as clients see it.

    Attributes:
        id: 16 hexadecimal digits.
        options: words for `optc compile`.
        status: queued, running, done, failed or cancelled.
        phase: what a running compile does.
        error: why it failed.
        code: the exit code of `optc compile` when it has ended.
        submitted, started, ended: seconds since the epoch.
    """

    id: str
    options: list[str]
    status: str = QUEUED
    phase: str = ""
    error: str = ""
    code: int | None = None
    submitted: float = 0.0
    started: float | None = None
    ended: float | None = None


class Full(Exception):
    """The queue takes no further job now."""


class Queue:
    """Jobs in the order in which they came, on so many workers as the settings say; they survive a restart."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._jobs: dict[str, Job] = {}
        self._workers: dict[str, Worker] = {}
        self._lock = threading.Lock()
        self._closed = False
        settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._pool = ThreadPoolExecutor(max_workers=settings.workers, thread_name_prefix="optc-compile")
        self._load()

    def new_folder(self) -> tuple[str, Path]:
        """The id and the folder of a job whose model is still to come. Raises Full."""
        with self._lock:
            if sum(job.status == QUEUED for job in self._jobs.values()) >= self.settings.queued:
                raise Full
        name = secrets.token_hex(8)
        folder = self.settings.folder / name
        folder.mkdir(mode=0o700)
        return name, folder

    def drop(self, folder: Path) -> None:
        """Remove the folder of a job that does not come about."""
        shutil.rmtree(folder, ignore_errors=True)

    def submit(self, name: str, options: Sequence[str]) -> Job:
        """Queue the job whose model lies in its folder."""
        job = Job(name, list(options), submitted=time.time())
        with self._lock:
            self._jobs[name] = job
            self._save(job)
        self._pool.submit(self._run, job)
        return job

    def job(self, name: str) -> Job | None:
        """The job of an id, if there is one."""
        return self._jobs.get(name)

    def jobs(self) -> list[Job]:
        """All jobs, those that came first first."""
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: job.submitted)

    def artifact(self, job: Job) -> Path:
        """Where the artifact of a finished job lies."""
        return self.settings.folder / job.id / ARTIFACT

    def cancel(self, job: Job) -> None:
        """Stop a job, or forget a finished one."""
        with self._lock:
            worker = self._workers.get(job.id)
            if job.status == QUEUED:
                self._end(job, CANCELLED, None, "")
            elif job.status != RUNNING:
                self._forget(job)
        if worker is not None:
            worker.stop("a client cancelled it")

    def close(self) -> None:
        """Stop all workers; queued and running jobs are queued again by the next start."""
        self._closed = True
        with self._lock:
            workers = list(self._workers.values())
        for worker in workers:
            worker.stop("the service stops")
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, job: Job) -> None:
        folder = self.settings.folder / job.id
        with self._lock:
            if job.status != QUEUED or self._closed:
                return
            job.status, job.started = RUNNING, time.time()
            self._save(job)
            try:
                worker = self._workers[job.id] = Worker(folder, job.options, self.settings)
            except OSError as fault:
                self._end(job, FAILED, 1, f"error: the compile cannot be started: {fault.strerror}")
                return

        def phase(text: str) -> None:
            job.phase = text

        try:
            ended = worker.wait(phase)
        finally:
            with self._lock:
                del self._workers[job.id]
        with self._lock:
            if self._closed and worker.stopped:
                return
            cancelled = worker.stopped.startswith("a client")
            status = DONE if ended.code == 0 else CANCELLED if cancelled else FAILED
            self._end(job, status, ended.code, ended.error)

    def _end(self, job: Job, status: str, code: int | None, error: str) -> None:
        job.status, job.code, job.error, job.phase, job.ended = status, code, error, "", time.time()
        folder = self.settings.folder / job.id
        shutil.rmtree(folder / "tmp", ignore_errors=True)
        (folder / MODEL).unlink(missing_ok=True)
        self._save(job)
        ended = [each for each in self._jobs.values() if each.ended is not None]
        for each in sorted(ended, key=lambda each: each.ended or 0.0)[: -self.settings.kept]:
            self._forget(each)

    def _forget(self, job: Job) -> None:
        del self._jobs[job.id]
        shutil.rmtree(self.settings.folder / job.id, ignore_errors=True)

    def _save(self, job: Job) -> None:
        write_json(self.settings.folder / job.id / _STATE, asdict(job))

    def _load(self) -> None:
        """Take over the jobs of an earlier service; what it had not finished is compiled again."""
        found: list[Job] = []
        for folder in self.settings.folder.iterdir():
            if not _ID.fullmatch(folder.name) or folder.is_symlink():
                continue
            job = _job(read_json(folder / _STATE), folder.name)
            if job is None or (job.ended is None and not (folder / MODEL).is_file()):
                shutil.rmtree(folder, ignore_errors=True)  # its upload was cut off
                continue
            found.append(job)
        for job in sorted(found, key=lambda job: job.submitted):
            self._jobs[job.id] = job
            if job.ended is None:
                job.status, job.started = QUEUED, None
                self._pool.submit(self._run, job)


def _job(record: dict[str, Any] | None, name: str) -> Job | None:
    try:
        job = Job(**record) if record is not None else None
    except TypeError:
        return None
    return job if job is not None and job.id == name else None
