"""optc beside the runtimes that people use today, on the same pinned cores, in interleaved rounds.

    python benchmarks/peers.py --zoo build/zoo --prepare                         convert and compile only
    python benchmarks/peers.py --zoo build/zoo --out build/peers --resume        measure what is missing

Each peer (benchmarks/runtimes/) runs in a process of its own that is stopped while another one is measured; processor
time that anyone else used meanwhile is recorded, and a measurement disturbed by it is made again. A peer that is not
installed, cannot take a model or computes something else is named with its reason. Per model every peer is timed in
turn for several rounds; the figure is the median over rounds of the round's median. Ratios are optc's latency over the
peer's: below 1 optc is faster. Prepared files are kept in --work and made again when the model or the peer changes.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnx

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.runtimes import Peer, Subject  # noqa: E402
from benchmarks.tables import peers_markdown, relative_error  # noqa: E402
from benchmarks.worker import TICKS, Worker, WorkerError, machine_ticks  # noqa: E402
from benchmarks.zoo import ZOO, example_inputs  # noqa: E402

MOST_ERROR = 1e-2  # of an output's range: beyond, a peer computes something else
MOST_FOREIGN = 0.05  # of the cores' time: beyond, a measurement is made again
ATTEMPTS = 3
MOST_SPREAD = 0.05  # between the quartiles: beyond, more rounds are made
MOST_REPEATS = 3  # times the rounds asked for
SLOW = 1.0  # seconds: a call that takes longer is measured in one round only
PREPARE_LIMIT, LOAD_LIMIT = 280.0, 100.0  # seconds
MARKER = "prepared.json"


def subject_of(name: str, zoo: Path, threads: int, packages: Path) -> Subject:
    """A model of the zoo with its seeded example inputs."""
    model = (zoo / f"{name}.onnx").resolve()
    inputs = example_inputs(onnx.load(str(model), load_external_data=False), ZOO[name].inputs)
    return Subject(name, model, inputs, threads, packages.resolve())


def prepared_folder(peer: str, subject: Subject, work: Path) -> Path:
    """Where a peer's files for a subject lie."""
    kind = f"{peer}-{subject.threads}" if Peer.registry[peer].by_threads else peer
    return work.resolve() / subject.name / kind


def prepare(peer: str, subject: Subject, work: Path, versions: dict[str, str]) -> str | None:
    """Make a peer's files unless they are there; None, or why it cannot."""
    folder = prepared_folder(peer, subject, work)
    recipe = {"version": versions[peer], "model": hashlib.sha256(subject.model.read_bytes()).hexdigest()}
    marker = folder / MARKER
    if marker.exists():
        known = json.loads(marker.read_text())
        if {key: known.get(key) for key in recipe} == recipe:
            return known["failure"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    failure, start = None, time.monotonic()
    if Peer.registry[peer].prepare is not Peer.prepare:
        worker = Worker(peer, subject.threads, pinned=False)
        try:
            worker.ask("prepare", subject, folder, timeout=PREPARE_LIMIT)
        except WorkerError as error:
            failure = str(error)
        worker.end()
    seconds = time.monotonic() - start
    marker.write_text(json.dumps({**recipe, "failure": failure, "seconds": seconds}))
    print(f"prepared {subject.name} for {folder.name}: {failure or f'{seconds:.1f} s'}", file=sys.stderr, flush=True)
    return failure


class Bench:
    """The peers' processes, all for the same thread count."""

    def __init__(self) -> None:
        self._threads = 0
        self._workers: dict[str, Worker] = {}

    def load(self, subject: Subject, folders: dict[str, Path]) -> tuple[dict[str, Any], dict[str, str]]:
        """Have each peer load its files; what it computed by peer, and why the others failed."""
        if subject.threads != self._threads:
            self.end()
            self._threads = subject.threads
        loaded, failed, asked = {}, {}, []
        for peer, folder in folders.items():
            if peer not in self._workers or not self._workers[peer].alive:
                self._workers[peer] = Worker(peer, self._threads)
            try:
                self._workers[peer].send("load", subject, folder)
                asked.append(peer)
            except WorkerError as error:
                failed[peer] = str(error)
        for peer in asked:
            try:
                loaded[peer] = self._workers[peer].answer(LOAD_LIMIT)
            except WorkerError as error:
                failed[peer] = str(error)
        return loaded, failed

    def measure(self, peer: str, seconds: float) -> tuple[float, float]:
        """Seconds of one call, and the share of the cores' time that others used meanwhile."""
        best: tuple[float, float] | None = None
        for _ in range(ATTEMPTS):
            own, machine, start = self._workers[peer].ticks(), machine_ticks(), time.monotonic()
            result = self._workers[peer].ask("measure", seconds)
            elapsed = max(time.monotonic() - start, 1e-3) * TICKS * (os.cpu_count() or 1)
            foreign = machine_ticks() - machine - (self._workers[peer].ticks() - own)
            share = max(0.0, foreign) / elapsed
            if best is None or share < best[1]:
                best = (result, share)
            if share <= MOST_FOREIGN:
                break
        assert best is not None
        return best

    def ticks_of_others(self, peer: str) -> int:
        """Processor time of all peers but one."""
        return sum(worker.ticks() for name, worker in self._workers.items() if name != peer)

    def end(self) -> None:
        for worker in self._workers.values():
            worker.end()
        self._workers = {}


def compare(
    bench: Bench, subject: Subject, folders: dict[str, Path], absent: dict[str, str], rounds: int, seconds: float
) -> dict:
    """Latencies of one model at one thread count.

    The row holds for each peer the median over rounds (milliseconds), their spread, the error against onnxruntime, the
    most processor time that others used, and for absent ones the reason. Where rounds disagree, more of them are made.
    """
    loaded, failed = bench.load(subject, folders)
    absent = {**absent, **failed}
    errors: dict[str, float] = {}
    if "onnxruntime" in loaded:
        reference = loaded["onnxruntime"][0]
        for peer, (outputs, _) in list(loaded.items()):
            pairs = zip(outputs, reference, strict=False)
            error = max((relative_error(*pair) for pair in pairs), default=0.0)
            errors[peer] = error
            if not error <= MOST_ERROR or len(outputs) != len(reference):
                absent[peer] = f"its results differ from onnxruntime's by {error:.0e} of their range"
                if peer != "optc":
                    del loaded[peer]
    times: dict[str, list[float]] = {peer: [] for peer in loaded}
    foreign: dict[str, float] = dict.fromkeys(loaded, 0.0)
    woken = 0
    for number in range(rounds * MOST_REPEATS):
        if number >= rounds and max(map(spread, times.values()), default=0.0) <= MOST_SPREAD:
            break
        for peer in list(times):
            if times[peer] and times[peer][0] > SLOW:
                continue
            before = bench.ticks_of_others(peer)
            try:
                result, share = bench.measure(peer, seconds)
            except WorkerError as error:
                absent[peer] = str(error)
                del times[peer]
                continue
            woken = max(woken, bench.ticks_of_others(peer) - before)
            times[peer].append(result)
            foreign[peer] = max(foreign[peer], share)
    facts = loaded["optc"][1] if "optc" in times else {}
    return {
        "absent": absent,
        "milliseconds": {peer: statistics.median(values) * 1e3 for peer, values in times.items()},
        "spread": {peer: spread(values) for peer, values in times.items()},
        "rounds": {peer: len(values) for peer, values in times.items()},
        "errors": errors,
        "foreign": {peer: round(foreign[peer], 4) for peer in times},
        "ticks_of_stopped_peers": woken,
        **facts,
    }


def spread(values: list[float]) -> float:
    """Between the first and the third quartile of the rounds, over their median."""
    first, middle, third = statistics.quantiles(values, method="inclusive") if len(values) > 1 else values * 3
    return (third - first) / middle


def facts_of(versions: dict[str, str]) -> dict:
    """What the figures depend on: processor, its measured peak on one core, versions, commit."""
    processor = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        processor = lines[0].split(":", 1)[1].strip() if lines else processor
    named = {peer: version for peer, version in versions.items() if peer != "optc"}
    return {"processor": processor, "cores": os.cpu_count(), "versions": named, "commit": versions["optc"]}


def measured_peak() -> float:
    """f32 FLOP/s of one core, measured now."""
    from optc.targets import calibration, load

    target = load("cpu")
    sizes = [cache.bytes for cache in target.caches]
    return calibration.measure(vector_bytes=target.vector_bytes, cores=1, cache_bytes=sizes).flops


def versions_of(peers: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Versions of the installed peers, and why the others are absent."""
    versions, absent = {}, {}
    for peer in peers:
        try:
            versions[peer] = Peer.registry[peer]().version()
        except importlib.metadata.PackageNotFoundError:
            absent[peer] = f"{Peer.registry[peer].package} is not installed"
    return versions, absent


def prepare_all(
    subjects: list[Subject], versions: dict[str, str], work: Path, jobs: int
) -> dict[tuple[str, str, int], str | None]:
    """Why each (peer, model, threads) cannot be measured, or None.

    optc comes last and alone, because its compiler measures schedules. A peer's files that do not depend on the thread
    count are made once.
    """
    failures: dict[tuple[str, str, int], str | None] = {}
    for alone in (False, True):
        wanted: dict[Path, list[tuple[str, Subject]]] = {}
        for subject in subjects:
            for peer in versions:
                if (peer == "optc") is alone:
                    wanted.setdefault(prepared_folder(peer, subject, work), []).append((peer, subject))
        with ThreadPoolExecutor(1 if alone else jobs) as pool:
            made = pool.map(lambda same: prepare(*same[0], work, versions), wanted.values())
            for same, failure in zip(wanted.values(), made, strict=True):
                failures |= {(peer, subject.name, subject.threads): failure for peer, subject in same}
    return failures


def add_efficiency(row: dict, peak: float) -> None:
    """Put optc's computational efficiency at `peak` FLOP/s into a row."""
    if "flops" in row and "optc" in row["milliseconds"]:
        row["efficiency"] = row["flops"] / peak / (row["milliseconds"]["optc"] / 1e3)


def add_row(report: dict, subject: Subject, row: dict) -> None:
    """Put a row into its place: models are in the zoo's order."""
    rows = report["threads"].setdefault(str(subject.threads), {}) | {subject.name: row}
    report["threads"][str(subject.threads)] = {name: rows[name] for name in ZOO if name in rows}


def write(report: dict, out: Path | None) -> None:
    """OUT.json and OUT.md, whole at any time."""
    if out is None:
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    for suffix, text in ((".json", json.dumps(report, indent=1)), (".md", peers_markdown(report))):
        partial = out.with_suffix(f"{suffix}.partial")
        partial.write_text(text)
        partial.replace(out.with_suffix(suffix))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True, help="folder that benchmarks/zoo.py filled")
    parser.add_argument("--models", nargs="*", choices=list(ZOO), metavar="NAME", help="default: all of the zoo")
    default = [name for name, peer in Peer.registry.items() if not peer.optional]
    parser.add_argument("--peers", nargs="*", default=default, choices=sorted(Peer.registry), metavar="NAME")
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.25, help="per peer and round")
    parser.add_argument(
        "--prepare", nargs="*", metavar="NAME", help="convert and compile for these peers (default: all), then end"
    )
    parser.add_argument("--resume", action="store_true", help="keep the rows of OUT.json that this commit measured")
    parser.add_argument("--limit", type=float, help="end after so many seconds; --resume goes on")
    parser.add_argument("--jobs", type=int, default=2, help="peers to prepare at once")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "prepared", help="folder of prepared files")
    parser.add_argument("--packages", type=Path, default=ROOT / "build" / "packages", help="folder of unpacked wheels")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    return parser.parse_args()


def main() -> int:
    options = parse()
    deadline = time.monotonic() + (options.limit or float("inf"))
    peers = ["optc", *[peer for peer in options.peers if peer != "optc"]]
    versions, missing = versions_of(peers)
    models = [name for name in ZOO if (not options.models or name in options.models)]
    models = [name for name in models if (options.zoo / f"{name}.onnx").exists()]
    report: dict = {"facts": facts_of(versions), "peers": peers, "threads": {}}
    known = options.out.with_suffix(".json") if options.out else None
    if options.resume and known and known.exists():
        former = json.loads(known.read_text())
        if (former["facts"]["commit"], former["peers"]) == (versions["optc"], peers):
            report = former
    everything = [
        subject_of(name, options.zoo, threads, options.packages)
        for threads in options.threads
        for name in models
        if options.prepare is not None or name not in report["threads"].get(str(threads), {})
    ]
    wanted = {peer: versions[peer] for peer in versions if not options.prepare or peer in options.prepare}
    failures = prepare_all(everything, wanted, options.work, options.jobs)
    if options.prepare is not None:
        return 0
    report["facts"].setdefault("peak_flops", measured_peak())
    bench = Bench()
    try:
        for subject in everything:
            if time.monotonic() > deadline:
                print("the time is over; go on with --resume", file=sys.stderr)
                return 3
            found = {peer: failures[peer, subject.name, subject.threads] for peer in versions}
            absent = missing | {peer: failure for peer, failure in found.items() if failure is not None}
            ready = {peer: prepared_folder(peer, subject, options.work) for peer in versions if found[peer] is None}
            row = compare(bench, subject, ready, absent, options.rounds, options.seconds)
            add_efficiency(row, report["facts"]["peak_flops"] * subject.threads)
            add_row(report, subject, row)
            write(report, options.out)
            figures = {peer: round(value, 3) for peer, value in row["milliseconds"].items()}
            print(subject.name, subject.threads, figures, file=sys.stderr, flush=True)
    finally:
        bench.end()
    print(peers_markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
