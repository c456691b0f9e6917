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

from optc.passes.split.problem import Conditions, Goal, Placement, SplitProblem

_NEAR = "near"  # the source of the flow: this side of the link
_FAR = "far"  # its sink
_RESOLUTION = 10**15  # capacities are integers: this many steps for what all tasks and values cost together

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

    def near(self) -> set[Node]:
        """The near side of the minimum cut."""
        import networkx as nx
        from networkx.algorithms.flow import boykov_kolmogorov

        total = sum(self.priced.values()) or 1.0
        graph = nx.DiGraph()
        graph.add_nodes_from((_NEAR, _FAR))
        graph.add_edges_from(self.forced)  # no capacity: unlimited
        for arc, cost in self.priced.items():
            if arc not in self.forced:
                graph.add_edge(*arc, capacity=int(cost / total * _RESOLUTION))
        near: set[Node] = nx.minimum_cut(graph, _NEAR, _FAR, flow_func=boykov_kolmogorov)[1][0]
        return near


def cheapest(problem: SplitProblem, conditions: Conditions, goal: Goal) -> Placement:
    """The placement that costs least; among equals, the one that keeps most on the near tiers."""
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
                network.pay(producer, gate, sent_cost(transfer.bytes, hop, conditions, goal))
                for reader in readers:
                    network.force(gate, reader)
            if transfer.wanted and producer != _NEAR:
                network.pay(_NEAR, producer, returned_cost(transfer.returned_bytes, hop, conditions, goal))
    near = network.near()
    return tuple(sum((index, hop) not in near for hop in hops) for index in range(len(problem.tasks)))


def task_cost(seconds: float, joules: float, tier: int, conditions: Conditions, goal: Goal) -> float:
    """What a task adds to the goal on a tier."""
    spent = seconds * conditions.factor(tier)
    energy = joules * conditions.factor(0) if tier == 0 else conditions.idle_watts * spent
    return goal.seconds * spent + goal.joules * energy


def fixed_cost(hop: int, conditions: Conditions, goal: Goal) -> float:
    """What using a link at all adds to the goal."""
    spent = conditions.links[hop].rtt + conditions.wait(hop + 1)
    return (goal.seconds + goal.joules * conditions.idle_watts) * spent


def sent_cost(size: int, hop: int, conditions: Conditions, goal: Goal) -> float:
    """What a value that is sent over a link adds to the goal."""
    link = conditions.links[hop]
    cost = (goal.seconds + goal.joules * conditions.idle_watts) * link.up_seconds(size)
    return cost + (goal.joules * link.up_joules(size) + goal.bytes * size if hop == 0 else 0.0)


def returned_cost(size: int, hop: int, conditions: Conditions, goal: Goal) -> float:
    """What a value that returns over a link adds to the goal."""
    link = conditions.links[hop]
    cost = (goal.seconds + goal.joules * conditions.idle_watts) * link.down_seconds(size)
    return cost + (goal.joules * link.down_joules(size) + goal.bytes * size if hop == 0 else 0.0)
