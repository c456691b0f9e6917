"""A planned split over a recorded trace: the policies side by side, as figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optc.artifact.split_record import LOCAL, REMOTE
from optc.driver.split.plan import SplitPlan
from optc.driver.split.simulation import Run, World, best_fixed, simulate, simulate_oracle
from optc.driver.split.traces import Trace, read_trace
from optc.runtime.split.client import Fixed
from optc.runtime.split.control import ModelPredictive, Preference, WayCosts
from optc.runtime.split.control.costs import costs_of

_MOST = 2000  # requests of a replay

ADAPTIVE, SPLIT, ORACLE = "adaptive", "split", "oracle"


@dataclass(frozen=True)
class Replay:
    """What each policy made of a trace.

    Attributes:
        trace: that was replayed.
        runs: of `local`, `remote` and `split` (each with the encoding and the cut that are best over the whole trace),
            `adaptive` and `oracle`, where they exist.
    """

    trace: Trace
    runs: tuple[Run, ...]

    def run(self, name: str) -> Run | None:
        """The run of a policy; None where there is no such way."""
        return next((run for run in self.runs if run.name == name), None)

    @property
    def oracle(self) -> Run:
        """That of the one who knows the trace."""
        return self.runs[-1]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "trace": self.trace.name,
            "seconds": self.trace.seconds,
            "mean_mbps": self.trace.mean_rate * 8e-6,
            "policies": {
                run.name: {
                    "requests": len(run.outcomes),
                    "median_seconds": run.median,
                    "mean_seconds": run.mean,
                    "p95_seconds": run.p95,
                    "joules": run.joules,
                    "ways": run.ways_text,
                }
                for run in self.runs
            },
        }


def way_costs(plan: SplitPlan) -> tuple[WayCosts, ...]:
    """The ways of a plan as controllers and the simulator know them."""
    found = []
    for way in plan.ways:
        if way.fitted is not None:
            found.append(costs_of(way.fitted.way(None, None), uses_server=True))
            continue
        problem = plan.problems[way.encoding]
        sent = returned = 0
        joules = 0.0
        for task, tier in zip(problem.tasks, way.placement, strict=True):
            joules += task.joules if tier == 0 else 0.0
        for transfer in problem.transfers:
            start = 0 if transfer.producer is None else way.placement[transfer.producer]
            if start == 0 and any(way.placement[task] for task in transfer.consumers):
                sent += transfer.bytes
            if transfer.wanted and start > 0:
                returned += transfer.returned_bytes
        computing = way.cost.computing
        uses = any(way.placement)
        found.append(WayCosts(way.name, computing[0], computing[1], sent, returned, joules, uses))
    return tuple(found)


def replay(world: World, *, period: float, requests: int, preference: Preference | None = None) -> Replay:
    """Run all policies.

    Args:
        world: the trace, and the ways.
        period: seconds between requests.
        requests: how many.
        preference: of the adaptive policy and of the oracle, between delay and energy.
    """
    wanted = preference or Preference()
    fixed = {
        way.name: simulate(world, Fixed(way.name), way.name, period=period, requests=requests) for way in world.ways
    }
    runs = [fixed[LOCAL]] if LOCAL in fixed else []
    remote = [run for name, run in fixed.items() if name.split("-")[0] == REMOTE]
    if remote:
        runs.append(Run(REMOTE, best_fixed(remote).outcomes))
    cuts = [run for name, run in fixed.items() if name.split("-")[0] not in (LOCAL, REMOTE)]
    if cuts:
        best = best_fixed(cuts)
        runs.append(Run(SPLIT, best.outcomes))
    policy = ModelPredictive(world.ways, world.link, world.idle_watts, preference=wanted)
    runs.append(simulate(world, policy, ADAPTIVE, period=period, requests=requests))
    runs.append(simulate_oracle(world, period=period, requests=requests, preference=wanted))
    return Replay(world.trace, tuple(runs))


def replay_trace(plan: SplitPlan, path: Path, period: float) -> Replay:
    """Replay a file over the ways of a plan.

    Raises:
        OptcError: the file is no trace.
    """
    trace = read_trace(path)
    world = World(trace, way_costs(plan), plan.link, plan.conditions.idle_watts)
    preference = Preference(1.0 if plan.objective == "energy" else 0.0)
    requests = min(_MOST, max(1, math.ceil(trace.seconds / period)))
    return replay(world, period=period, requests=requests, preference=preference)
