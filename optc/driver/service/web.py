"""The HTTP interface of a compile service.

| request | answer |
| --- | --- |
| `POST /jobs?target=cpu&dim=batch=1`, the model as body | 202 and the job |
| `GET /jobs`, `GET /jobs/ID` | the jobs |
| `GET /jobs/ID/artifact` | the artifact as a tar file |
| `DELETE /jobs/ID` | stops or forgets the job |
| `GET /health` | whether the service lives; needs no token |

All but the last one need `Authorization: Bearer TOKEN`.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import re
import socket
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from optc import targets
from optc.artifact.manifest import files_in
from optc.driver.service.queue import DONE, QUEUED, Full, Job, Queue
from optc.driver.service.settings import Settings
from optc.driver.service.worker import MODEL
from optc.errors import OptcError

OPTIONS: Mapping[str, tuple[str, re.Pattern[str]]] = {
    "target": ("--target", re.compile(r"[A-Za-z0-9_.@-]{1,64}")),
    "tune": ("--tune", re.compile(r"auto|\d{1,5}(\.\d{1,3})?[sm]?")),
    "threads": ("--threads", re.compile(r"[1-9]\d{0,3}")),
    "shape": ("--shape", re.compile(r"[^=]{1,256}=\d{1,9}([,x]\d{1,9}){0,15}")),
    "dim": ("--dim", re.compile(r"[^=]{1,256}=\d{1,9}")),
    "memory_limit": ("--memory-limit", re.compile(r"\d{1,12}(\.\d{1,3})?[KMGkmg]?")),
    "cost_model": ("--cost-model", re.compile(r"auto|analytical|learned")),
    "backend": ("--backend", re.compile(r"[a-z-]{1,32}")),
    "emit": ("--emit", re.compile(r"static|shared|ort-custom-op")),
    "name": ("--name", re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII)),
}
"""What a request may ask for, and how it may look: nothing that names a file."""


def application(settings: Settings) -> FastAPI:
    """The ASGI application; its queue starts and stops with it.

    Raises:
        OptcError: there is no token.
    """
    if not settings.token:
        raise OptcError("the service has no token", hint="--token-file FILE")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.queue = Queue(settings)
        yield
        await asyncio.to_thread(app.state.queue.close)

    app = FastAPI(title="optc", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    async def authorized(request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {settings.token}".encode()):
            raise HTTPException(401, "a valid token is needed", {"WWW-Authenticate": "Bearer"})

    def found(request: Request) -> Job:
        job = request.app.state.queue.job(request.path_params["name"])
        if job is None:
            raise HTTPException(404, "there is no such job")
        return job

    guarded = [Depends(authorized)]

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/jobs", status_code=202, dependencies=guarded)
    async def submit(request: Request) -> Any:
        queue: Queue = request.app.state.queue
        options = _options(request.query_params.multi_items())
        if isinstance(options, str):
            raise HTTPException(422, options)
        if int(request.headers.get("content-length") or 0) > settings.model_bytes:
            raise HTTPException(413, f"models may have {settings.model_bytes} bytes")
        try:
            name, folder = queue.new_folder()
        except Full:
            raise HTTPException(503, "the queue is full", {"Retry-After": "60"}) from None
        if not await _received(request, folder / MODEL, settings.model_bytes):
            queue.drop(folder)
            raise HTTPException(413, f"models may have {settings.model_bytes} bytes")
        if (folder / MODEL).stat().st_size == 0:
            queue.drop(folder)
            raise HTTPException(422, "the body holds no model")
        return JSONResponse(_described(queue, queue.submit(name, options)), 202)

    @app.get("/jobs", dependencies=guarded)
    async def listing(request: Request) -> Any:
        queue: Queue = request.app.state.queue
        return {"jobs": [_described(queue, job) for job in queue.jobs()]}

    @app.get("/jobs/{name}", dependencies=guarded)
    async def status(request: Request) -> Any:
        return _described(request.app.state.queue, found(request))

    @app.get("/jobs/{name}/artifact", dependencies=guarded)
    async def download(request: Request) -> Any:
        job = found(request)
        if job.status != DONE:
            raise HTTPException(409, f"the job is {job.status}")
        folder = request.app.state.queue.artifact(job)
        headers = {"Content-Disposition": f'attachment; filename="{job.id}.tar"'}
        return StreamingResponse(_tar(folder), media_type="application/x-tar", headers=headers)

    @app.delete("/jobs/{name}", status_code=204, dependencies=guarded, response_class=Response, response_model=None)
    async def cancel(request: Request) -> Response:
        await asyncio.to_thread(request.app.state.queue.cancel, found(request))
        return Response(status_code=204)

    return app


def _options(given: list[tuple[str, str]]) -> list[str] | str:
    """The words for `optc compile`, or what is wrong."""
    words = []
    for name, value in given:
        if name not in OPTIONS:
            return f"'{name}' is no option; there are {', '.join(OPTIONS)}"
        option, pattern = OPTIONS[name]
        if not pattern.fullmatch(value):
            return f"'{value[:64]}' is no value for {name}"
        words.append(f"{option}={value}")
        if name == "target" and value.split("@")[0] not in targets.available():
            return f"there is no target '{value}'"
    return words


async def _received(request: Request, path: Path, most: int) -> bool:
    """Write the body into a file; False where it is too long."""
    size = 0
    with open(path, "xb") as file:
        async for piece in request.stream():
            size += len(piece)
            if size > most:
                return False
            await asyncio.to_thread(file.write, piece)
    return True


def _described(queue: Queue, job: Job) -> dict[str, Any]:
    record = asdict(job)
    if job.status == QUEUED:
        record["position"] = sum(each.status == QUEUED and each.submitted < job.submitted for each in queue.jobs())
    return record


async def _tar(folder: Path) -> AsyncIterator[bytes]:
    """The files of a folder as a tar file that depends on their names and contents alone."""
    for name in files_in(folder):
        path = folder / name
        info = tarfile.TarInfo(name)
        info.size = path.stat().st_size
        yield info.tobuf(tarfile.PAX_FORMAT)
        with open(path, "rb") as file:
            while piece := await asyncio.to_thread(file.read, 1 << 20):
                yield piece
        yield bytes(-info.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until the process is stopped.

    Raises:
        OptcError: the address cannot be had, or there is no token.
    """
    app = application(settings)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as fault:
        raise OptcError(
            "the service cannot listen", where=f"{host}:{port}", why=os.strerror(fault.errno or 0)
        ) from fault
    print(f"optc: serving on http://{host}:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_keep_alive=5)).run(sockets=[listener])
