"""The runtime of split models under faults, and a throttled device over an emulated link.

    optc split samples/models/cifar10_resnet8.onnx --dim batch=1 --device slow.toml --server cpu … -o build/split
    python benchmarks/split_runtime.py faults --split build/split        # as root; 10,000 requests of 50 devices
    python benchmarks/split_runtime.py throttled --split build/split     # as root, on a machine left alone
    python benchmarks/split_runtime.py report                            # writes benchmarks/SPLIT_RUNTIME.md

Device and server are in two network namespaces, joined by `benchmarks/emulated_link.py` (rate, delay, loss, cuts; the
kernels of many machines have no `netem`). Results are kept as JSON in build/split_runtime.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.emulated_link import ADDRESS, EmulatedLink, Shape, obstacle  # noqa: E402
from benchmarks.split_runtime_report import markdown  # noqa: E402

RESULTS = ROOT / "build" / "split_runtime"
PAGE = ROOT / "benchmarks" / "SPLIT_RUNTIME.md"
DEVICE = str(Path(__file__).with_name("split_runtime_device.py"))
PORT, DAMAGED = 7000, 7001
GOOD = Shape(up=50e6, down=50e6, delay=0.005, loss=0.001)


class Service:
    """`optc serve` in the server's namespace, which can be killed and started again."""

    def __init__(self, link: EmulatedLink, split: Path, secret: Path) -> None:
        self._command = [*link.inside("server"), sys.executable, "-m", "optc", "serve", str(split)]
        self._command += ["--host", ADDRESS["server"], "--port", str(PORT), "--secret-file", str(secret)]
        self._command += ["--queue", "32", "--memory", "64"]
        self.errors: list[str] = []

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self.process.stdout is not None
        if not self.process.stdout.readline().startswith("serving "):
            raise RuntimeError(self.process.communicate()[1])

    def kill(self) -> None:
        self.process.kill()
        self.errors.append(self.process.communicate()[1])

    def stop(self) -> str:
        """End it as a user would; what it says then."""
        self.process.send_signal(signal.SIGTERM)
        self.errors.append(self.process.communicate(timeout=30)[1])
        return self.errors[-1]


class Memory(threading.Thread):
    """Watches the resident memory of processes and their children."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.watched: dict[str, Callable[[], int]] = {}
        self.series: list[dict[str, float]] = []
        self._began = time.monotonic()

    def run(self) -> None:
        while True:
            row = {"seconds": round(time.monotonic() - self._began, 1)}
            for name, pid in list(self.watched.items()):
                try:
                    row[name] = round(psutil.Process(pid()).memory_info().rss / (1 << 20), 1)
                except psutil.Error:
                    pass
            self.series.append(row)
            time.sleep(0.5)


def faults(arguments: argparse.Namespace) -> dict[str, Any]:
    """Many devices, and everything that can go wrong between them and the server."""
    events: list[str] = []
    began = time.monotonic()

    def note(what: str) -> None:
        events.append(f"{time.monotonic() - began:.0f} s: {what}")
        print(events[-1], flush=True)

    with tempfile.TemporaryDirectory() as folder, EmulatedLink(GOOD) as link:
        secret = Path(folder, "secret")
        secret.write_text(os.urandom(32).hex())
        service = Service(link, arguments.split, secret)
        service.start()
        proxy = subprocess.Popen(
            [
                *link.inside("server"), sys.executable, str(ROOT / "benchmarks" / "bad_proxy.py"),
                "--listen", f"{ADDRESS['server']}:{DAMAGED}", "--to", f"{ADDRESS['server']}:{PORT}",
                "--flip", "0.003", "--cut", "0.001", "--skip", "0.001",
            ],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert proxy.stdout is not None
        proxy.stdout.readline()
        command = [*link.inside("device"), sys.executable, DEVICE, "--split", str(arguments.split)]
        command += ["--secret-file", str(secret), "--requests", str(arguments.requests)]
        command += ["--devices", str(arguments.devices), "--pause", str(arguments.pause)]
        command += ["--server", f"{ADDRESS['server']}:{PORT}", "--damaged", f"{ADDRESS['server']}:{DAMAGED}"]
        devices = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        memory = Memory()
        memory.watched = {
            "server": lambda: service.process.pid,
            "devices": lambda: devices.pid,
        }
        memory.start()
        assert devices.stdout is not None
        assert devices.stdout.readline() == "ready\n"
        note(f"{arguments.devices} devices begin, 2 of 5 of them through a proxy that damages what passes")
        done = threading.Event()
        timeline = threading.Thread(target=_spoil, args=(link, service, note, done))
        timeline.start()
        output = devices.stdout.read()
        note("all requests are answered")
        done.set()
        timeline.join()
        link.shape(GOOD)
        said = service.stop()
        proxy.kill()
        damage = [line for line in proxy.communicate()[0].splitlines() if line.startswith("{")]
    record = json.loads(output)
    return {
        **record,
        "events": events,
        "damage": damage[-1] if damage else "",
        "memory": memory.series,
        "server said": re.sub(r"\s+", " ", said),
        "tracebacks": sum("Traceback" in text for text in service.errors),
    }


def _spoil(link: EmulatedLink, service: Service, note: Callable[[str], None], done: threading.Event) -> None:
    """Kill the server and cut the link again and again until all is answered."""
    while not done.wait(6):
        service.kill()
        note("server killed (-9)")
        done.wait(3)
        service.start()
        note("server started again")
        if done.wait(8):
            return
        link.shape(Shape(cut=True))
        note("link cut")
        done.wait(5)
        link.shape(Shape(up=50e6, down=50e6, delay=0.005, loss=0.02))
        note("link back, 2% of the packets lost")
        if done.wait(8):
            return
        link.shape(GOOD)


def throttled(arguments: argparse.Namespace) -> dict[str, Any]:
    """A device with a share of a core, over links whose rates come from traces: each policy's wall time."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder, "secret")
        secret.write_text(os.urandom(32).hex())
        for name, trace in _traces(arguments):
            for policy in ("local", "remote", *arguments.cut, "adaptive"):
                shape = Shape(down=50e6, delay=arguments.rtt / 2, trace=trace, queue=64 << 10)
                with EmulatedLink(shape) as link:
                    service = Service(link, arguments.split, secret)
                    service.start()
                    command = [*link.inside("device"), sys.executable, DEVICE, "--split", str(arguments.split)]
                    command += ["--secret-file", str(secret), "--server", f"{ADDRESS['server']}:{PORT}"]
                    command += ["--way", policy, "--seconds", str(arguments.seconds)]
                    with subprocess.Popen(
                        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
                    ) as device:
                        assert device.stdout is not None
                        device.stdout.readline()
                        with throttle(device.pid, arguments.share):
                            link.shape(shape)  # the trace begins
                            output = device.communicate("go\n")[0]
                    service.stop()
                row = {"trace": name, "policy": policy, **json.loads(output)}
                print(json.dumps(row), flush=True)
                results.append(row)
    # Links that were measured before, and not now, stay on the page.
    kept = (
        json.loads((RESULTS / "throttled.json").read_text()) if (RESULTS / "throttled.json").exists() else {"rows": []}
    )
    measured = {row["trace"] for row in results}
    rows = [{**row, "earlier": True} for row in kept["rows"] if row["trace"] not in measured] + results
    seconds = min(arguments.seconds, kept.get("seconds", arguments.seconds))
    return {"rows": rows, "share": arguments.share, "seconds": seconds, "rtt": arguments.rtt}


@contextlib.contextmanager
def throttle(pid: int, share: float) -> Iterator[None]:
    """Let a process have a share of a core, by a cgroup of its own, as long as the context lasts."""
    old = Path("/sys/fs/cgroup/cpu")
    group = (old if old.is_dir() else old.parent) / f"optc-device-{pid}"
    group.mkdir()
    period = 20_000
    quota = max(round(share * period), 1000)
    if old.is_dir():
        (group / "cpu.cfs_period_us").write_text(str(period))
        (group / "cpu.cfs_quota_us").write_text(str(quota))
    else:
        (group / "cpu.max").write_text(f"{quota} {period}")
    (group / "cgroup.procs").write_text(str(pid))
    try:
        yield
    finally:
        group.rmdir()


def _traces(arguments: argparse.Namespace) -> list[tuple[str, list[tuple[float, float]]]]:
    """Steady rates, and the traces that were given as `seconds,Mbit/s` lines."""
    found = [(f"{rate:g} Mbit/s", [(1.0, rate * 1e6)]) for rate in arguments.rate]
    for path in arguments.trace:
        lines = [line.split(",") for line in path.read_text().splitlines() if line[:1].isdigit()]
        found.append((path.stem, [(float(line[0]) + 1e-9, float(line[1]) * 1e6) for line in lines]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    first = parts.add_parser("faults")
    first.add_argument("--split", type=Path, required=True)
    first.add_argument("--requests", type=int, default=10_000)
    first.add_argument("--devices", type=int, default=50)
    first.add_argument("--pause", type=float, default=0.3, help="mean seconds between requests of a device")
    second = parts.add_parser("throttled")
    second.add_argument("--split", type=Path, required=True)
    second.add_argument("--cut", nargs="*", default=[], help="cuts to run as policies of their own")
    second.add_argument("--rate", type=float, nargs="*", default=[], help="steady rates, Mbit/s")
    second.add_argument("--trace", type=Path, nargs="*", default=[])
    second.add_argument("--rtt", type=float, default=0.02)
    second.add_argument("--share", type=float, default=0.05, help="of a core that the device gets")
    second.add_argument("--seconds", type=float, default=8.0)
    parts.add_parser("report")
    arguments = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    if arguments.part != "report":
        if reason := obstacle():
            sys.exit(f"this needs an emulated link: {reason}")
        result = {"faults": faults, "throttled": throttled}[arguments.part](arguments)
        (RESULTS / f"{arguments.part}.json").write_text(json.dumps(result, indent=1))
    parts_found = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    PAGE.write_text(markdown(parts_found))


if __name__ == "__main__":
    main()
