"""A split model for real: a throttled process as the device, `optc serve` on this host, a relay that replays a trace.

    python benchmarks/split_real.py --model net.onnx --shape x=1,3,224,224 --trace drive.csv --out build/split_real
    python -m benchmarks.split_real --large efficientnet_lite2 --work build/large --trace drive.csv --out build/real

The second line takes a model and the bottlenecks of benchmarks/bottleneck_large.py, and photographs as requests.
The device is a process that is stopped and continued so that it computes 1/SLOWER of the time. Halves run in
onnxruntime on both sides; the device's figures are those of this host over SLOWER. Each policy answers requests for
SECONDS. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from optc import targets  # noqa: E402
from optc.artifact.split_reading import read_record  # noqa: E402
from optc.driver.split.build import SplitOptions, build_split, prepare_split  # noqa: E402
from optc.driver.split.traces import Trace, read_trace  # noqa: E402
from optc.runtime.random_inputs import random_inputs  # noqa: E402
from optc.runtime.split import Client, Fixed, Timing  # noqa: E402
from optc.runtime.split.client import Chooser  # noqa: E402
from optc.runtime.split.control import ModelPredictive  # noqa: E402
from optc.targets.link import Link  # noqa: E402

_TICK = 0.016  # seconds: the period of stopping and continuing the device
_CHUNK = 1448
_PICTURES = "pictures.npy"
_LEARNED = 64  # pictures that tables of codes are counted on
_SECRET = b"only for this benchmark"


def figures(folder: Path, name: str, slower: float) -> str:
    """A target file with this host's figures on one core, divided, for halves that run in onnxruntime."""
    host = targets.load("cpu")
    peaks = "\n".join(f"{dtype} = {peak / slower}" for dtype, peak in host.peak_flops.items())
    path = folder / f"{name}.toml"
    path.write_text(
        f'description = "this host, {slower:g} times slower"\nbackends = []\ncores = 1\n'
        f"memory_bytes = {host.memory_bytes}\nmemory_bandwidth = {host.memory_bandwidth / slower}\n"
        f"memory_bandwidth_all = {host.memory_bandwidth / slower}\nlaunch_seconds = 5e-6\n\n[peak_flops]\n{peaks}\n"
    )
    return str(path)


class Relay:
    """Passes bytes between a port of its own and a server, as fast as a trace lets them, `rtt / 2` later."""

    def __init__(self, trace: Trace, server: int, rtt: float, down: float) -> None:
        self.trace, self.server, self.rtt, self.down = trace, server, rtt, down
        self.port = 0
        self.began = time.monotonic()
        self._ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True).start()
        self._ready.wait()

    def restart(self) -> None:
        """The trace begins anew."""
        self.began = time.monotonic()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await server.serve_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self.server)
        for end in (writer, forth):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(self._pass(reader, forth, 1.0), self._pass(back, writer, self.down))

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, faster: float) -> None:
        loop, free = asyncio.get_running_loop(), 0.0
        try:
            while data := await source.read(_CHUNK):
                now = time.monotonic() - self.began
                free = self.trace.transfer_end(max(now, free), len(data) / faster)
                due = self.began + free + self.rtt / 2
                loop.call_later(max(0.0, due - time.monotonic()), sink.write, data)
                if free - now > 0.05:  # what the link has not taken waits at the sender
                    await asyncio.sleep(free - now - 0.05)
        except (ConnectionError, OSError):
            pass
        finally:
            sink.close()


def throttle(process: subprocess.Popen[str], slower: float) -> None:
    """Let a process run 1/slower of the time until it ends."""
    while process.poll() is None:
        try:
            os.kill(process.pid, signal.SIGCONT)
            time.sleep(_TICK / slower)
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(_TICK * (1 - 1 / slower))
        except ProcessLookupError:
            return


def device(folder: str, address: str, policy: str, seconds: float) -> None:
    """The device's process: answer requests, print their latencies."""
    record = read_record(folder)
    chooser: Chooser = ModelPredictive.of_record(record) if policy == "adaptive" else Fixed(policy)
    kept = Path(folder).parent / _PICTURES
    pictures = np.load(kept)[:, None] if kept.exists() else None
    requests = [random_inputs(record.inputs)]
    if pictures is not None:
        requests = [{record.inputs[0].name: picture} for picture in pictures]
    latencies, ways = [], []
    with Client(folder, address, secret=_SECRET, chooser=chooser, threads=1, timing=Timing(probe=1.0)) as client:
        client.connect(20.0)
        for _ in range(3):
            client.run(requests[0])
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = client.run(requests[len(latencies) % len(requests)])
            latencies.append(answer.report.seconds)
            ways.append(answer.report.way)
            time.sleep(0.05)
    print(json.dumps({"latencies": latencies, "ways": ways}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--shape", help="NAME=1,3,224,224")
    parser.add_argument("--large", help="a model of benchmarks/large_models.py in place of these")
    parser.add_argument("--work", type=Path, help="folder of benchmarks/bottleneck_large.py")
    parser.add_argument("--only", action="append", default=[], help="this way beside local and adaptive; repeatable")
    parser.add_argument("--trace", type=Path, required=True)
    parser.add_argument("--rtt", type=float, default=0.005)
    parser.add_argument("--slower", type=float, default=8.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    trace = read_trace(options.trace)
    rows = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        slow, fast = figures(folder, "slow", options.slower), figures(folder, "fast", 1.0)
        link = Link("trace", uplink=8 * trace.mean_rate, downlink=24 * trace.mean_rate, rtt=options.rtt)
        wanted = SplitOptions(slow, fast, link, cuts=2)
        if options.large:
            model, more = _large(options.large, options.work, folder, options.only)
            wanted = replace(wanted, **more)
        else:
            name, extents = options.shape.split("=")
            model = options.model
            wanted = replace(wanted, shapes={name: [int(each) for each in extents.split(",")]})
        prepared = prepare_split(model, wanted)
        record = build_split(prepared, wanted, folder / "split")
        (folder / "secret").write_bytes(_SECRET)
        serve = [sys.executable, "-m", "optc", "serve", str(folder / "split"), "--host", "127.0.0.1", "--port"]
        port = _free_port()
        server = subprocess.Popen([*serve, str(port), "--secret-file", str(folder / "secret")])
        try:
            _wait_for(port)
            relay = Relay(trace, port, options.rtt, 3.0)
            names = [way.name for way in record.ways if not options.only or way.name in ("local", *options.only)]
            for policy in [*names, "adaptive"]:
                relay.restart()
                arguments = [str(folder / "split"), f"127.0.0.1:{relay.port}", policy, str(options.seconds)]
                process = subprocess.Popen(
                    [sys.executable, __file__, "device", *arguments], stdout=subprocess.PIPE, text=True
                )
                thread = threading.Thread(target=throttle, args=(process, options.slower))
                thread.start()
                output, _ = process.communicate()
                thread.join()
                found = json.loads(output.splitlines()[-1])
                rows[policy] = {
                    "median": statistics.median(found["latencies"]),
                    "p95": sorted(found["latencies"])[int(0.95 * len(found["latencies"]))],
                    "requests": len(found["latencies"]),
                    "ways": {way: found["ways"].count(way) for way in dict.fromkeys(found["ways"])},
                    "predicted": next((w.cost.seconds for w in prepared.plan.ways if w.name == policy), None),
                }
                print(policy, rows[policy], flush=True)
        finally:
            server.terminate()
            server.wait()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "model": options.large or Path(options.model).stem,
        "mbps": trace.mean_rate * 8e-6,
        "slower": options.slower,
    }
    options.out.with_suffix(".json").write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")


def _large(name: str, work: Path, folder: Path, only: Sequence[str]) -> tuple[Path, dict[str, Any]]:
    """A model's file, and the options for its bottlenecks and photographs; requests go into the folder."""
    import torch

    from benchmarks.bottleneck_large import bottlenecks, original, pictures
    from benchmarks.large_models import LARGE, PIXELS
    from optc.driver.split.learning.deployment import trained_way

    np.save(folder / _PICTURES, pictures(name, work, test=True)[:64].astype(np.float32))
    learned = pictures(name, work, test=False)[:_LEARNED]
    side = LARGE[name].side
    known = {stage.removeprefix(f"{name} ").replace(" ", "-"): model for stage, model in bottlenecks(name, work)}
    ways = tuple(trained_way(known[each], torch.from_numpy(learned), each) for each in known if each in only)
    calib = [{PIXELS: picture[None].astype(np.float32)} for picture in learned[:8]]
    return original(name, work), {"shapes": {PIXELS: [1, 3, side, side]}, "bottlenecks": ways, "calib": calib}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, patience: float = 30.0) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("the server did not start")


if __name__ == "__main__":
    if sys.argv[1:2] == ["device"]:
        device(sys.argv[2], sys.argv[3], sys.argv[4], float(sys.argv[5]))
    else:
        main()
