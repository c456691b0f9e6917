"""Split models with trained bottlenecks over recorded networks, against pictures in the best coding.

    python -m benchmarks.split_bottlenecks --work build/split_cifar10 --traces FOLDER --out build/bench/split_trained

Needs the checkpoints of `samples/split_cifar10.py` and what `benchmarks/bottleneck.py` measured of them, both in
`--work`; FOLDER as for `benchmarks/split_traces.py`, whose `--trained` makes a section of the page of OUT.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "samples"))

from benchmarks import split_traces  # noqa: E402
from benchmarks.bottleneck_page import picture_bytes  # noqa: E402
from optc.driver.quantization.preparation import prepare  # noqa: E402
from optc.driver.split.costs import operation_costs  # noqa: E402
from optc.driver.split.replay import replay  # noqa: E402
from optc.driver.split.simulation import World  # noqa: E402
from optc.frontends import load_model  # noqa: E402
from optc.runtime.split.control import WayCosts  # noqa: E402
from optc.targets.link import load_link  # noqa: E402

DEVICES = {**split_traces.DEVICES, "cortex-m7": ("cortex-m7", None)}
NETWORKS = {
    "resnet8": ("resnet8", "resnet8_late", "resnet8_wide", "resnet8_finer", "resnet8_finest"),
    "mobilenet": ("mobilenet", "mobilenet_late", "mobilenet_wide", "mobilenet_finest"),
}
"""The cuts of `samples/split_cifar10.py` by network."""

PIXELS = (1, 3, 32, 32)
LOSSLESS, WEBP = "server-only sends PNG", "server-only sends WebP of the same accuracy"


def seconds(path: Path, inputs: dict[str, tuple[int, ...]] | None, target: str, threads: int | None) -> float:
    """What a model is predicted to take on a target."""
    module = load_model(str(path), inputs, None).module
    prepare(module)
    return sum(operation_costs(module, target, threads=threads).seconds.values())


def bottlenecks(network: str, work: Path) -> Iterator[tuple[str, Any]]:
    """The trained bottlenecks of a network, called as in the figures."""
    import split_cifar10 as sample
    import torch

    for cut in NETWORKS[network]:
        files = {sample.first_stage(cut): "bottleneck"} | {
            f"entropic {each}": f"rate{each}" for each in sample.CUTS[cut].weights
        }
        for name, file in files.items():
            path = work / f"{cut}.{file}.pt"
            if path.exists():
                model = sample.build(cut)
                model.load_state_dict(torch.load(path))
                yield f"{cut} {name}", model.eval()


def plans(work: Path, least: float) -> Iterator[dict[str, Any]]:
    """For each network and device its ways, with all bytes on the socket.

    Args:
        work: folder of checkpoints and of bottleneck.json.
        least: accuracy, as a share, below which a bottleneck is left out, relative to the network's own.
    """
    from optc.driver.split.learning.writing import halves

    figures = json.loads((work / "bottleneck.json").read_text())
    for network in NETWORKS:
        own = figures["original"][network]
        known = {name: figures["bottlenecks"].get(name) for name, _ in bottlenecks(network, work)}
        usable = {name: each for name, each in known.items() if each and each["accuracy"] >= own - least}
        worst = min(each["accuracy"] for each in usable.values())
        first = next(iter(usable))
        frame = figures["socket"][first]["sent"] - figures["bottlenecks"][first]["bytes"]
        returned = round(figures["socket"][first]["received"])
        pictures = {LOSSLESS: figures["inputs"]["PNG"]["bytes"], WEBP: picture_bytes(figures, network, min(worst, own))}
        whole = ROOT / f"samples/models/cifar10_{network}.onnx"
        shapes = {"pixels": PIXELS}
        with tempfile.TemporaryDirectory() as temporary:
            files = {}
            for name, model in bottlenecks(network, work):
                if name in usable:
                    files[name] = tuple(Path(temporary, f"{name}.{side}.onnx") for side in ("device", "server"))
                    for path, half in zip(files[name], halves(model, None, batch=1), strict=True):
                        path.write_bytes(half.SerializeToString())
            server = seconds(whole, shapes, split_traces.SERVER, 1)
            for device, (target, threads) in DEVICES.items():
                local = WayCosts("local", seconds(whole, shapes, target, threads), uses_server=False)
                cuts = [
                    WayCosts(
                        name,
                        seconds(halved[0], shapes, target, threads),
                        seconds(halved[1], None, split_traces.SERVER, 1),
                        round(usable[name]["bytes"] + frame),
                        returned,
                    )
                    for name, halved in files.items()
                ]
                for variant, size in pictures.items():
                    remote = WayCosts("remote", 0.0, server, round(size + frame), returned)
                    yield {
                        "model": network,
                        "device": device,
                        "variant": variant,
                        "ways": [asdict(way) for way in (local, remote, *cuts)],
                        "accuracy": {"local": own, **{name: each["accuracy"] for name, each in usable.items()}},
                    }


def replay_plans(plans: list[dict[str, Any]], folder: Path, out: Path, selections: tuple[bool, ...]) -> None:
    """Replay plans over the traces of all sets, with each of `selections` as `held`, and write OUT.json."""
    path = out.with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"plans": plans, "rows": []}
    path.write_text(json.dumps(report, indent=1) + "\n")
    for chosen in split_traces.SETS:
        link = load_link(chosen.link)
        found = [(held, trace) for held in selections for trace in split_traces.traces(folder, chosen, held)]
        for held, trace in found:
            for plan in plans:
                world = World(trace, tuple(WayCosts(**way) for way in plan["ways"]), link)
                outcome = replay(world, period=split_traces.PERIOD, requests=split_traces.REQUESTS)
                report["rows"].append(
                    {
                        "set": chosen.label,
                        "trace": trace.name,
                        "held": held,
                        "mbps": trace.mean_rate * 8e-6,
                        **{key: plan[key] for key in ("model", "device", "variant")},
                        **split_traces.judge(outcome),
                    }
                )
        path.write_text(json.dumps(report, indent=1) + "\n")
        print(chosen.label, len(report["rows"]), file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="checkpoints, and bottleneck.json")
    parser.add_argument("--traces", type=Path, required=True, help="folder of the recorded traces")
    parser.add_argument("--out", type=Path, required=True, help="OUT.json is written")
    parser.add_argument("--least", type=float, default=0.02, help="accuracy that a bottleneck may lose (0.02)")
    options = parser.parse_args()
    replay_plans(list(plans(options.work, options.least)), options.traces, options.out, (False,))


if __name__ == "__main__":
    main()
