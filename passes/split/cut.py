"""The cheapest placement by minimum cut.

For each link a copy of the tasks asks "is this one beyond the link?". The copies of one task form a chain, so that a
cut of the chain is a tier (Ishikawa, "Exact optimization for Markov random fields with convex priors", 2003); a value
that crosses a link has a gate that all its readers beyond share, so that it is paid for once. With two tiers and a
chain of tasks this is the partition point of Neurosurgeon (Kang et al., 2017); with two tiers and a general graph it
is the minimum cut of Hu et al., "Dynamic Adaptive DNN Surgery" (2019), without the values that they pay for twice.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from optc.passes.split.problem import Conditions, Goal, Placement, SplitProblem, Transfer, evaluate

_NEAR = "near"  # the source of the flow: this side of the link
_FAR = "far"  # its sink
# SciPy's flows are 32-bit integers, and an arc's capacity and the flow against it add up: half of the range for each.
_UNLIMITED = 2**30
_REFINED = 0.5

Node = Hashable


@dataclass
class _Network:
    """Costs by arc; those that may not be cut stand apart."""

    priced: dict[tuple[Node, Node], float] = field(default_factory=dict)
    forced: set[tuple[Node, Node]] = field(default_factory=set)

    def pay(self, source: Node, sink: Node, cost: float) -> None:
        """Pay `cost` when `source` is near and `sink` is far."""
        if cost > 0:
            self.priced[source, sink] = self.priced.get((source, sink), 0.0) + cost

    def force(self, source: Node, sink: Node) -> None:
        """Where `source` is near, so is `sink`."""
        self.forced.add((source, sink))

    def far(self, most: float) -> set[Node]:
        """The smallest far side of a minimum cut, where some cut costs at most `most`, to a millionth of that."""
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import breadth_first_order, maximum_flow

        ids: dict[Node, int] = {_NEAR: 0, _FAR: 1}
        arcs: dict[tuple[int, int], int] = {}
        scale = (_UNLIMITED - 1) / most
        for (source, sink), cost in self.priced.items():
            arc = ids.setdefault(source, len(ids)), ids.setdefault(sink, len(ids))
            arcs[arc] = min(_UNLIMITED - 1, round(cost * scale))
        for source, sink in self.forced:
            arcs[ids.setdefault(source, len(ids)), ids.setdefault(sink, len(ids))] = _UNLIMITED
        rows, columns = np.array(list(arcs)).T
        capacities = csr_array((np.array(list(arcs.values()), np.int32), (rows, columns)), shape=(len(ids), len(ids)))
        flow = maximum_flow(capacities, 0, 1).flow
        residual = csr_array(capacities.astype(np.int64) - flow.astype(np.int64))
        residual.eliminate_zeros()
        reaching = set(breadth_first_order(csr_array(residual.T), 1, return_predecessors=False).tolist())
        return {node for node, number in ids.items() if number in reaching}


def cheapest(problem: SplitProblem, conditions: Conditions, goal: Goal) -> Placement:
    """The placement that costs least; among equals, the one that keeps most on the near tiers.

    Costs are rounded to 30 bits of what everything on the device costs, or of the best placement found so far where
    that is far less. SciPy's flow takes milliseconds where networkx takes seconds.
    """
    network = _Network()
    hops = range(problem.tiers - 1)
    for index, task in enumerate(problem.tasks):
        costs = [task_cost(task.seconds[tier], task.joules, tier, conditions, goal) for tier in range(problem.tiers)]
        chain: list[Node] = [_FAR, *((index, hop) for hop in hops), _NEAR]
        # The tier is the number of links that the task is beyond; link 0 is the device's.
        for tier, cost in enumerate(costs):
            network.pay(chain[tier + 1], chain[tier], cost)
        for hop in hops:
            network.force(("beyond", hop), (index, hop))
            if hop > 0:
                network.force((index, hop - 1), (index, hop))
    for hop in hops:
        network.pay(_NEAR, ("beyond", hop), fixed_cost(hop, conditions, goal))
    for number, transfer in enumerate(problem.transfers):
        for hop in hops:
            producer: Node = _NEAR if transfer.producer is None else (transfer.producer, hop)
            readers = [(task, hop) for task in transfer.consumers if task != transfer.producer]
            for reader in readers:
                network.force(reader, producer)
            if not transfer.movable:
                for reader in readers:
                    network.force(producer, reader)
                if transfer.wanted and producer != _NEAR:
                    network.force(_NEAR, producer)
                continue
            gate = ("sent", number, hop)
            if readers:
                network.pay(producer, gate, sent_cost(transfer, hop, conditions, goal))
                for reader in readers:
                    network.force(gate, reader)
            if transfer.wanted and producer != _NEAR:
                network.pay(_NEAR, producer, returned_cost(transfer.returned_bytes, hop, conditions, goal))
    found: Placement = (0,) * len(problem.tasks)
    least = evaluate(problem, found, conditions).under(goal)
    while least > 0:
        far = network.far(least)
        better = tuple(sum((index, hop) in far for hop in hops) for index in range(len(problem.tasks)))
        cost = evaluate(problem, better, conditions).under(goal)
        if cost >= least:
            break
        found, refined, least = better, cost < _REFINED * least, cost
        if not refined:
            break
    return found


def task_cost(seconds: float, joules: float, tier: int, conditions: Conditions, goal: Goal) -> float:
    """What a task adds to the goal on a tier."""
    spent = seconds * conditions.factor(tier)
    energy = joules * conditions.factor(0) if tier == 0 else conditions.idle_watts * spent
    return goal.seconds * spent + goal.joules * energy


def fixed_cost(hop: int, conditions: Conditions, goal: Goal) -> float:
    """What using a link at all adds to the goal."""
    spent = conditions.links[hop].rtt + conditions.wait(hop + 1)
    return (goal.seconds + goal.joules * conditions.idle_watts) * spent


def sent_cost(transfer: Transfer, hop: int, conditions: Conditions, goal: Goal) -> float:
    """What a value that is sent over a link adds to the goal."""
    link, time = conditions.links[hop], goal.seconds + goal.joules * conditions.idle_watts
    cost = time * link.up_seconds(transfer.bytes)
    if hop == 0:
        cost += time * transfer.coding * conditions.factor(0)
        cost += goal.joules * link.up_joules(transfer.bytes) + goal.bytes * transfer.bytes
    return cost


def returned_cost(size: int, hop: int, conditions: Conditions, goal: Goal) -> float:
    """What a value that returns over a link adds to the goal."""
    link = conditions.links[hop]
    cost = (goal.seconds + goal.joules * conditions.idle_watts) * link.down_seconds(size)
    return cost + (goal.joules * link.down_joules(size) + goal.bytes * size if hop == 0 else 0.0)
