"""Compile every model of the zoo from an empty cache and again from the cache: time, memory, native share, error.

    python benchmarks/compile_zoo.py --zoo build/zoo --out build/compile_zoo

Each compile is `optc compile --json` in a process of its own, as a user would start it, with the default tuning budget
and verification. Memory is the peak of the proportional set size of the process and its children together.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.tables import table  # noqa: E402


def children(process: int) -> list[int]:
    """A process and all its descendants."""
    try:
        below = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return [process]
    return [process, *(each for child in below for each in children(int(child)))]


def memory(process: int) -> int:
    """Bytes that a process and its descendants take, shared pages counted once."""
    total = 0
    for each in children(process):
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def compile_once(model: Path, shapes: dict[str, list[int]], output: Path, cache: Path) -> dict:
    """Run the command line once; seconds, peak bytes, exit code, and its JSON."""
    command = [sys.executable, "-m", "optc", "compile", str(model), "-o", str(output), "--json"]
    for name, shape in shapes.items():
        command += ["--shape", f"{name}={','.join(map(str, shape))}"]
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=os.environ | {"OPTC_CACHE_DIR": str(cache)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        time.sleep(0.05)
    printed, _ = process.communicate()
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "peak_bytes": peak,
        "exit_code": process.returncode,
        "result": json.loads(printed or "{}"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True, help="folder that benchmarks/zoo.py filled")
    parser.add_argument("--models", nargs="*", help="names to compile (default: all)")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    arguments = parser.parse_args()
    entries = json.loads((arguments.zoo / "manifest.json").read_text())
    rows: dict[str, dict] = {}
    for name, entry in entries.items():
        if arguments.models and name not in arguments.models:
            continue
        model = arguments.zoo / entry["file"]
        with tempfile.TemporaryDirectory() as folder:
            cache, output = Path(folder) / "cache", Path(folder) / "artifact"
            shapes = {each: shape for each, shape in entry["shapes"].items() if shape}
            rows[name] = {
                "model_bytes": model.stat().st_size,
                "cold": compile_once(model, shapes, output, cache),
                "cached": compile_once(model, shapes, output, cache),
            }
        print(" | ".join(cells(name, rows[name])), flush=True)
        if arguments.out:
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.with_suffix(".json").write_text(json.dumps(rows, indent=1))
            arguments.out.with_suffix(".md").write_text(markdown(rows))


def markdown(rows: dict[str, dict]) -> str:
    """The table."""
    columns = ("cold s", "cached s", "peak MB", "of 4× model + 500 MB", "native FLOPs", "native nodes", "error")
    return (
        "Memory is the peak of the process and its children; its limit is 4 times the model's size and 500 MB.\n\n"
        + table(["model", *columns], [cells(name, row) for name, row in rows.items()])
    )


def cells(name: str, row: dict) -> list[str]:
    """One line of the table."""
    cold, result = row["cold"], row["cold"]["result"]
    if cold["exit_code"]:
        return [name, f"exit code {cold['exit_code']}"]
    manifest = result.get("manifest", result)
    outputs = (manifest.get("verification") or {}).get("outputs") or []
    error = max((each["relative"] or 0.0 for each in outputs), default=float("nan"))
    limit = 4 * row["model_bytes"] + 500e6
    cost = manifest["cost"]
    seconds = [f"{row[kind]['seconds']:.1f}" for kind in ("cold", "cached")]
    peak = [f"{cold['peak_bytes'] / 1e6:.0f}", f"{cold['peak_bytes'] / limit:.0%}"]
    return [name, *seconds, *peak, f"{cost['native_flops']:.1%}", f"{cost['native_nodes']:.1%}", f"{error:.1e}"]


if __name__ == "__main__":
    main()
