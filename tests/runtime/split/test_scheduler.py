"""The server's queue: bounded, in batches where that is right, and nobody is forgotten."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from split_kit import SECRET, InThread, change_model, make_split, values

from optc.artifact.split_reading import read_record
from optc.artifact.split_record import CutTensor, Half, Predicted, SplitRecord, Way, half_digest, write_record
from optc.errors import OptcError
from optc.program import TensorInfo
from optc.runtime.split import Client, Fixed, Limits, Server, Timing
from optc.runtime.split.batches import can_batch, compute
from optc.runtime.split.budget import Budget
from optc.runtime.split.frames import FrameFault
from optc.runtime.split.messages import Reply, Request
from optc.runtime.split.scheduler import Busy, Scheduler
from optc.runtime.split.tensors import CodedTensor
from optc.runtime.split.ways import Crossing, OpenWay, open_way

SHAPE = (1, 4)


class Slow:
    """An engine that waits for a signal, and counts how many requests run at a time."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.calls = 0

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert self.go.wait(10)
        self.calls += 1
        if (inputs["h"] == 13).any():
            raise OptcError("thirteen is not computed")
        return {"y": -inputs["h"]}

    def close(self) -> None:
        pass


def slow_way(engine: Any, entry: int = 0) -> OpenWay:
    half = Half("f", "native", "cpu", (_info("h"),), (_info("y"),), "0" * 64)
    sent, returned = (CutTensor(name, "float32", SHAPE, "raw", 16) for name in "hy")
    way = Way(f"cut{entry}", None, half, (sent,), (returned,), Predicted(0, 0))
    return OpenWay(entry, way, engine, Crossing([sent], way, Path()), Crossing([returned], way, Path()))


def _info(name: str, first: int | None = None) -> TensorInfo:
    return TensorInfo(name, "float32", (first, 4))


def ask(value: float, patience: int = 10_000) -> Request:
    return Request(0, patience, [CodedTensor("float32", SHAPE, np.full(SHAPE, value, np.float32).tobytes())])


def number(reply: Reply) -> float:
    return float(np.frombuffer(reply.tensors[0].data, np.float32)[0])


def run(work: Callable[[], Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work(), 5))


def test_a_full_queue_says_when_to_come_back() -> None:
    async def work() -> None:
        engine, scheduler = Slow(), Scheduler(workers=1, places=2)
        way = slow_way(engine)
        first = [asyncio.create_task(scheduler.answer(way, ask(value))) for value in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy) as caught:
            await scheduler.answer(way, ask(9))
        assert caught.value.retry_ms >= 1 and caught.value.statistics.queued == 2
        engine.go.set()
        assert [number(reply) for reply in await asyncio.gather(*first)] == [0, -1, -2]
        assert [reply.statistics.queued for reply in await asyncio.gather(*first)] == [2, 1, 0]
        assert scheduler.totals.refused == 1 and scheduler.totals.answered == 3
        scheduler.close()

    run(work)


def test_requests_that_nobody_waits_for_are_dropped() -> None:
    async def work() -> None:
        engine, scheduler = Slow(), Scheduler(workers=1, places=9)
        way = slow_way(engine)
        first = asyncio.create_task(scheduler.answer(way, ask(1)))
        late = asyncio.create_task(scheduler.answer(way, ask(2, patience=10)))
        gone = asyncio.create_task(scheduler.answer(way, ask(3)))
        await asyncio.sleep(0.05)
        gone.cancel()
        engine.go.set()
        assert number(await first) == -1
        with pytest.raises(OptcError, match="the request waited longer than the client does"):
            await late
        assert engine.calls == 1 and scheduler.totals.expired == 1
        scheduler.close()

    run(work)


def test_one_bad_request_harms_no_other() -> None:
    engine = Slow()
    engine.go.set()
    bad = Request(0, 10, [CodedTensor("float32", SHAPE, b"short")])
    answers = compute(slow_way(engine), [ask(1), bad, ask(13), ask(2)])
    assert number(answers[0]) == -1 and number(answers[3]) == -2  # type: ignore[arg-type]
    assert isinstance(answers[1], FrameFault) and str(answers[2]) == "thirteen is not computed"


@pytest.fixture(scope="module")
def onnx_split(tmp_path_factory: pytest.TempPathFactory, kernels: bytes) -> Path:
    """A split model whose server halves are ONNX with an open batch: one by item, and one that mixes the items."""
    folder = tmp_path_factory.mktemp("batched") / "build"
    record = read_record(make_split(folder, kernels))
    ways = [record.ways[0]]
    for name, nodes in {"apart": _scaled("h"), "mixed": [*_mean("h"), *_scaled("m")]}.items():
        graph = helper.make_graph(
            nodes, name, [_value("h", ["batch", 1000])], [_value("y", ["batch", 1000])]
        )  # fmt: skip
        place = folder / name
        place.mkdir()
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.save(model, place / "model.onnx")
        half = Half(name, "onnx", "cpu", (_open("h"),), (_open("y"),), half_digest(place, "onnx"))
        sent, returned = (CutTensor(value, "float32", (1, 1000), "raw", 4000) for value in "hy")
        device = record.ways[2].device
        assert device is not None
        device = replace(device, outputs=(TensorInfo("h", "float32", (1, 1000)),))
        ways.append(Way(name, device, half, (sent,), (returned,), Predicted(0, 0)))
    write_record(folder, SplitRecord(**{**_fields(record), "ways": tuple(ways), "chosen": "apart"}))
    return folder


def _fields(record: SplitRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def _value(name: str, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def _open(name: str) -> TensorInfo:
    return TensorInfo(name, "float32", (None, 1000))


def _scaled(source: str) -> list[onnx.NodeProto]:
    return [helper.make_node("Neg", [source], ["y"])]


def _mean(source: str) -> list[onnx.NodeProto]:
    zero = helper.make_tensor("zero", onnx.TensorProto.INT64, [1], [0])
    return [
        helper.make_node("Constant", [], ["axes"], value=zero),
        helper.make_node("ReduceMean", [source, "axes"], ["mean"], keepdims=1),
        helper.make_node("Sub", [source, "mean"], ["m"]),
    ]


def test_only_what_keeps_items_apart_is_batched(onnx_split: Path) -> None:
    record = read_record(onnx_split)
    apart, mixed = (open_way(onnx_split, record, entry, server=True) for entry in (1, 2))
    assert can_batch(apart)
    assert not can_batch(mixed)  # the mean over a batch of one is the item itself, over two it is not
    h = [values(seed)["x"].reshape(1, 1000) for seed in range(3)]
    answers = compute(apart, [Request(1, 10, [CodedTensor("float32", (1, 1000), x.tobytes())]) for x in h])
    for x, reply in zip(h, answers, strict=True):
        assert isinstance(reply, Reply)
        assert np.array_equal(np.frombuffer(reply.tensors[0].data, np.float32), -x[0])


def test_devices_share_runs_of_the_server(onnx_split: Path) -> None:
    """Ten devices at once, one worker: answers stay apart, and some come from one run."""
    reports = []

    def ask_once(seed: int) -> None:
        with Client(onnx_split, server.address, secret=SECRET, chooser=Fixed("apart"), threads=1) as device:
            assert device.connect()
            begin.wait()
            for repeat in range(5):
                answer = device.run(values(seed + repeat))
                assert np.array_equal(answer.outputs["y"].ravel(), -2 * values(seed + repeat)["x"])
                reports.append(answer.report)

    begin = threading.Barrier(10)
    with InThread(Server(onnx_split, secret=SECRET, limits=Limits(workers=1, batch=4))) as server:
        threads = [threading.Thread(target=ask_once, args=(10 * index,)) for index in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        totals = server.server.totals
    assert len(reports) == 50 and all(report.remote for report in reports)
    assert totals.answered == 50 and totals.batches < 50


def test_what_waits_is_computed_together() -> None:
    class Batched(Slow):
        def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            sizes.append(len(inputs["h"]))
            return super().run(inputs)

    async def work() -> None:
        engine = Batched()
        one, other = slow_way(engine), slow_way(engine, entry=1)
        scheduler = Scheduler(workers=1, places=20, batch=4, batched=[one])
        tasks = [asyncio.create_task(scheduler.answer(one, ask(value))) for value in range(4)]
        tasks.append(asyncio.create_task(scheduler.answer(other, ask(4))))
        tasks += [asyncio.create_task(scheduler.answer(one, ask(value))) for value in range(5, 8)]
        await asyncio.sleep(0.05)
        engine.go.set()
        replies = await asyncio.gather(*tasks)
        assert [number(reply) for reply in replies] == [-value for value in range(8)]
        assert sizes == [1, 4, 1, 2]
        assert [reply.statistics.batch for reply in replies] == [1, 4, 4, 4, 1, 4, 2, 2]
        assert scheduler.totals.batches == 4
        scheduler.close()

    sizes: list[int] = []
    run(work)


def test_a_busy_server_leaves_the_device_to_itself(split: Path) -> None:
    limits = Limits(workers=1, queue=1, in_flight=8)
    with InThread(Server(split, secret=SECRET, limits=limits)) as server:
        engine = Slow()
        (served,) = server.server._served.values()
        ways = served.ways
        ways[2] = replace(ways[2], engine=engine)  # type: ignore[assignment]
        with Client(
            split, server.address, secret=SECRET, chooser=Fixed("cut0"), timing=Timing(), timeout=5.0
        ) as device:
            assert device.connect()
            reports = []
            threads = [threading.Thread(target=lambda: reports.append(device.run(values(0)).report)) for _ in range(5)]
            for thread in threads:
                thread.start()
            while len(reports) < 3:
                time.sleep(0.005)
            engine.go.set()
            for thread in threads:
                thread.join()
        assert sorted(report.reason for report in reports) == ["", "", *["the server is busy"] * 3]


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.data())
def test_a_budget_is_never_exceeded(amounts: list[int], data: st.DataObject) -> None:
    async def work() -> None:
        budget, held = Budget(20), 0
        order: list[int] = []
        most: list[int] = []

        async def task(index: int, amount: int) -> None:
            nonlocal held
            taken = await budget.take(amount)
            held += taken
            order.append(index)
            most.append(held)
            try:
                await asyncio.sleep(0)
            finally:
                held -= taken
                budget.give(taken)

        tasks = [asyncio.create_task(task(index, amount)) for index, amount in enumerate(amounts)]
        await asyncio.sleep(0)
        for index in data.draw(st.sets(st.integers(0, len(tasks) - 1))):
            tasks[index].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        survivors = [index for index, done in enumerate(tasks) if not done.cancelled()]
        assert [index for index in order if index in survivors] == survivors
        assert max(most, default=0) <= 20 and held == 0
        assert await asyncio.wait_for(budget.take(20), 1) == 20

    run(work)


def test_the_model_is_part_of_the_identity(kernels: bytes, tmp_path: Path) -> None:
    folder = make_split(tmp_path / "build", kernels)
    before = read_record(folder).identity
    change_model(folder)
    assert read_record(folder).identity != before
