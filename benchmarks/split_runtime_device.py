"""The devices of `benchmarks/split_runtime.py`: run inside the device's namespace, print `ready`, then JSON.

Every answer is compared, bit by bit, with what the halves of the way that it came by compute here without a network.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from optc.artifact.split_reading import read_record
from optc.artifact.split_record import SplitRecord, write_record
from optc.runtime.random_inputs import random_inputs
from optc.runtime.split import Client, Fixed, State, Timing
from optc.runtime.split.handshake import read_secret
from optc.runtime.split.ways import open_way

INPUTS = 16


def references(folder: Path, record: SplitRecord, inputs: list[dict[str, np.ndarray]]) -> dict[str, list[Any]]:
    """For each way, the outputs for each input, with all halves run here and all values coded and decoded."""
    found: dict[str, list[Any]] = {}
    for entry, way in enumerate(record.ways):
        device = open_way(folder, record, entry, server=False, threads=1)
        server = open_way(folder, record, entry, server=True, threads=1)
        outputs = []
        for values in inputs:
            made = dict(values)
            if device.engine is not None and way.device is not None:
                made |= device.engine.run({info.name: values[info.name] for info in way.device.inputs})
            if server.engine is not None:
                made |= device.returned.decode(
                    server.returned.encode(server.engine.run(server.sent.decode(device.sent.encode(made))))
                )
            outputs.append({info.name: made[info.name] for info in record.outputs})
        found[way.name] = outputs
        for side in (device, server):
            if side.engine is not None:
                side.engine.close()
    return found


class Fleet:
    """Devices in threads, each with a connection of its own."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.folder = arguments.split
        self.record = read_record(self.folder)
        self.secret = read_secret(arguments.secret_file)
        self.arguments = arguments
        infos = self.record.inputs
        self.inputs = [random_inputs(infos, seed) for seed in range(INPUTS)]
        self.references = references(self.folder, self.record, self.inputs)
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.seconds: dict[str, list[float]] = {"server": [], "device": []}
        self.sent: dict[str, list[int]] = {}

    def use(self, number: int, requests: int) -> None:
        """One device: requests one after the other, with random pauses."""
        generator = random.Random(number)
        remote = [way.name for way in self.record.ways if way.server is not None]
        address = self.arguments.damaged if number % 5 < 2 else self.arguments.server
        way = remote[number % len(remote)]
        timing = Timing(connect=2.0, backoff=0.05, backoff_most=1.0, ping=0.5, dead=1.0)
        with Client(
            self.folder, address, secret=self.secret, chooser=Fixed(way), timeout=1.0, threads=1, timing=timing
        ) as client:
            client.connect()
            for _ in range(requests):
                index = generator.randrange(INPUTS)
                try:
                    answer = client.run(self.inputs[index])
                except Exception as fault:
                    with self.lock:
                        self.counts["not answered"] += 1
                        self.reasons[f"not answered: {fault}"] += 1
                    continue
                due = self.references[answer.report.way][index]
                right = all(np.array_equal(answer.outputs[name], due[name], equal_nan=True) for name in due)
                with self.lock:
                    self.counts["answered"] += 1
                    self.counts["with the server" if answer.report.remote else "by the device"] += 1
                    self.counts["wrong"] += not right
                    self.reasons[answer.report.reason.split(": [")[0]] += bool(answer.report.reason)
                    self.seconds["server" if answer.report.remote else "device"].append(answer.report.seconds)
                    if answer.report.remote:
                        self.sent.setdefault(way, []).append(answer.report.sent_bytes)
                time.sleep(generator.expovariate(1 / self.arguments.pause))

    def strangers(self) -> dict[str, Any]:
        """A device of another model, and one without the secret: refused with a reason, right all the same."""
        found = {}
        with tempfile.TemporaryDirectory() as folder:
            other = Path(folder, "other")
            shutil.copytree(self.folder, other)
            from dataclasses import replace

            write_record(other, replace(self.record, source="0" * 64))
            for name, place, secret in (
                ("another model", other, self.secret),
                ("no secret", self.folder, b"a guess of sixteen bytes or more"),
            ):
                way = next(way.name for way in self.record.ways if way.server is not None)
                with Client(place, self.arguments.server, secret=secret, chooser=Fixed(way), threads=1) as client:
                    client.connect()
                    answer = client.run(self.inputs[0])
                    due = self.references["local"][0]
                    right = all(np.array_equal(answer.outputs[key], due[key]) for key in due)
                    found[name] = {
                        "state": client.state.value,
                        "said": str(client.refusal),
                        "right": right and client.state is State.REFUSED and not answer.report.remote,
                    }
        return found


def fleet(arguments: argparse.Namespace) -> dict[str, Any]:
    devices = Fleet(arguments)
    print("ready", flush=True)
    strangers = devices.strangers()
    each = arguments.requests // arguments.devices
    threads = [threading.Thread(target=devices.use, args=(index, each)) for index in range(arguments.devices)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "model": devices.record.model,
        "requests": each * arguments.devices,
        "devices": arguments.devices,
        "wall seconds": round(time.monotonic() - began, 1),
        "counts": dict(devices.counts),
        "reasons": {reason: count for reason, count in devices.reasons.most_common() if count},
        "strangers": strangers,
        "milliseconds": {
            place: [round(1e3 * value, 2) for value in _quantiles(found)]
            for place, found in devices.seconds.items()
            if len(found) > 1
        },
        "bytes sent": {way: round(statistics.mean(found)) for way, found in sorted(devices.sent.items())},
    }


def _quantiles(found: list[float]) -> tuple[float, float, float]:
    """Median, 99th percentile and the most."""
    ordered = sorted(found)
    return ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], ordered[-1]


def alone(arguments: argparse.Namespace) -> dict[str, Any]:
    """One throttled device that answers as many requests as it can."""
    record = read_record(arguments.split)
    inputs = [random_inputs(record.inputs, seed) for seed in range(4)]
    chooser = None if arguments.way == "adaptive" else Fixed(arguments.way)
    secret = read_secret(arguments.secret_file)
    with Client(arguments.split, arguments.server, secret=secret, chooser=chooser, timeout=20.0, threads=1) as client:
        for way in record.ways:
            client._open(way.name)  # loading is no part of a request
        client.connect()
        print("ready", flush=True)
        sys.stdin.readline()  # whoever started this has throttled it now
        seconds: list[float] = []
        ways: Counter[str] = Counter()
        sent = 0
        began = time.monotonic()
        while time.monotonic() - began < arguments.seconds or len(seconds) < 3:
            report = client.run(inputs[len(seconds) % len(inputs)]).report
            seconds.append(report.seconds)
            ways[report.way] += 1
            sent += report.sent_bytes
        seen = client.observer.observation
    return {
        "requests": len(seconds),
        "median_ms": round(1e3 * statistics.median(seconds), 1),
        "mean_ms": round(1e3 * statistics.mean(seconds), 1),
        "p95_ms": round(1e3 * sorted(seconds)[int(0.95 * len(seconds))], 1),
        "ways": dict(ways),
        "kilobytes": round(sent / 1e3 / len(seconds), 1),
        "rtt_ms": None if seen.rtt_seconds is None else round(1e3 * seen.rtt_seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--secret-file", type=Path, required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--damaged")
    parser.add_argument("--requests", type=int)
    parser.add_argument("--devices", type=int)
    parser.add_argument("--pause", type=float)
    parser.add_argument("--way")
    parser.add_argument("--seconds", type=float)
    arguments = parser.parse_args()
    print(json.dumps(alone(arguments) if arguments.way else fleet(arguments)))


if __name__ == "__main__":
    main()
