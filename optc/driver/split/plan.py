"""Where to cut a model for a device, a server and a link: candidates with their predicted costs, and the choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from optc import targets
from optc.artifact.split_record import LOCAL, REMOTE
from optc.driver.quantization.preparation import prepare
from optc.driver.split.costs import OperationCosts, operation_costs
from optc.driver.split.fitting import SPLIT, Fitted
from optc.driver.split.sizes import LOSSLESS, RAW, Feeds, encoded_sizes
from optc.errors import LimitError, UsageError
from optc.ir.core import Module, Operation, Value
from optc.ir.source import near
from optc.passes.split.front import over_bandwidths, pareto_front
from optc.passes.split.graph import crossing_values, operations_of, private_values, split_problem
from optc.passes.split.limited import cheapest_within
from optc.passes.split.problem import (
    ENERGY,
    LATENCY,
    Conditions,
    Cost,
    Goal,
    Placement,
    SplitProblem,
    Transfer,
    device_memory,
    evaluate,
    is_allowed,
)
from optc.targets.link import Link

OBJECTIVES: Mapping[str, Goal] = {"latency": LATENCY, "energy": ENERGY}

INPUTS = "inputs"
"""What `private` says for all inputs of the model."""

_SLOWER, _FASTER = 0.02, 50.0  # the link's rates, as factors, that cuts are prepared for
_GRID = 41
_SWEEPS = 8  # the codec's passes over a value: least and greatest, codes and their range, the bytes to compress


@dataclass(frozen=True)
class PlannedWay:
    """A candidate with its predicted cost.

    Attributes:
        name: `local`, `remote`, or the cut's number, with the encoding where it is not the first.
        placement: 0 for each operation on the device, 1 on the server.
        encoding: of what is sent.
        cost: under the stated conditions.
        sent: names of the values that cross.
        device_bytes: weights and the most intermediate values at once, on the device.
        fitted: where its halves were trained; `encoding` is its name then.
    """

    name: str
    placement: Placement
    encoding: str
    cost: Cost
    sent: tuple[str, ...]
    device_bytes: int
    fitted: Fitted | None = None


@dataclass(frozen=True)
class SplitPlan:
    """What was found for a model.

    Attributes:
        module: simplified; what the halves are cut from.
        problems: by encoding; they differ in the bytes of the values. A trained way has its own, under its name.
        conditions: the link, and what the device draws while it waits.
        device, server: target names.
        objective: a key of OBJECTIVES.
        ways: those to build.
        chosen: the best of them for the objective.
        front: everything that nothing beats in latency, energy and bytes, with the first encoding.
        basis: what the seconds rest on, by side.
        memory_limit: of the device, in bytes.
        missing: why there is no way called `local` or `remote`, and why trained ways were left out.
        sizes: of each value by encoding.
    """

    module: Module
    problems: Mapping[str, SplitProblem]
    conditions: Conditions
    device: str
    server: str
    objective: str
    ways: tuple[PlannedWay, ...]
    chosen: PlannedWay
    front: tuple[tuple[Placement, Cost], ...]
    basis: tuple[str, str]
    memory_limit: int | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, Mapping[Value, int]] = field(default_factory=dict)

    @property
    def link(self) -> Link:
        """Between device and server."""
        return self.conditions.links[0]

    @property
    def runner_up(self) -> PlannedWay | None:
        """The best of the others that it was chosen from."""
        goal = OBJECTIVES[self.objective]
        others = [way for way in self.candidates if way is not self.chosen]
        return min(others, key=lambda way: way.cost.under(goal), default=None)

    @property
    def candidates(self) -> tuple[PlannedWay, ...]:
        """What was chosen from: the ways with the first encoding, and those that were trained."""
        first = next(iter(self.problems))
        return tuple(way for way in self.ways if way.encoding == first or way.fitted is not None)

    @property
    def plain(self) -> tuple[PlannedWay, ...]:
        """The ways that need no training."""
        return tuple(way for way in self.ways if way.fitted is None)

    @property
    def knows_energy(self) -> bool:
        """Whether the device's target says what computing costs."""
        return bool(targets.load(self.device).energy)

    def operations(self, way: PlannedWay) -> list[Operation]:
        """Those that the device runs."""
        return [
            operation
            for operation, tier in zip(operations_of(self.module.main), way.placement, strict=True)
            if tier == 0
        ]


def plan_split(
    module: Module,
    *,
    device: str,
    server: str,
    link: Link,
    batches: Iterable[Feeds],
    objective: str = "latency",
    encodings: Sequence[str] = ("q8",),
    private: Sequence[str] = (),
    memory_limit: int | None = None,
    cuts: int = 3,
    device_threads: int | None = None,
    server_threads: int | None = None,
    cost_model: str = "auto",
    prices: tuple[OperationCosts, OperationCosts] | None = None,
) -> SplitPlan:
    """Find the ways worth building.

    Args:
        module: as imported, with static shapes; it is simplified in place.
        device: a target's name.
        server: likewise.
        link: between them.
        batches: inputs to measure the size of encoded values on.
        objective: what the choice makes small, a key of OBJECTIVES.
        encodings: of what is sent; the first one decides what is chosen, the others are alternatives at run time.
        private: names of values that must not leave the device; INPUTS stands for all inputs of the model.
        memory_limit: bytes that weights and intermediate values may take of the device.
        cuts: how many cuts to keep besides `local` and `remote`.
        device_threads: of a run on the device; None for all its cores.
        server_threads: of a run on the server.
        cost_model: as for `optc.compile`.
        prices: of the operations of the simplified module on both sides, where they are known already.

    Raises:
        UsageError: a name is unknown.
        LimitError: nothing that is allowed fits into the device's memory.
    """
    if objective not in OBJECTIVES:
        raise UsageError(f"'{objective}' is no objective", hint=f"one of {', '.join(OBJECTIVES)}")
    if objective == "energy" and not targets.load(device).energy:
        raise UsageError(
            f"the target '{targets.load(device).name}' states no energy figures",
            where="--objective energy",
            hint="optc targets shows which ones do; [energy] in a target file of your own says them",
        )
    if prices is None:
        prepare(module)
        prices = (
            operation_costs(module, device, threads=device_threads, cost_model=cost_model),
            operation_costs(module, server, threads=server_threads, cost_model=cost_model),
        )
    graph = module.main
    kept = private_values(graph, _named(module, private))
    sizes = encoded_sizes(module, crossing_values(graph), encodings, batches)
    conditions = Conditions((link,), _idle_watts(device))
    goal = OBJECTIVES[objective]
    problems = {
        name: with_coding(
            split_problem(graph, [side.seconds for side in prices], prices[0].joules, sizes[name].__getitem__, kept),
            targets.load(device).memory_bandwidth if name != RAW else 0.0,
        )
        for name in encodings
    }
    problem = problems[encodings[0]]
    every = len(problem.tasks)
    chosen = _settle(problem, cheapest_within(problem, conditions, goal, memory_limit), memory_limit)
    swept = [
        _settle(problem, placement, memory_limit)
        for each in problems.values()
        for placement in over_bandwidths(each, conditions, goal, slower=_SLOWER, faster=_FASTER, memory=memory_limit)
    ]
    swept = list(dict.fromkeys([chosen, *swept]))
    ends = {LOCAL: (0,) * every, REMOTE: (1,) * every}
    missing = {
        name: reason for name, each in ends.items() if (reason := _refusal(problem, each, memory_limit)) is not None
    }
    possible = {name: each for name, each in ends.items() if name not in missing}
    middle = [each for each in swept if each not in ends.values()]
    front = _settled_front(problem, conditions, memory_limit)
    middle += [each for each, _ in front if each not in ends.values() and each not in middle]
    middle = _most_useful(list(problems.values()), conditions, goal, list(possible.values()), middle, cuts, chosen)
    named = dict(possible)
    # From the input's side to the output's: the more the device computes, the higher the number.
    middle.sort(key=lambda placement: evaluate(problem, placement, conditions).computing[0])
    named |= {str(number): placement for number, placement in enumerate(middle, 1)}
    ways = []
    for name, placement in named.items():
        for position, encoding in enumerate(encodings if name != LOCAL else encodings[:1]):
            cost = evaluate(problems[encoding], placement, conditions)
            full = name if position == 0 else f"{name}-{encoding}"
            held = device_memory(problem, placement)
            ways.append(PlannedWay(full, placement, encoding, cost, sent_names(problem, placement), held))
    if not ways:
        raise LimitError("no way to run the model is allowed", why="; ".join(missing.values()))
    best = min(
        (way for way in ways if way.encoding == encodings[0]), key=lambda way: (way.cost.under(goal), way.cost.bytes)
    )
    return SplitPlan(
        module=module,
        problems=problems,
        conditions=conditions,
        device=device,
        server=server,
        objective=objective,
        ways=tuple(ways),
        chosen=best,
        front=tuple(front),
        basis=(prices[0].prediction.basis, prices[1].prediction.basis),
        memory_limit=memory_limit,
        missing=missing,
        sizes=sizes,
    )


def with_trained(plan: SplitPlan, ways: Sequence[Fitted]) -> SplitPlan:
    """The plan with further ways beside its own, chosen from all of them anew.

    Raises:
        UsageError: two ways have the same name.
    """
    goal = OBJECTIVES[plan.objective]
    problems, missing, planned = dict(plan.problems), dict(plan.missing), list(plan.ways)
    for each in ways:
        if each.name in {way.name for way in planned}:
            raise UsageError(f"two ways are called '{each.name}'", where="--bottleneck")
        if plan.memory_limit is not None and each.device_bytes > plan.memory_limit:
            missing[each.name] = (
                f"it needs {each.device_bytes} bytes of the device, and {plan.memory_limit} are allowed"
            )
            continue
        problems[each.name] = each.problem
        cost = each.cost(plan.conditions)
        names = tuple(tensor.name for tensor in each.sent)
        planned.append(PlannedWay(each.name, SPLIT, each.name, cost, names, each.device_bytes, each))
    more = replace(plan, problems=problems, missing=missing, ways=tuple(planned))
    return replace(more, chosen=min(more.candidates, key=lambda way: (way.cost.under(goal), way.cost.bytes)))


def coding_seconds_per_byte(bandwidth: float) -> float:
    """What encoding takes a device with so much memory bandwidth, by the byte of the value."""
    return _SWEEPS / bandwidth if bandwidth else 0.0


def sent_names(problem: SplitProblem, placement: Placement) -> tuple[str, ...]:
    """The values that cross from the device to the server."""
    return tuple(transfer.name for transfer in problem.transfers if _crosses(transfer, placement))


def with_coding(problem: SplitProblem, bandwidth: float) -> SplitProblem:
    """Let values take the time on the link that coding them takes on the device.

    The codec runs over a value some times, as fast as the device's memory gives it; that time is put on the task that
    makes the value where it is sent from there. Inputs of the model are left out: all ways but the local one send or
    code about as much. A bandwidth of 0 stands for no coding.
    """
    if not bandwidth:
        return problem
    slowness = coding_seconds_per_byte(bandwidth)
    return replace(
        problem,
        transfers=tuple(
            replace(each, coding=slowness * each.stored if each.movable else 0.0) for each in problem.transfers
        ),
    )


def _crosses(transfer: Transfer, placement: Placement) -> bool:
    start = 0 if transfer.producer is None else placement[transfer.producer]
    return start == 0 and any(placement[task] for task in transfer.consumers)


def _settle(problem: SplitProblem, placement: Placement, memory: int | None) -> Placement:
    """The placement without a half that computes nothing: views that cost no time follow their neighbours."""
    for end in (0, 1):
        other = (end,) * len(placement)
        strays = (task for task, tier in zip(problem.tasks, placement, strict=True) if tier != end)
        if all(task.seconds[0] == task.seconds[1] == 0 for task in strays):
            return placement if _refusal(problem, other, memory) else other
    return placement


def _settled_front(problem: SplitProblem, conditions: Conditions, memory: int | None) -> list[tuple[Placement, Cost]]:
    found = (_settle(problem, placement, memory) for placement, _ in pareto_front(problem, conditions, memory))
    return [(placement, evaluate(problem, placement, conditions)) for placement in dict.fromkeys(found)]


def _refusal(problem: SplitProblem, placement: Placement, memory: int | None) -> str | None:
    """Why a placement is not allowed; None where it is."""
    if not is_allowed(problem, placement):
        return "values that must stay on the device would leave it"
    if memory is not None and (needed := device_memory(problem, placement)) > memory:
        return f"it needs {needed} bytes of the device, and {memory} are allowed"
    return None


def _most_useful(
    problems: Sequence[SplitProblem],
    conditions: Conditions,
    goal: Goal,
    given: Sequence[Placement],
    candidates: Sequence[Placement],
    count: int,
    chosen: Placement,
) -> list[Placement]:
    """Greedily those that lower the cost most, relative and averaged over the bandwidths that are prepared for.

    Each placement counts with the encoding that suits it best. The chosen one comes first. What gains nothing anywhere
    is left out.
    """
    link = conditions.links[0]
    factors = np.geomspace(_SLOWER, _FASTER, _GRID)
    worlds = [
        replace(conditions, links=(link.with_rates(uplink=link.uplink * each, downlink=link.downlink * each),))
        for each in factors
    ]

    def costs(placement: Placement) -> np.ndarray:
        every = [[evaluate(each, placement, world).under(goal) for world in worlds] for each in problems]
        return np.min(every, axis=0)

    known = {placement: costs(placement) for placement in (*given, *candidates)}
    best = np.min([known[each] for each in given], axis=0) if given else np.full(_GRID, np.inf)
    kept: list[Placement] = []
    while len(kept) < count:
        rest = [each for each in candidates if each not in kept]
        if chosen in rest:
            pick = chosen
        else:
            gains = {each: float(np.mean(np.minimum(known[each], best) / best)) for each in rest}
            pick = min(gains, key=gains.__getitem__, default=chosen)
            if pick not in gains or gains[pick] > 1 - 1e-3:
                break
        kept.append(pick)
        best = np.minimum(best, known[pick])
    return kept


def _named(module: Module, names: Sequence[str]) -> list[Value]:
    """The values that the user calls private."""
    graph = module.main
    by_name = {value.name: value for value in crossing_values(graph)} | {value.name: value for value in graph.inputs}
    found: list[Value] = []
    for name in names:
        if name == INPUTS and name not in by_name:
            found += graph.inputs
        elif name in by_name:
            found.append(by_name[name])
        else:
            hint = near(name, by_name) or "optc inspect shows the names"
            raise UsageError(f"no value is called '{name}'", where="--private", hint=hint)
    return found


def _idle_watts(device: str) -> float:
    return float(targets.load(device).energy.get("watts", 0.0))


__all__ = ["INPUTS", "LOSSLESS", "OBJECTIVES", "PlannedWay", "SplitPlan", "plan_split", "sent_names", "with_trained"]
