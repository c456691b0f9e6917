"""The compile service as a real server on the loopback: jobs, artifacts, tokens, limits, and a restart."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_kit import model, node, value

from optc import artifact
from optc.runtime import load

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

TOKEN = "a secret of this test"
NET = model([node("MatMul", "x w", "y", "fc")], [value("x", [2, 3])], ["y"], {"w": np.ones((3, 4), np.float32)})
LARGE = model([node("MatMul", "x w", "y", "fc")], [value("x", [1 << 30, 3])], ["y"], {"w": np.ones((3, 4), np.float32)})
"""A small file that needs 30 GB to run."""
QUICK = "?tune=0"


@dataclass
class Server:
    url: str
    folder: Path
    process: subprocess.Popen[str]

    def __call__(
        self, method: str, path: str, body: bytes | None = None, token: str | None = TOKEN
    ) -> tuple[int, bytes]:
        request = urllib.request.Request(self.url + path, body, method=method)
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def submitted(self, body: bytes, query: str = QUICK) -> str:
        code, answer = self("POST", f"/jobs{query}", body)
        assert code == 202, answer
        return json.loads(answer)["id"]

    def finished(self, job: str) -> dict[str, Any]:
        for _ in range(2400):
            record = json.loads(self("GET", f"/jobs/{job}")[1])
            if record["ended"] is not None:
                return record
            time.sleep(0.05)
        raise AssertionError(f"the job does not end: {record}")


def started(folder: Path, *options: str) -> Server:
    environment = {**os.environ, "OPTC_SERVICE_TOKEN": TOKEN, "OPTC_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-m", "optc", "serve-compile", "--port", "0", "--folder", str(folder / "jobs"), *options]
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("optc: serving on http://127.0.0.1:"), line
    return Server(line.split()[-1], folder / "jobs", process)


def stopped(server: Server, how: signal.Signals = signal.SIGTERM) -> None:
    server.process.send_signal(how)
    server.process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = started(tmp_path_factory.mktemp("service"), "--max-model", "64K", "--queue", "3", "--memory", "6G")
    yield made
    stopped(made)


def test_a_model_becomes_an_artifact(server: Server, tmp_path: Path) -> None:
    job = server.submitted(NET.SerializeToString())
    record = server.finished(job)
    assert (record["status"], record["code"], record["error"]) == ("done", 0, "")
    code, content = server("GET", f"/jobs/{job}/artifact")
    assert code == 200
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(tmp_path / "out", filter="data")
    assert artifact.read(tmp_path / "out").manifest.command == "optc compile model.onnx --tune 0"
    with load(tmp_path / "out") as loaded:
        np.testing.assert_allclose(loaded.run({"x": np.ones((2, 3), np.float32)})["y"], np.full((2, 4), 3.0))
    assert not (server.folder / job / "model.onnx").exists() and not (server.folder / job / "tmp").exists()
    assert server("DELETE", f"/jobs/{job}") == (204, b"")
    assert server("GET", f"/jobs/{job}")[0] == 404 and not (server.folder / job).exists()


def test_a_bad_model_fails_with_its_reason(server: Server) -> None:
    record = server.finished(server.submitted(b"no model"))
    assert (record["status"], record["code"]) == ("failed", 1)
    assert record["error"].startswith("error: The file is not an ONNX model, or it is truncated")
    assert server("GET", f"/jobs/{record['id']}/artifact")[0] == 409


def test_nothing_without_the_token(server: Server) -> None:
    for method, path in (("GET", "/jobs"), ("POST", "/jobs"), ("GET", "/jobs/0"), ("DELETE", "/jobs/0")):
        for token in (None, "", "another", TOKEN[:-1]):
            assert server(method, path, b"" if method == "POST" else None, token)[0] == 401
    assert server("GET", "/health", token=None) == (200, b'{"status":"ok"}')
    assert server("GET", "/openapi.json")[0] == 404


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("?passes=fold", "'passes' is no option"),
        ("?target=../mine.toml", "'../mine.toml' is no value for target"),
        ("?target=nowhere", "there is no target 'nowhere'"),
        ("?tune=0%20-o%20/etc", "'0 -o /etc' is no value for tune"),
        ("?name=--output", "'--output' is no value for name"),
    ],
)
def test_options_that_nobody_may_give(query: str, detail: str, server: Server) -> None:
    code, answer = server("POST", f"/jobs{query}", NET.SerializeToString())
    assert code == 422 and json.loads(answer)["detail"].startswith(detail)


def test_models_that_are_too_large_or_empty(server: Server) -> None:
    before = sorted(server.folder.iterdir())
    assert server("POST", "/jobs", bytes((64 << 10) + 1))[0] == 413
    assert server("POST", "/jobs", b"")[0] == 422
    assert server("GET", "/jobs/../../etc/passwd")[0] in (400, 404)
    assert sorted(server.folder.iterdir()) == before


def test_the_queue_is_limited_and_a_job_can_be_cancelled(server: Server) -> None:
    body = NET.SerializeToString()
    jobs, code = [], 202
    while code == 202:
        code, answer = server("POST", "/jobs?tune=0", body)
        if code == 202:
            jobs.append(json.loads(answer)["id"])
        assert len(jobs) < 40
    assert code == 503
    for job in jobs:
        server("DELETE", f"/jobs/{job}")
    states = {json.loads(answer)["status"] for job in jobs for c, answer in [server("GET", f"/jobs/{job}")] if c == 200}
    assert states <= {"cancelled", "done", "running"}
    assert "cancelled" in states


def test_a_compile_that_needs_too_much_memory_ends_and_the_service_goes_on(server: Server) -> None:
    jobs = [server.submitted(body.SerializeToString()) for body in (LARGE, NET)]
    large, small = map(server.finished, jobs)
    assert (large["status"], large["code"]) == ("failed", 1)
    assert large["error"].startswith("error: the compile needed more than 6442 MB of memory\n  "), large["error"]
    assert not (server.folder / jobs[0] / "artifact").exists() and not (server.folder / jobs[0] / "tmp").exists()
    assert (small["status"], small["error"]) == ("done", "")
    assert server.process.poll() is None


def test_a_compile_keeps_to_its_limits_and_jobs_survive_a_kill(tmp_path: Path) -> None:
    slow = started(tmp_path, "--time", "1s")
    try:
        job = slow.submitted(NET.SerializeToString(), "?tune=30s")
        record = slow.finished(job)
        assert record["status"] == "failed"
        assert record["error"] == "error: the compile was stopped: it took more than 1 seconds"
        assert slow("GET", "/health")[0] == 200
        waiting = [slow.submitted(NET.SerializeToString()) for _ in range(2)]
    finally:
        stopped(slow, signal.SIGKILL)
    again = started(tmp_path, "--memory", "6G")
    try:
        records = [again.finished(each) for each in waiting]
        assert [each["status"] for each in records] == ["done", "done"], [each["error"] for each in records]
        assert json.loads(again("GET", f"/jobs/{job}")[1])["error"] == record["error"]
    finally:
        stopped(again)


def test_no_token_no_service(tmp_path: Path) -> None:
    environment = {name: text for name, text in os.environ.items() if name != "OPTC_SERVICE_TOKEN"}
    command = [sys.executable, "-m", "optc", "serve-compile", "--port", "0", "--folder", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "error: the service has no token\n  hint: --token-file FILE\n")
