"""Split models over recorded networks: local, remote, the best fixed cut, the controller, and an oracle.

    python benchmarks/split_traces.py --zoo build/zoo --traces FOLDER --out build/bench/split
    python benchmarks/split_traces.py --out build/bench/split --page benchmarks/SPLIT.md --real R.json --policy P.md

The first line measures and writes OUT.json, the second one writes the page from it and from what
benchmarks/split_real.py, split_policy.py and split_bottlenecks.py wrote, where that is given. FOLDER holds the recorded
traces, one compressed CSV file a set, as SETS says; none of them is part of this repository. Values at the cut are
coded without any training.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.tables import table  # noqa: E402
from optc.driver.quantization.preparation import prepare  # noqa: E402
from optc.driver.split.costs import operation_costs  # noqa: E402
from optc.driver.split.plan import plan_split  # noqa: E402
from optc.driver.split.replay import ADAPTIVE, SPLIT, Replay, replay, way_costs  # noqa: E402
from optc.driver.split.simulation import World  # noqa: E402
from optc.driver.split.traces import Trace, trace_of  # noqa: E402
from optc.frontends import load_model  # noqa: E402
from optc.runtime.split.control import WayCosts  # noqa: E402
from optc.targets.link import load_link  # noqa: E402

DEVICES = {"rpi4": ("rpi4", None), "rpi4, one core": ("rpi4", 1), "jetson-tx2": ("jetson-tx2", None)}
"""Targets and threads by name."""

SERVER = "cpu"
ENCODINGS = ("q8", "q4")
JPEG_QUALITY = 90
PERIOD, REQUESTS = 1.0, 60
PER_SET = 8
PAYS = 0.95
"""A cut can pay on a trace where the best fixed cut's median is at most this share of the better whole model's."""


@dataclass(frozen=True)
class TraceSet:
    """A file of the folder: which column holds Mbit/s, which traces count, and the link that they stand for."""

    file: str
    column: str
    link: str
    label: str
    only: str = ""
    rtt: str = ""


SETS = (
    TraceSet("mahimahi_cellular_200ms", "mbps", "lte", "LTE uplink (Mahimahi)", "LTE*.up"),
    TraceSet("mahimahi_cellular_200ms", "mbps", "3g", "3G uplink (Mahimahi)", "UMTS|EVDO*.up"),
    TraceSet("hsdpa_3g_norway", "mbps", "3g", "3G downlink (Norway)"),
    TraceSet("oboe_wifi_wired", "mbps", "wifi", "Wi-Fi and wired downlink (Oboe)"),
    TraceSet("fcc_broadband", "mbps", "wifi", "broadband downlink (FCC)"),
    TraceSet("puffer_2022", "mbps", "wifi", "video downlink (Puffer)"),
    TraceSet("irish_5g", "dl_mbps", "5g", "5G downlink (Ireland)", "Download"),
)


def traces(folder: Path, chosen: TraceSet, held: bool = False) -> Iterator[Trace]:
    """The traces of a set that can carry anything, at most PER_SET of them, evenly picked; `held` for those between."""
    rows: dict[str, list[tuple[float, float]]] = {}
    with gzip.open(folder / f"{chosen.file}.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            if _wanted(row["trace_id"], chosen.only):
                rows.setdefault(row["trace_id"], []).append((float(row["t_s"]), float(row[chosen.column] or 0.0)))
    found = []
    for name, samples in rows.items():
        unique = dict(sorted(samples))
        try:
            trace = trace_of(name, list(unique), list(unique.values()))
        except ValueError:
            continue
        if trace.seconds >= 20 and trace.mean_rate > 1000:
            found.append(trace)
    step = max(1, math.ceil(len(found) / PER_SET))
    yield from (found[step // 2 :: step] if step > 1 else []) if held else found[::step]


def _wanted(name: str, only: str) -> bool:
    if "*" not in only:
        return only in name
    words, end = only.split("*")
    return name.endswith(end) and any(word in name for word in words.split("|"))


def pictures(shape: tuple[int, ...]) -> tuple[list[np.ndarray], float]:
    """Crops of two photographs as normalized inputs, and the mean bytes of them as JPEG."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    size = shape[-2:]
    arrays, sizes = [], []
    for image in load_sample_images().images:
        picture = Image.fromarray(image)
        for left in (0.0, 0.33):
            box = (int(left * picture.width), 0, int(left * picture.width) + picture.height, picture.height)
            crop = picture.crop(box).resize((size[1], size[0]))
            stream = io.BytesIO()
            crop.save(stream, "JPEG", quality=JPEG_QUALITY)
            sizes.append(stream.tell())
            values = (np.asarray(crop, np.float32) / 255.0 - 0.45) / 0.225
            arrays.append(np.ascontiguousarray(values.transpose(2, 0, 1)[None]))
    return arrays, statistics.fmean(sizes)


def plans(zoo: Path, done: set[tuple[str, str]], models: set[str]) -> Iterator[dict[str, Any]]:
    """For each model with a picture as its input, and each device: the ways that are worth building.

    Args:
        zoo: folder of manifest.json.
        done: models and devices to leave out.
        models: names of those to plan; empty for all.
    """
    for name, entry in json.loads((zoo / "manifest.json").read_text()).items():
        if models and name not in models:
            continue
        shapes = {key: tuple(shape) for key, shape in entry["shapes"].items()}
        shape = next(iter(shapes.values()))
        if len(shapes) != 1 or len(shape) != 4 or shape[1] != 3 or all((name, each) in done for each in DEVICES):
            continue
        arrays, jpeg = pictures(shape)
        module = load_model(str(zoo / entry["file"]), shapes, None).module
        prepare(module)
        batches = [{next(iter(shapes)): array} for array in arrays]
        server = operation_costs(module, SERVER)
        for device, (target, threads) in DEVICES.items():
            if (name, device) in done:
                continue
            start = time.perf_counter()
            prices = (operation_costs(module, target, threads=threads), server)
            priced = time.perf_counter()
            link = load_link("wifi")
            plan = plan_split(
                module, device=target, server=SERVER, link=link, batches=batches, encodings=ENCODINGS, prices=prices
            )
            yield {
                "model": name,
                "device": device,
                "operations": len(plan.problems[ENCODINGS[0]].tasks),
                "pricing_seconds": priced - start,
                "planning_seconds": _planning_seconds(plan),
                "jpeg": jpeg,
                "idle_watts": plan.conditions.idle_watts,
                "ways": [asdict(way) for way in way_costs(plan)],
            }


def _planning_seconds(plan: Any) -> float:
    """What finding the cut takes once the prices and the sizes are known."""
    from optc.passes.split.limited import cheapest_within
    from optc.passes.split.problem import LATENCY

    start = time.perf_counter()
    cheapest_within(plan.problems[ENCODINGS[0]], plan.conditions, LATENCY, None)
    return time.perf_counter() - start


VARIANTS = (
    ("8-bit codes", ("q8",), False),
    ("8-bit and 4-bit codes", ENCODINGS, False),
    ("8-bit and 4-bit codes; server-only sends JPEG", ENCODINGS, True),
)
"""What ways there are: the encodings, and whether pictures go to the server as JPEG where that is smaller."""


def ways(plan: dict[str, Any], encodings: tuple[str, ...], jpeg: bool) -> tuple[WayCosts, ...]:
    """The ways of a variant. A JPEG picture costs its device nothing here."""
    found = []
    for each in (WayCosts(**way) for way in plan["ways"]):
        suffix = each.name.split("-")[1] if "-" in each.name else ENCODINGS[0]
        if suffix not in encodings:
            continue
        if each.name.startswith("remote") and jpeg:
            each = replace(each, sent_bytes=min(each.sent_bytes, round(plan["jpeg"])))
        found.append(each)
    return tuple(found)


def judge(outcome: Replay) -> dict[str, Any]:
    """The ratios that count."""
    whole = min(run.median for name in ("local", "remote") if (run := outcome.run(name)) is not None)
    split, adaptive = outcome.run(SPLIT), outcome.run(ADAPTIVE)
    assert adaptive is not None
    return {
        "whole": whole,
        "split": None if split is None else split.median / whole,
        "adaptive": adaptive.median / whole,
        "oracle": outcome.oracle.median / whole,
        "mean_over_oracle": adaptive.mean / outcome.oracle.mean,
        "median_over_oracle": adaptive.median / outcome.oracle.median,
        "p95_over_oracle": adaptive.p95 / outcome.oracle.p95,
    }


def measure(zoo: Path, folder: Path, out: Path, models: set[str], held: bool = False) -> None:
    """Plan, replay, and write OUT.json after each step; what it holds already is not done again."""
    path = out.with_suffix(".json")
    report = json.loads(path.read_text()) if path.exists() else {"plans": [], "rows": []}
    path.parent.mkdir(parents=True, exist_ok=True)
    for plan in plans(zoo, {(each["model"], each["device"]) for each in report["plans"]}, models):
        report["plans"].append(plan)
        path.write_text(json.dumps(report, indent=1) + "\n")
        print(plan["model"], plan["device"], file=sys.stderr, flush=True)
    done = {(row["set"], row["model"], row["device"]) for row in report["rows"]}
    for chosen in SETS:
        found = list(traces(folder, chosen, held))
        for plan in report["plans"]:
            if (chosen.label, plan["model"], plan["device"]) not in done:
                report["rows"] += [row for trace in found for row in _replays(chosen, trace, plan)]
                path.write_text(json.dumps(report, indent=1) + "\n")
        print(chosen.label, len(report["rows"]), file=sys.stderr, flush=True)


def _replays(chosen: TraceSet, trace: Trace, plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    link = load_link(chosen.link)
    for label, encodings, jpeg in VARIANTS:
        world = World(trace, ways(plan, encodings, jpeg), link, plan["idle_watts"])
        outcome = replay(world, period=PERIOD, requests=REQUESTS)
        yield {
            "set": chosen.label,
            "trace": trace.name,
            "model": plan["model"],
            "device": plan["device"],
            "variant": label,
            "mbps": trace.mean_rate * 8e-6,
            **judge(outcome),
        }


def _median(values: list[float]) -> str:
    return f"{statistics.median(values):.2f}" if values else "–"


def _share(values: list[bool]) -> str:
    return f"{sum(values)} of {len(values)}"


def markdown(
    report: dict[str, Any],
    real: list[dict[str, Any]],
    policy: str,
    trained: dict[str, Any] | None = None,
    held: dict[str, Any] | None = None,
    large: dict[str, Any] | None = None,
) -> str:
    """The page, from the figures of OUT.json, of real runs, of trained bottlenecks, and the learned controller's."""
    rows = report["rows"]
    lines = ["# Split models over recorded networks", "", "Written by `benchmarks/split_traces.py`.", "", NOTES, ""]
    for label in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == label]
        lines += [f"## {label[0].upper()}{label[1:]}", "", _by(own, "set"), _by(own, "model"), _by(own, "device")]
    if held is not None:
        lines += ["## Other traces", "", HELD, "", _by(held["rows"], "variant"), _by(held["rows"], "set")]
    if trained is not None:
        lines += ["## Trained bottlenecks", "", TRAINED, ""]
        for label in dict.fromkeys(row["variant"] for row in trained["rows"]):
            own = [row for row in trained["rows"] if row["variant"] == label]
            lines += [f"### {label[0].upper()}{label[1:]}", "", _by(own, "model"), _by(own, "device")]
    if large is not None:
        lines += ["## Bottlenecks in a model of large pictures", "", LARGE, "", _large_plans(large["plans"])]
        for label in dict.fromkeys(row["variant"] for row in large["rows"]):
            own = [row for row in large["rows"] if row["variant"] == label]
            lines += [f"### {label[0].upper()}{label[1:]}", "", _by(own, "set"), _by(own, "device"), _by_held(own)]
    cells = [
        [each["model"], each["device"], str(each["operations"]), f"{1e3 * each['planning_seconds']:.0f}",
         f"{each['pricing_seconds']:.1f}", str(len(each["ways"]))]
        for each in report["plans"]
    ]  # fmt: skip
    header = ["model", "device", "operations", "cut found in, ms", "prices in, s", "ways"]
    lines += ["## Planning", "", table(header, cells)]
    for run in real:
        lines += [f"## A throttled process: {run['model']}", "", _real(run)]
    if policy:
        lines += ["## The learned controller", "", LEARNED, "", policy]
    return "\n".join(lines).rstrip() + "\n"


def _large_plans(plans: list[dict[str, Any]]) -> str:
    """What the ways of benchmarks/split_large.py cost."""
    cells = []
    for plan in plans:
        local, remote, *cuts = (WayCosts(**way) for way in plan["ways"])
        for cut in cuts:
            cells.append(
                [plan["device"], plan["variant"], f"{1e3 * local.device_seconds:.0f}",
                 f"{1e3 * remote.server_seconds:.0f}", str(remote.sent_bytes), cut.name.removeprefix(plan["model"]),
                 f"{1e3 * cut.device_seconds:.0f}", f"{1e3 * cut.server_seconds:.0f}", str(cut.sent_bytes)]
            )  # fmt: skip
    header = ["device", "bound", "local, ms", "server, ms", "picture, bytes", "cut", "device's half, ms",
              "server's half, ms", "bytes"]  # fmt: skip
    return table(header, cells)


def _by_held(rows: list[dict[str, Any]]) -> str:
    """Those traces that the sections above are of, and those between them."""
    named = [{**row, "traces": "between those" if row["held"] else "as above"} for row in rows]
    return _by(named, "traces")


def _real(run: dict[str, Any]) -> str:
    """What benchmarks/split_real.py measured."""
    cells = []
    for name, row in run["rows"].items():
        counted = ", ".join(f"{way} {count}" for way, count in row["ways"].items())
        predicted = "" if row["predicted"] is None else f"{1e3 * row['predicted']:.0f}"
        cells.append([name, predicted, f"{1e3 * row['median']:.0f}", f"{1e3 * row['p95']:.0f}", counted])
    about = (
        f"The device is a process that runs 1/{run['slower']:g} of the time, the server another one on this host; a "
        f"relay between their sockets replays a trace of {run['mbps']:.1f} Mbit/s on average. Milliseconds.\n\n"
    )
    return about + table(["policy", "predicted at the mean rate", "median", "p95", "answered by"], cells)


def _by(rows: list[dict[str, Any]], key: str) -> str:
    header = [
        key, "traces × models", "a cut can pay", "best fixed cut there", "adaptive there", "at most 0.60 there",
        "adaptive elsewhere, above 1.05", "worst", "adaptive / oracle, median", "within 10%", "mean latency / oracle's",
    ]  # fmt: skip
    lines = []
    for name in [*dict.fromkeys(row[key] for row in rows), "all"]:
        own = [row for row in rows if name in ("all", row[key])]
        paying = [row for row in own if row["split"] is not None and row["split"] <= PAYS]
        others = [row for row in own if row not in paying]
        lines.append(
            [
                name,
                str(len(own)),
                str(len(paying)),
                _median([row["split"] for row in paying]),
                _median([row["adaptive"] for row in paying]),
                _share([row["adaptive"] <= 0.60 for row in paying]),
                _share([row["adaptive"] > 1.05 for row in others]),
                f"{max((row['adaptive'] for row in others), default=math.nan):.2f}",
                _median([row["median_over_oracle"] for row in own]),
                _share([row["median_over_oracle"] <= 1.10 for row in own]),
                _median([row["mean_over_oracle"] for row in own]),
            ]
        )
    return table(header, lines)


NOTES = f"""\
Devices are predicted by the cost model, and so is the server, one core of this host. Each trace answers {REQUESTS}
requests, one every {PERIOD:g} s. Figures are medians of latencies over the better of local-only and server-only. "A cut
can pay" where the best fixed cut, picked with the whole trace known, is at most {PAYS:.2f} of that. Bytes are those of
four crops of two photographs, in codes of so many bits for each channel, compressed without loss; only the
models of the section on them have trained bottlenecks. Server-only sends the input in the same codes or, where that is
said, as JPEG (quality {JPEG_QUALITY}) if that is smaller. Downlink traces stand for links of that rate: what was
recorded is what an application received. The oracle knows the trace and takes the fastest way for each request. Where a
link jumps between outages and full speed, device and server may begin at once; energy is no part of these figures. The
controller's constants were picked among a few on the worst cases of these traces."""

HELD = """\
Traces between those above, of the larger sets, which nothing was picked on; both Raspberry Pi devices.

The five cases above 1.05 are on three traces whose links are better than the device alone for about half of the
requests and worse for the rest. The median then lies between two groups of latencies that are far apart, and a few
requests move it: those that are the first after a change of the link. Nothing announces such a change, so no controller
that does not know the trace can answer them otherwise. In these cases 2 to 9 of the 60 requests are answered in another
way than the oracle's, and the mean latency is 0.70 to 0.97 of that of the better of local-only and server-only."""

TRAINED = """\
The CIFAR-10 networks with those bottlenecks of [BOTTLENECK.md](BOTTLENECK.md) that lose at most 2 points.
Bytes are those on the socket. A picture costs its device nothing to encode here. `cortex-m7` has the figures of a
microcontroller. Against WebP at the accuracy of the bottleneck no cut pays: pictures of 32x32 are so small that
distance (5 to 120 ms) counts and not bytes, and the device's half of a cut takes longer than its few hundred bytes less
save. On a Raspberry Pi or a Jetson even the shortest distance takes longer than the whole network (0.3 to 3 ms), so
that nothing is ever worth sending. Against pictures without loss a cut pays on the microcontroller on links of 0.2 to
2.2 Mbit/s over short distances; the best ratio there is 0.55. The cases above 1.05 are on two traces where server-only
is better about half of the time, and the cut better on average."""

LARGE = """\
EfficientNet-Lite2, trained on ImageNet, at 256x256, with the fitted transforms of [BOTTLENECK.md](BOTTLENECK.md) after
a quarter of its multiplications: nothing is trained. All bytes are those on the socket; the answer is the five best
classes. Server-only sends the best picture coding that keeps as many of the classes as the way that keeps fewest, or
WebP without loss; a picture costs its device nothing to encode here. All traces, those of the sections above and those
between them."""

LEARNED = """\
Mean cost over the oracle's, which knows the trace; the cost weighs delay and the device's energy, each relative to
what the device needs by itself. Rates are those recorded, a fifth of them, and five times as much, in turn. The
network was trained on every second trace of the sets from Norway, Oboe and the FCC, and is judged on the others and on
sets that it never saw. Measured with both controllers before device and server could begin at once."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, help="folder of manifest.json")
    parser.add_argument("--traces", type=Path, help="folder of the recorded traces")
    parser.add_argument("--out", type=Path, required=True, help="OUT.json is written")
    parser.add_argument("--model", action="append", default=[], help="only this one; repeatable")
    parser.add_argument("--page", type=Path, help="write this page from OUT.json")
    parser.add_argument("--real", type=Path, action="append", default=[], help="of benchmarks/split_real.py")
    parser.add_argument("--held", action="store_true", help="measure on the traces between those usually picked")
    parser.add_argument("--held-page", type=Path, help="what --held measured")
    parser.add_argument("--trained", type=Path, help="of benchmarks/split_bottlenecks.py")
    parser.add_argument("--large", type=Path, help="of benchmarks/split_large.py")
    parser.add_argument("--policy", type=Path, help="table of benchmarks/split_policy.py")
    options = parser.parse_args()
    if options.zoo and options.traces:
        measure(options.zoo, options.traces, options.out, set(options.model), options.held)
    if options.page:
        report = json.loads(options.out.with_suffix(".json").read_text())
        real = [json.loads(path.read_text()) for path in options.real]
        trained = json.loads(options.trained.read_text()) if options.trained else None
        held = json.loads(options.held_page.read_text()) if options.held_page else None
        large = json.loads(options.large.read_text()) if options.large else None
        policy = options.policy.read_text() if options.policy else ""
        options.page.write_text(markdown(report, real, policy, trained, held, large))


if __name__ == "__main__":
    main()
