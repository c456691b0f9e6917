"""Compile the zoo for machines that are not here, run each in its emulator, and write benchmarks/TARGETS.md.

    python benchmarks/targets.py --zoo build/zoo --out build/targets --report benchmarks/TARGETS.md

Each compile is `optc compile --json --target T` in a process of its own. It runs the model in an emulator against the
source model in onnxruntime where there is one, so an error stands for a run. Emulators say nothing of speed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.tables import table  # noqa: E402
from optc.artifact.writing import LIBRARIES  # noqa: E402

TARGETS = ("cpu", "x86-64-v3", "rpi4", "rpi5", "riscv64", "wasm", "cuda-sm80", "cuda-sm89", "cuda-sm90", "jetson")


def compile_for(target: str, model: Path, shapes: dict[str, list[int]], threads: int) -> dict[str, Any]:
    """What one compile gave: seconds, bytes of the library and of the weights, its verification, or its error."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "artifact"
        command = [sys.executable, "-m", "optc", "compile", str(model), "--target", target, "-o", str(output), "--json"]
        command += ["--threads", str(threads)]
        for name, shape in shapes.items():
            command += ["--shape", f"{name}={','.join(map(str, shape))}"]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        row: dict[str, Any] = {"seconds": time.perf_counter() - start, "exit_code": done.returncode}
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
            return row | {"error": (lines or ["error: no message"])[0].removeprefix("error: ")}
        manifest = json.loads((output / "manifest.json").read_text())
        return row | {
            "library_bytes": sum(manifest["files"][name]["bytes"] for name in LIBRARIES if name in manifest["files"]),
            "weights_bytes": manifest["program"]["weights_bytes"],
            "arena_bytes": manifest["program"]["arena_bytes"],
            "fallbacks": len(manifest["fallbacks"]),
            "verification": manifest["verification"],
            "predicted_seconds": manifest["cost"].get("predicted_seconds"),
            "gpu": manifest["cost"].get("gpu"),
        }


def cell(row: dict[str, Any] | None) -> str:
    """How one model fared on one target."""
    if row is None:
        return "not run"
    if row["exit_code"]:
        return row["error"]
    verification = row["verification"] or {"skipped": "not verified"}
    size = f"{row['library_bytes'] / 1e6:.2f} MB"
    if gpu := row.get("gpu"):
        spills = f"{gpu['spill_bytes']} B spilled" if gpu["spill_bytes"] else "no spills"
        size += f", {gpu['most_registers']} registers, {spills}"
    if row["fallbacks"]:
        size += f", {row['fallbacks']} regions on the host"
    if "skipped" in verification:
        return f"compiles; {verification['skipped']}; {size}"
    error = max(output["relative"] or 0.0 for output in verification["outputs"])
    return f"{error:.1e}, {size}"


def markdown(figures: dict[str, dict[str, dict[str, Any]]]) -> str:
    """The matrix of models and targets."""
    targets = list(dict.fromkeys(target for row in figures.values() for target in row))
    rows = [[name, *(cell(row.get(target)) for target in targets)] for name, row in figures.items()]
    cells = [(target, row[target]) for row in figures.values() for target in row]
    lines = [
        "# Targets",
        "",
        "Written by benchmarks/targets.py. A cell holds the largest error of a run against onnxruntime, relative to",
        "the output's range, and the size of the library without the weights. What this machine cannot execute ran in",
        "QEMU, WebAssembly in Node. For GPUs the library has the code of all kernels, and the cell the most registers",
        "of a thread as ptxas states them; the same kernels ran as C++ on this processor, behind an emulated driver,",
        "so nothing here says how fast a GPU is. The output of ppocr_det on random input never exceeds 1e-4, where",
        "onnxruntime's own Sigmoid is off by 1e-7. Magika's first normalization subtracts almost equal sums on such",
        "input: onnxruntime's are off by 2e-6, those of the kernels for GPUs by 6e-8, and the difference shows.",
        "",
        table(["model", *targets], rows),
    ]
    for target in targets:
        of_target = [row for name, row in cells if name == target]
        compiled = [row for row in of_target if not row["exit_code"]]
        ran = [row for row in compiled if "outputs" in (row["verification"] or {})]
        lines.append(f"* {target}: {len(compiled)} of {len(of_target)} models compile, {len(ran)} ran.")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True, help="folder that benchmarks/zoo.py filled")
    parser.add_argument("--models", nargs="*", help="names to compile (default: all)")
    parser.add_argument("--targets", nargs="*", default=TARGETS, help=f"default: {' '.join(TARGETS)}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="OUT.json keeps the figures and is resumed")
    parser.add_argument("--report", type=Path, help="write the table there")
    arguments = parser.parse_args()
    entries = json.loads((arguments.zoo / "manifest.json").read_text())
    record = arguments.out.with_suffix(".json")
    figures: dict[str, dict[str, dict[str, Any]]] = json.loads(record.read_text()) if record.exists() else {}
    for name, entry in entries.items():
        if arguments.models and name not in arguments.models:
            continue
        shapes = {each: shape for each, shape in entry["shapes"].items() if shape}
        for target in arguments.targets:
            if target in figures.setdefault(name, {}):
                continue
            figures[name][target] = compile_for(target, arguments.zoo / entry["file"], shapes, arguments.threads)
            print(f"{name} | {target} | {cell(figures[name][target])}", flush=True)
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(json.dumps(figures, indent=1))
    if arguments.report:
        arguments.report.write_text(markdown(figures))


if __name__ == "__main__":
    main()
