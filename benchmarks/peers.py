"""optc beside the runtimes that people use today, on the same cores, in one process, in interleaved rounds.

    python benchmarks/peers.py --zoo build/zoo --threads 1 2 --peers onnxruntime openvino --out build/peers

Each peer is a small class; one that is not installed is named in the table as absent. Per model every peer is built
once, checked against onnxruntime's outputs, and then timed in turn for several rounds; the figure is the median over
rounds of the round's median. Ratios are optc's latency over the peer's: below 1 optc is faster.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parent))

from zoo import ZOO, example_inputs

Run = Callable[[], list[np.ndarray]]
Inputs = dict[str, np.ndarray]


class Peer(ABC):
    """Something that runs an ONNX model. Registers itself by being defined with a `name`."""

    name: ClassVar[str]
    package: ClassVar[str]
    registry: ClassVar[dict[str, type[Peer]]] = {}

    def __init_subclass__(cls) -> None:
        Peer.registry[cls.name] = cls

    @abstractmethod
    def prepare(self, model: Path, inputs: Inputs, threads: int) -> Run:
        """A function that runs the model once on `inputs` and returns its outputs."""


class Optc(Peer):
    name = "optc"
    package = "optc"

    def prepare(self, model: Path, inputs: Inputs, threads: int) -> Run:
        import optc

        folder = Path(tempfile.mkdtemp(prefix="optc-peers-")) / "artifact"
        shapes = {name: list(array.shape) for name, array in inputs.items()}
        artifact = optc.compile(
            str(model), target="cpu", output=str(folder), shapes=shapes, threads=threads, verify=False
        )
        return lambda: list(artifact.run(inputs).values())


class OnnxRuntime(Peer):
    name = "onnxruntime"
    package = "onnxruntime"

    def prepare(self, model: Path, inputs: Inputs, threads: int) -> Run:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, inputs)


class OpenVino(Peer):
    name = "openvino"
    package = "openvino"

    def prepare(self, model: Path, inputs: Inputs, threads: int) -> Run:
        import openvino

        core = openvino.Core()
        network = core.read_model(str(model))
        network.reshape({name: list(array.shape) for name, array in inputs.items()})
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        request = core.compile_model(network, "CPU", settings).create_infer_request()

        def run() -> list[np.ndarray]:
            results = request.infer(inputs, share_inputs=True, share_outputs=True)
            return [results[index] for index in range(len(results))]

        return run


class Mnn(Peer):
    name = "mnn"
    package = "MNN"

    def prepare(self, model: Path, inputs: Inputs, threads: int) -> Run:
        import MNN.expr
        import MNN.nn

        folder = Path(tempfile.mkdtemp(prefix="optc-peers-"))
        converted = folder / "model.mnn"
        command = ["-f", "ONNX", "--modelFile", str(model), "--MNNModel", str(converted), "--bizCode", "optc"]
        converter = Path(sys.executable).with_name("mnnconvert")
        subprocess.run([str(converter), *command], check=True, capture_output=True)
        outputs = [value.name for value in onnx.load(str(model), load_external_data=False).graph.output]
        settings = {"backend": 0, "numThread": threads, "precision": "high"}
        runtime = MNN.nn.create_runtime_manager((settings,))
        network = MNN.nn.load_module_from_file(
            str(converted), list(inputs), outputs, runtime_manager=runtime, shape_mutable=False
        )
        variables = []
        for array in inputs.values():
            kind = MNN.expr.float if array.dtype.kind == "f" else MNN.expr.int
            array = array if array.dtype.kind == "f" else array.astype(np.int32)
            variable = MNN.expr.placeholder(list(array.shape), MNN.expr.NCHW, kind)
            variable.write(array)
            variables.append(variable)
        return lambda: [np.array(result.read()) for result in network.forward(variables)]


def load_inputs(name: str, model: Path) -> Inputs:
    """The zoo's seeded example inputs of one model."""
    proto = onnx.load(str(model), load_external_data=False)
    return example_inputs(proto, ZOO[name].inputs)


def median_seconds(run: Run, seconds: float) -> float:
    """The median time of one call, over at least five calls and `seconds`."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def compare(name: str, model: Path, peers: list[str], threads: int, rounds: int, seconds: float) -> dict:
    """Latencies of one model at one thread count: per peer the median over rounds, the spread, and optc's error."""
    inputs = load_inputs(name, model)
    runs: dict[str, Run] = {}
    absent: dict[str, str] = {}
    for peer in peers:
        try:
            runs[peer] = Peer.registry[peer]().prepare(model, inputs, threads)
            runs[peer]()
        except Exception as error:
            absent[peer] = f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for peer, run in runs.items():
            times[peer].append(median_seconds(run, seconds))
    row: dict = {"threads": threads, "absent": absent}
    row["milliseconds"] = {name: statistics.median(values) * 1e3 for name, values in times.items()}
    row["spread"] = {name: (max(values) - min(values)) / statistics.median(values) for name, values in times.items()}
    if "optc" in runs and "onnxruntime" in runs:
        row["relative_error"] = max(map(relative_error, runs["optc"](), runs["onnxruntime"]()), default=0.0)
    return row


def relative_error(ours: np.ndarray, reference: np.ndarray) -> float:
    """The largest absolute difference over the reference's range."""
    if not np.issubdtype(reference.dtype, np.floating):
        return float(np.mean(ours != reference))
    scale = float(np.max(np.abs(reference))) if reference.size else 0.0
    return float(np.max(np.abs(ours - reference))) / (scale or 1.0) if reference.size else 0.0


def geometric_mean(values: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values))) if values else math.nan


def facts() -> dict:
    """What the figures depend on: processor, versions, commit."""
    processor = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        processor = lines[0].split(":", 1)[1].strip() if lines else processor
    versions = {}
    for peer in Peer.registry.values():
        try:
            versions[peer.package] = importlib.metadata.version(peer.package)
        except importlib.metadata.PackageNotFoundError:
            versions[peer.package] = "absent"
    root = Path(__file__).parents[1]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True)
    return {"processor": processor, "cores": os.cpu_count(), "versions": versions, "commit": commit.stdout.strip()}


def markdown(report: dict) -> str:
    """The report as a table per thread count."""
    versions = ", ".join(f"{name} {version}" for name, version in report["facts"]["versions"].items())
    lines = [f"Processor: {report['facts']['processor']}; commit {report['facts']['commit']}; versions: {versions}."]
    peers = [name for name in report["peers"] if name != "optc"]
    for threads, rows in report["threads"].items():
        lines += ["", f"### {threads} thread(s), milliseconds (in brackets: optc / peer)", ""]
        lines.append(f"| model | optc | {' | '.join(peers)} | optc / best peer | relative error |")
        lines.append("|---" * (len(peers) + 4) + "|")
        ratios: dict[str, list[float]] = {peer: [] for peer in [*peers, "best"]}
        for model, row in rows.items():
            ours, cells = row["milliseconds"].get("optc"), []
            for peer in peers:
                theirs = row["milliseconds"].get(peer)
                if ours and theirs:
                    ratios[peer].append(ours / theirs)
                    cells.append(f"{theirs:.3f} ({ours / theirs:.2f})")
                else:
                    cells.append("–")
            others = [row["milliseconds"][peer] for peer in peers if peer in row["milliseconds"]]
            if ours and others:
                ratios["best"].append(ours / min(others))
            best = f"{ours / min(others):.2f}" if ours and others else "–"
            error = f"{row['relative_error']:.1e}" if "relative_error" in row else "–"
            own = f"{ours:.3f}" if ours else row["absent"].get("optc", "–")
            lines.append(f"| {' | '.join([model, own, *cells, best, error])} |")
        means = [f"**{geometric_mean(ratios[peer]):.3f}**" for peer in [*peers, "best"]]
        lines.append(f"| **geometric mean** | | {' | '.join(means)} | |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True, help="folder that benchmarks/zoo.py filled")
    parser.add_argument("--models", nargs="*", help="names to run (default: all of the zoo)")
    parser.add_argument("--peers", nargs="*", default=["onnxruntime"], choices=sorted(Peer.registry))
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="per peer and round")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    arguments = parser.parse_args()
    manifest = json.loads((arguments.zoo / "manifest.json").read_text())
    peers = ["optc", *[peer for peer in arguments.peers if peer != "optc"]]
    report: dict = {"facts": facts(), "peers": peers, "threads": {}}
    for threads in arguments.threads:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, set(range(threads)))
        rows = report["threads"].setdefault(str(threads), {})
        for name, entry in manifest.items():
            if arguments.models and name not in arguments.models:
                continue
            rows[name] = compare(
                name, arguments.zoo / entry["file"], peers, threads, arguments.rounds, arguments.seconds
            )
            print(name, threads, rows[name]["milliseconds"], rows[name]["absent"] or "", file=sys.stderr, flush=True)
            if arguments.out:
                arguments.out.parent.mkdir(parents=True, exist_ok=True)
                arguments.out.with_suffix(".json").write_text(json.dumps(report, indent=1))
                arguments.out.with_suffix(".md").write_text(markdown(report))
    print(markdown(report))


if __name__ == "__main__":
    main()
