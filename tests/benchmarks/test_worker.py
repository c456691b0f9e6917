"""Processes that hold a peer: they answer, fail with one line, and are stopped in between."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.runtimes import Subject  # noqa: E402
from benchmarks.worker import Worker, WorkerError, median_seconds  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def subject(tmp_path) -> Subject:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    return Subject("relu", tmp_path / "m.onnx", {"x": np.float32([-1, 2, -3, 4])}, 1, tmp_path)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_worker_answers_and_is_stopped_in_between(subject, tmp_path):
    worker = Worker("onnxruntime", 1)
    try:
        outputs, facts = worker.ask("load", subject, tmp_path)
        assert (outputs[0].tolist(), facts) == ([0, 2, 0, 4], {})
        for _ in range(3000):
            if state(worker._process.pid) == "T":
                break
            time.sleep(0.01)
        assert state(worker._process.pid) == "T"
        assert worker.ask("measure", 0.001) > 0
        with pytest.raises(WorkerError, match=r"^AttributeError: '_Service' object has no attribute 'fly'$"):
            worker.ask("fly")
        assert worker.alive
    finally:
        worker.end()
    with pytest.raises(WorkerError, match=r"^its process ended \(-9\)$"):
        worker.ask("version")


def test_a_slow_call_is_made_once():
    calls = []
    assert median_seconds(lambda: (calls.append(1), time.sleep(0.01)), 0.005) >= 0.01
    assert len(calls) == 1
