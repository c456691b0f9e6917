"""Split classifiers of large pictures over recorded networks, with bottlenecks, against the best picture coding.

    python -m benchmarks.split_large --work build/large --traces FOLDER --out build/bench/split_large

Needs what `benchmarks/bottleneck_large.py` measured, in `--work`; FOLDER as for `benchmarks/split_traces.py`, whose
`--large` makes a section of the page of OUT.json. Traces of both of its selections are replayed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import split_traces
from benchmarks.bottleneck_large import bottlenecks, original
from benchmarks.bottleneck_page import best_coding
from benchmarks.large_models import LARGE, PIXELS
from benchmarks.split_bottlenecks import replay_plans, seconds
from optc.driver.split.learning.writing import halves
from optc.runtime.split.control import WayCosts

LEAST = (0.985, 0.94)
"""Shares of pictures that keep their class: what a way must reach to be one."""

LOSSLESS = "WebP lossless"


def plans(work: Path) -> Iterator[dict[str, Any]]:
    """For each model, device, and bound of accuracy its ways, with all bytes on the socket."""
    figures = json.loads((work / "large.json").read_text())
    for name, large in LARGE.items():
        shapes: dict[str, tuple[int, ...]] = {PIXELS: (1, 3, large.side, large.side)}
        measured = {key: each for key, each in figures["bottlenecks"].items() if key.startswith(name)}
        sent = figures["socket"]
        first = next(iter(measured))
        frame = sent[first]["sent"] - measured[first]["bytes"]
        returned = round(sent[first]["received"])
        codings = [(each["bytes"], each["accuracy"]) for each in figures[f"{name} inputs"].values()]
        with tempfile.TemporaryDirectory() as temporary:
            files = [Path(temporary, f"{side}.onnx") for side in ("device", "server")]
            # Fitted transforms differ in nothing but their numbers.
            for path, half in zip(files, halves(next(bottlenecks(name, work))[1], batch=1), strict=True):
                path.write_bytes(half.SerializeToString())
            server = [seconds(original(name, work), shapes, split_traces.SERVER, 1)]
            server.append(seconds(files[1], None, split_traces.SERVER, 1))
            for device, (target, threads) in split_traces.DEVICES.items():
                local = seconds(original(name, work), shapes, target, threads)
                front = seconds(files[0], shapes, target, threads)
                for least in LEAST:
                    usable = {key: each for key, each in measured.items() if each["accuracy"] >= least}
                    worst = min(each["accuracy"] for each in usable.values())
                    cuts = [WayCosts(key, front, server[1], round(sent[key]["sent"]), returned) for key in usable]
                    pictures = {
                        f"at least {least:.1%} of the classes kept": best_coding(codings, worst),
                        f"at least {least:.1%} of the classes kept; server-only sends WebP without loss": figures[
                            f"{name} inputs"
                        ][LOSSLESS]["bytes"],
                    }
                    for variant, size in pictures.items():
                        remote = WayCosts("remote", 0.0, server[0], round(size + frame), returned)
                        ways = (WayCosts("local", local, uses_server=False), remote, *cuts)
                        yield {
                            "model": name,
                            "device": device,
                            "variant": variant,
                            "accuracy": worst,
                            "ways": [asdict(way) for way in ways],
                        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of large.json")
    parser.add_argument("--traces", type=Path, required=True, help="folder of the recorded traces")
    parser.add_argument("--out", type=Path, required=True, help="OUT.json is written")
    options = parser.parse_args()
    replay_plans(list(plans(options.work)), options.traces, options.out, (False, True))


if __name__ == "__main__":
    main()
