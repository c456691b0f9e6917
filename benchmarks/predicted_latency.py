"""Predicted against measured latency of whole models: what a run should take as the machine is now, and what it takes.

    python benchmarks/predicted_latency.py --zoo build/zoo --out DIR [--only NAME …] [--cost-model learned]

`--stage build` compiles, `--stage time` measures what was built, so that the second can run undisturbed. One thread,
unless --threads says otherwise.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import optc  # noqa: E402
from optc.runtime import load  # noqa: E402
from optc.runtime.bench import bench  # noqa: E402
from optc.runtime.expectation import expectation  # noqa: E402

TURNS = 3


def compile_model(
    path: Path, shapes: dict[str, list[int]], folder: Path, cost_model: str, tune: str, threads: int
) -> None:
    """Compile one model, unless `folder` is there."""
    if not folder.exists():
        optc.compile(
            path, shapes=shapes, output=folder, threads=threads, cost_model=cost_model, tune=tune, verify=False
        )  # fmt: skip


def record(folder: Path, seconds: float, threads: int) -> dict[str, float | str]:
    """Latencies in milliseconds, their ratio, and what the prediction rests on.

    The state of the machine is probed and runs are timed in turns, and medians of both compared: on a shared host
    either changes within seconds.
    """
    cost = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["cost"]
    with load(folder, threads=threads) as artifact:
        expected, measured = [], []
        for _ in range(TURNS):
            expected.append(expectation(artifact))
            measured.append(bench(artifact, seconds=seconds / TURNS).median)
    now = statistics.median(each.now for each in expected if each is not None)
    latency = statistics.median(measured)
    return {
        "measured_ms": 1e3 * latency,
        "predicted_ms": 1e3 * now,
        "ratio": now / latency,
        "collected_ms": 1e3 * float(cost["predicted_seconds"]),
        "call_ms": 1e3 * statistics.median(each.call for each in expected if each is not None),
        "machine": expected[-1].why if expected[-1] is not None else "",
        "basis": "; ".join(cost["basis"]),
    }


def main() -> None:
    """Write predicted_latency.json and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--cost-model", default="auto")
    parser.add_argument("--tune", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--stage", choices=["build", "time", "both"], default="both")
    arguments = parser.parse_args()
    manifest = json.loads((arguments.zoo / "manifest.json").read_text(encoding="utf-8"))
    names = arguments.only or list(manifest)
    kind = arguments.cost_model if arguments.threads == 1 else f"{arguments.cost_model}-{arguments.threads}"
    folders = {name: arguments.out / kind / name for name in names}
    if arguments.stage != "time":
        for name, folder in folders.items():
            folder.parent.mkdir(parents=True, exist_ok=True)
            entry = manifest[name]
            path = arguments.zoo / entry["file"]
            compile_model(path, entry["shapes"], folder, arguments.cost_model, arguments.tune, arguments.threads)
            print(f"{name}: built", flush=True)
    if arguments.stage == "build":
        return
    results = {name: record(folder, arguments.seconds, arguments.threads) for name, folder in folders.items()}
    path = arguments.out / f"predicted_latency_{kind}.json"
    path.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print("| model | measured, ms | predicted, ms | predicted / measured | as the machine was | machine |")
    print("|---|--:|--:|--:|--:|---|")
    for name, each in results.items():
        shown = f"| {name} | {each['measured_ms']:.3f} | {each['predicted_ms']:.3f} | {each['ratio']:.2f} "
        print(f"{shown}| {float(each['collected_ms']) / float(each['measured_ms']):.2f} | {each['machine']} |")
    close = sum(abs(float(each["ratio"]) - 1.0) <= 0.1 for each in results.values())
    print(f"\nwithin ±10%: {close} of {len(results)}")


if __name__ == "__main__":
    main()
