"""Train the learned controller of split models on recorded traces, and judge it on others beside the predictive one.

    python benchmarks/split_policy.py --plans build/bench/split.json --traces FOLDER --out policy.npz

The plans are those that benchmarks/split_traces.py wrote. Trained on: every second trace of TRAINED (their licences
allow what is made of them to be passed on). Judged on: all other traces of those sets, and on sets never trained on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.split_traces import ENCODINGS, PERIOD, SETS, TraceSet, traces, ways  # noqa: E402
from benchmarks.tables import table  # noqa: E402
from optc.driver.split.policy_training import Recipe, train_policy  # noqa: E402
from optc.driver.split.simulation import World, base_cost, simulate, simulate_oracle  # noqa: E402
from optc.runtime.split.control import ModelPredictive, Preference  # noqa: E402
from optc.runtime.split.control.learned import Learned  # noqa: E402
from optc.targets.link import load_link  # noqa: E402

TRAINED = ("hsdpa_3g_norway", "oboe_wifi_wired", "fcc_broadband")
ENERGIES = (0.0, 0.5, 1.0)
REQUESTS = 60
FACTORS = (1.0, 0.2, 5.0)
"""Of the rates, one after the other: where the choice is hard depends on the model, and there are few models."""


def worlds(plans: Sequence[dict[str, Any]], folder: Path, chosen: TraceSet, part: slice) -> list[World]:
    """A plan for each trace of a part of a set, one after the other."""
    link = load_link(chosen.link)
    found = list(traces(folder, chosen))[part]
    picked = zip(found, itertools.cycle(plans), itertools.cycle(FACTORS), strict=False)
    return [
        World(replace(trace, rates=trace.rates * factor), ways(plan, ENCODINGS, False), link, plan["idle_watts"])
        for trace, plan, factor in picked
    ]


def judge(world: World, energy: float, weights: dict[str, np.ndarray]) -> tuple[float, float]:
    """The mean cost of the predictive and of the learned controller over the oracle's."""
    preference, base = Preference(energy), base_cost(world)

    def cost(run: Any) -> float:
        return statistics.fmean(preference.of(each.seconds, each.joules, base) for each in run.outcomes)

    oracle = cost(simulate_oracle(world, period=PERIOD, requests=REQUESTS, preference=preference))
    found = []
    for policy in (
        ModelPredictive(world.ways, world.link, world.idle_watts, preference=preference),
        Learned(world.ways, world.link, world.idle_watts, weights=weights, preference=preference),
    ):
        found.append(cost(simulate(world, policy, "", period=PERIOD, requests=REQUESTS)) / oracle)
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", type=Path, required=True)
    parser.add_argument("--traces", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the weights; OUT.md gets the table")
    options = parser.parse_args()
    plans = json.loads(options.plans.read_text())["plans"]
    trained = [
        world
        for chosen in SETS
        if chosen.file in TRAINED
        for world in worlds(plans, options.traces, chosen, slice(0, None, 2))
    ]
    weights = train_policy(trained, Recipe(energies=ENERGIES, requests=REQUESTS, period=PERIOD))
    np.savez(options.out, **{name: array.astype(np.float32) for name, array in weights.items()})  # type: ignore[arg-type]
    lines = []
    for chosen in SETS:
        part = slice(1, None, 2) if chosen.file in TRAINED else slice(None)
        judged = worlds(plans, options.traces, chosen, part)
        for energy in ENERGIES:
            pairs = [judge(world, energy, weights) for world in judged]
            means = [f"{statistics.fmean(pair[side] for pair in pairs):.3f}" for side in (0, 1)]
            lines.append([chosen.label, f"{energy:g}", str(len(pairs)), *means])
    header = ["set", "share of energy", "traces", "predictive / oracle", "learned / oracle"]
    text = table(header, lines)
    options.out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
