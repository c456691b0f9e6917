"""A split model of trained bottlenecks, served over a real socket in this process: bytes on the wire, and answers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from torch import Tensor

from optc.artifact.split_record import MODEL, CutTensor, Half, Predicted, SplitRecord, Way, half_digest, write_record
from optc.driver.split.build import TrainedWay
from optc.driver.split.learning.writing import CODES
from optc.errors import OptcError
from optc.frontends import load_model
from optc.program import TensorInfo
from optc.runtime.split import Client, Server
from optc.runtime.split.client import Answer, Fixed
from optc.targets.link import load_link

SECRET = b"for measuring only, on this machine"
_TRIES = 20


def _half(folder: Path, place: str, model: onnx.ModelProto) -> Half:
    """A half that onnxruntime runs."""
    (folder / place).mkdir(parents=True)
    (folder / place / MODEL).write_bytes(model.SerializeToString())
    graph = load_model(model).module.main
    inputs = tuple(_info(value.name, value.tensor_type) for value in graph.inputs)
    names = zip(graph.output_names, graph.outputs, strict=True)
    outputs = tuple(_info(name, value.tensor_type) for name, value in names)
    return Half(place, "onnx", "cpu", inputs, outputs, half_digest(folder / place, "onnx"))


def _info(name: str, type: Any) -> TensorInfo:
    return TensorInfo(name, type.dtype.numpy_name, type.static_shape)


def _crossing(info: TensorInfo, encoding: str = "raw", size: int = 0) -> CutTensor:
    return CutTensor(info.name, info.dtype, tuple(extent or 0 for extent in info.shape or ()), encoding, size)


def write_split(folder: Path, trained: list[TrainedWay]) -> None:
    """The folder of a split model whose ways all are trained."""
    ways = []
    for given in trained:
        device = _half(folder, f"cuts/{given.name}/device", given.device)
        server = _half(folder, f"cuts/{given.name}/server", given.server)
        for name, content in given.files.items():
            (folder / "cuts" / given.name / name).write_bytes(content)
        sent = _crossing(server.inputs[0], given.encodings[CODES], given.sizes[CODES])
        returned = tuple(_crossing(info) for info in server.outputs)
        ways.append(Way(given.name, device, server, (sent,), returned, Predicted(0.0, 0.0), given.drop, given.details))
    record = SplitRecord(
        model="bottleneck",
        source=hashlib.sha256(b"bottleneck").hexdigest(),
        device="cpu",
        server="cpu",
        idle_watts=1.0,
        link=load_link("wifi").to_dict(),
        objective="latency",
        inputs=ways[0].device.inputs if ways[0].device else (),
        outputs=ways[0].server.outputs if ways[0].server else (),
        ways=tuple(ways),
        chosen=ways[0].name,
    )
    write_record(folder, record)


def exchange(folder: Path, way: str, images: Tensor, labels: np.ndarray) -> dict[str, float]:
    """Send every image through one way; bytes on the wire in each direction, and accuracy."""
    figures, scores = exchange_all(folder, way, images, "pixels")
    return {**figures, "accuracy": float((scores.argmax(1) == labels).mean())}


def _answered(client: Client, inputs: dict[str, np.ndarray]) -> Answer:
    """A server's answer; on a busy machine one may come too late."""
    for _ in range(_TRIES):
        with contextlib.suppress(OptcError):
            return client.run(inputs)
    return client.run(inputs)


def exchange_all(folder: Path, way: str, images: Tensor, name: str) -> tuple[dict[str, float], np.ndarray]:
    """Send every image through one way, as the input of that name: mean bytes on the wire each way, and the answers."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = Server(folder, secret=SECRET)
    found = []
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(20)
        address = "{}:{}".format(*server.address)
        sent = received = 0
        with Client(folder, address, secret=SECRET, chooser=Fixed(way), threads=1) as client:
            client.connect()
            for image in images.split(1):
                answer = _answered(client, {name: image.float().numpy()})
                assert answer.report.remote, answer.report.reason
                sent += answer.report.sent_bytes
                received += answer.report.received_bytes
                found += answer.outputs.values()
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
    count = len(images)
    return {"sent": sent / count, "received": received / count, "images": count}, np.concatenate(found)
