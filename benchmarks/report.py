"""Write benchmarks/RESULTS.md from the figures that the other scripts measured; no number in it is typed by hand.

    python benchmarks/report.py --figures build/bench --out benchmarks/RESULTS.md

Each section comes from one JSON file of the folder; a file that is not there is named as not measured. The text that
explains figures is that of benchmarks/NOTES.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks import compile_zoo, entry_overhead, tune_zero  # noqa: E402
from benchmarks.tables import best_peer, geometric_mean, peers_markdown, table  # noqa: E402

NOTES = ROOT / "benchmarks" / "NOTES.md"


def requirements(figures: Mapping[str, Any]) -> str:
    """The limits that optc sets itself beside what was measured."""
    rows: list[list[str]] = []
    if peers := figures.get("peers"):
        names = [name for name in peers["peers"] if name != "optc"]
        for threads, models in peers["threads"].items():
            ratios = {}
            for model, row in models.items():
                best = best_peer(row, names)
                if best and "optc" in row["milliseconds"]:
                    ratios[model] = row["milliseconds"]["optc"] / best[1]
            if ratios:
                worst = max(ratios, key=lambda model: ratios[model])
                what = f"latency over the best peer's, {threads} thread{'s' if threads != '1' else ''}"
                rows.append([f"{what}, geometric mean", "0.80", f"{geometric_mean(ratios.values()):.3f}"])
                rows.append([f"{what}, worst model", "1.00", f"{ratios[worst]:.2f} ({worst})"])
    if tuning := figures.get("tune_zero"):
        ratio = geometric_mean(row["zero"]["seconds"] / row["best"]["seconds"] for row in tuning["rows"])
        rows.append(["prediction only over the best of the schedule space", "1.15", f"{ratio:.3f}"])
    if compiles := figures.get("compile_zoo"):
        good = {name: row for name, row in compiles.items() if not row["cold"]["exit_code"]}
        for kind, limit in (("cold", 60), ("cached", 3)):
            worst = max(good, key=lambda name: good[name][kind]["seconds"])
            rows.append(
                [f"seconds of a compile, {kind}, worst", str(limit), f"{good[worst][kind]['seconds']:.1f} ({worst})"]
            )
    if overhead := figures.get("entry_overhead"):
        calls = overhead["rows"][0]["seconds"] * 1e6
        rows.append(["µs of a call of the C entry point with one small kernel", "2", f"{calls:.3f}"])
        counted = sum(row[kind] for row in overhead["rows"] for kind in ("allocations", "locks", "mappings"))
        rows.append(["allocations, locks and mappings in 1000 runs of 1 and 100 kernels", "0", str(counted)])
    return table(["what", "at most", "measured"], rows)


SECTIONS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "peers": ("Latency beside other runtimes", peers_markdown),
    "compile_zoo": ("Compiling, from an empty cache and again", compile_zoo.markdown),
    "tune_zero": ("Choosing schedules without measuring", tune_zero.markdown),
    "entry_overhead": ("Overhead of a call", entry_overhead.markdown),
}


def results(figures: Mapping[str, Any], notes: str) -> str:
    """The whole page: limits, notes, then a section for each file of figures."""
    lines = ["# Results", "", "Written by `make bench` (benchmarks/report.py).", "", requirements(figures)]
    lines += [notes.strip(), ""] if notes.strip() else []
    for name, (title, render) in SECTIONS.items():
        lines += [f"## {title}", "", render(figures[name]) if name in figures else "Not measured.\n"]
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", type=Path, required=True, help="folder of peers.json, tune_zero.json and so on")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "RESULTS.md")
    options = parser.parse_args()
    files = {name: options.figures / f"{name}.json" for name in SECTIONS}
    figures = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    options.out.write_text(results(figures, NOTES.read_text() if NOTES.exists() else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
