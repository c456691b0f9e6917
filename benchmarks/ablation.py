"""What each kind of decision gains from the learned cost model: latency with it, with the roofline, and with measuring.

    python benchmarks/ablation.py --zoo build/zoo --only mobilenetv3_small_100 ppocr_cls edgenext_xx_small --out DIR

Decision kinds: `layout`, `fusion`, `schedule`, and `all` of them together. For each kind the model is compiled with the
decisions of that kind from the analytical, the learned and the measured model (the oracle: every kernel that a pass
asks about is built and timed alone, and every workload's space is timed up to --most points); the other kinds stay with
the analytical model. The analytical choice of a schedule is the least of the templates' own estimates.

What a kernel takes alone is not what it takes in its place, so there is a second oracle: --explore N builds N more
variants, whose layout and fusion come from analytical estimates that err by factors of about e^0.15, and whose
schedules come from the learned model, like `all/learned`; the fastest variant of all, measured as a whole, is how far
any choice among them can get. The variants of one model run interleaved. Use models that the predictor never saw: its
card's `without` names them.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from optc import artifact, targets  # noqa: E402
from optc.backends.interface import KernelBackend  # noqa: E402
from optc.costmodel.interface import CostModel  # noqa: E402
from optc.driver.artifacts.native import linked  # noqa: E402
from optc.driver.collection.exploration import Exploring  # noqa: E402
from optc.driver.compile import kernel_maker  # noqa: E402
from optc.driver.context import pass_context  # noqa: E402
from optc.driver.cost_models import cost_model, schedule_predictor  # noqa: E402
from optc.driver.measured import MeasuredSchedules  # noqa: E402
from optc.driver.options import CompileOptions  # noqa: E402
from optc.driver.pipeline import PIPELINE  # noqa: E402
from optc.driver.program.lowering import lower  # noqa: E402
from optc.frontends import load_model  # noqa: E402
from optc.ir.core import Module  # noqa: E402
from optc.passes.manager import run_pipeline  # noqa: E402
from optc.passes.pipeline import parse_pipeline  # noqa: E402
from optc.runtime import load  # noqa: E402
from optc.runtime.random_inputs import random_inputs  # noqa: E402
from optc.targets.target import Target  # noqa: E402

MODELS = ("analytical", "learned", "measured")
EXPLORED = "explored"
SPREAD = 0.15  # standard deviation of the logarithm by which explored variants' estimates err
LAYOUT_PASSES = ("pad-channels", "layout", "widen-blocks")


def planned(path: str, shapes: Any, target: Target, backend: KernelBackend, models: Mapping[str, str]) -> Module:
    """A model after the passes, each of which asks the cost model of its decision kind."""
    module = load_model(path, shapes, None, None).module
    context = pass_context(target, backend, 1, "analytical")
    for item in parse_pipeline(PIPELINE):
        kind = "layout" if item.name in LAYOUT_PASSES else "fusion"
        context.cost_model = priced_by(models[kind], target, backend)
        run_pipeline(module, [item], context)
    return module


def priced_by(name: str, target: Target, backend: KernelBackend) -> CostModel:
    """A cost model by name; `explored3` is the third that errs."""
    if name.startswith(EXPLORED):
        seed = int(name.removeprefix(EXPLORED))
        return Exploring(cost_model("analytical", target, backend, 1), SPREAD, seed)
    return cost_model(name, target, backend, 1)


def built(
    name: str, path: str, shapes: Any, target: Target, models: Mapping[str, str], folder: Path, most: int
) -> float:
    """Compile one variant into `folder`; returns the seconds that took."""
    start = time.monotonic()
    schedules = models["schedule"]
    options = CompileOptions(threads=1, budget=0.0, cost_model="analytical", verify=False)
    backend = kernel_maker(target, options)
    assert backend is not None
    oracle = schedules == "measured"
    backend.schedules = MeasuredSchedules(most) if oracle else schedule_predictor(schedules, target)
    module = planned(path, shapes, target, backend, models)
    with artifact.stage(folder) as staging:
        context = pass_context(target, backend, 1, "analytical")
        lowered = lower(module, backend, target, options)
        staging.fill(linked(name, module, lowered, context, target, options).contents)
        staging.commit()
    return time.monotonic() - start


def variants(kinds: Sequence[str], explored: int = 0) -> dict[str, dict[str, str]]:
    """By name the cost model of each decision kind."""
    base = dict.fromkeys(("layout", "fusion", "schedule"), "analytical")
    found = {"analytical": base}
    for kind in kinds:
        for model in MODELS[1:]:
            found[f"{kind}/{model}"] = dict.fromkeys(base, model) if kind == "all" else {**base, kind: model}
    for number in range(explored):
        errs = f"{EXPLORED}{number}"
        found[f"all/{errs}"] = {"layout": errs, "fusion": errs, "schedule": "learned"}
    return found


def timed(folders: Mapping[str, Path], rounds: int, seconds: float) -> dict[str, float]:
    """The median over rounds of each artifact's least-disturbed latency; the variants take turns."""
    loaded = {name: load(folder, threads=1) for name, folder in folders.items()}
    feeds = {name: random_inputs(each.inputs) for name, each in loaded.items()}
    samples: dict[str, list[float]] = {name: [] for name in loaded}
    for each, item in loaded.items():
        item.run(feeds[each])
    for _ in range(rounds):
        for name, item in loaded.items():
            took: list[float] = []
            end = time.perf_counter() + seconds
            while time.perf_counter() < end or len(took) < 5:
                start = time.perf_counter()
                item.run(feeds[name])
                took.append(time.perf_counter() - start)
            samples[name].append(float(np.quantile(took, 0.25)))
    return {name: float(np.median(each)) for name, each in samples.items()}


def table(results: Mapping[str, Mapping[str, float]]) -> str:
    """Latencies over the analytical one as markdown, the fastest of all variants last, and their geometric means."""
    names = list(dict.fromkeys(name for times in results.values() for name in times if EXPLORED not in name))
    names.remove("analytical")
    rows = {
        model: [
            *(times[name] / times["analytical"] if name in times else math.nan for name in names),
            min(times.values()) / times["analytical"],
        ]
        for model, times in results.items()
    }
    lines = [f"| model | analytical, ms | {' | '.join(names)} | fastest |", "|---|---|" + "---|" * (len(names) + 1)]
    for model, cells in rows.items():
        shown = " | ".join("–" if math.isnan(cell) else f"{cell:.3f}" for cell in cells)
        lines.append(f"| {model} | {results[model]['analytical'] * 1e3:.3f} | {shown} |")
    means = [
        math.exp(float(np.mean([math.log(cell) for cell in column if not math.isnan(cell)])))
        for column in zip(*rows.values(), strict=True)
    ]
    lines.append("| **geometric mean** | | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Build all variants, time them, write ablation.json and ablation.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--only", nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", default=["layout", "fusion", "schedule", "all"])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="build only these variants")
    parser.add_argument("--explore", type=int, default=0, help="more variants, of models that err")
    parser.add_argument("--most", type=int, default=64, help="points of a space that the oracle times")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each variant in each round")
    parser.add_argument("--stage", choices=["build", "time", "both"], default="both")
    arguments = parser.parse_args()
    manifest = json.loads((arguments.zoo / "manifest.json").read_text(encoding="utf-8"))
    target = replace(targets.load("cpu"), cores=1)
    wanted = variants(arguments.kinds, arguments.explore)
    allowed = {"analytical", *arguments.models, *(f"{EXPLORED}{number}" for number in range(arguments.explore))}
    arguments.out.mkdir(parents=True, exist_ok=True)
    places = {name: {each: arguments.out / name / each.replace("/", "-") for each in wanted} for name in arguments.only}
    if arguments.stage != "time":
        for name in arguments.only:
            path = str(arguments.zoo / manifest[name]["file"])
            for each, models in wanted.items():
                if not places[name][each].exists() and set(models.values()) <= allowed:
                    took = built(
                        name, path, manifest[name]["shapes"], target, models, places[name][each], arguments.most
                    )
                    print(f"{name} {each}: built in {took:.1f} s", flush=True)
    if arguments.stage != "build":
        results = {
            name: timed({each: it for each, it in folders.items() if it.exists()}, arguments.rounds, arguments.seconds)
            for name, folders in places.items()
        }
        (arguments.out / "ablation.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
        text = table(results)
        (arguments.out / "ablation.md").write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
