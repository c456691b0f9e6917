"""The cheapest choice between two labels for every operation, by minimum cut.

Labels are "blocked" and "plain". What an operation costs under each label, and what a change of label along a value
costs, is a binary energy whose pair terms are all of the form "pay when they differ", so that its minimum is a minimum
cut (Kolmogorov and Zabih, "What energy functions can be minimized via graph cuts?", 2004, theorem 4.1).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

_BLOCKED = "blocked"  # the source of the flow
_PLAIN = "plain"  # its sink
_RESOLUTION = 1e13  # capacities are integers: a tenth of a picosecond

Node = Hashable


@dataclass
class LabelProblem:
    """Costs in seconds, added up term by term. `PLAIN` stands for whatever is plain for certain.

    Attributes:
        constant: what every labelling costs.
    """

    PLAIN = _PLAIN

    constant: float = 0.0
    _capacities: dict[tuple[Node, Node], int] = field(default_factory=dict)
    _forced: set[tuple[Node, Node]] = field(default_factory=set)
    _nodes: dict[Node, None] = field(default_factory=dict)

    def label_cost(self, node: Node, *, blocked: float, plain: float) -> None:
        """What a node costs under each label."""
        self._nodes[node] = None
        least = min(blocked, plain)
        self.constant += least
        self._pay(node, _PLAIN, blocked - least)
        self._pay(_BLOCKED, node, plain - least)

    def pair_cost(self, first: Node, second: Node, cost: float) -> None:
        """Pay `cost` when exactly `first` is blocked and `second` is plain."""
        self._pay(first, second, cost)

    def conversion_cost(self, producer: Node, consumers: Iterable[Node], cost: float) -> None:
        """Pay `cost` once when any consumer's label differs from the producer's."""
        consumers = [consumer for consumer in consumers if consumer is not producer]
        if producer is not _PLAIN and _PLAIN in consumers:
            self._pay(producer, _PLAIN, cost)
            consumers = [consumer for consumer in consumers if consumer is not _PLAIN]
            to_plain: list[Node] = []  # whoever else is plain shares that conversion, so it is paid at most once
        else:
            to_plain = consumers
        if producer is not _PLAIN and to_plain:
            gate: Node = ("to plain", producer)
            self._pay(producer, gate, cost)
            self._forced.update((gate, consumer) for consumer in to_plain)
        if consumers:
            gate = ("to blocked", producer, tuple(consumers))
            self._pay(gate, producer, cost)
            self._forced.update((consumer, gate) for consumer in consumers)

    def _pay(self, source: Node, sink: Node, cost: float) -> None:
        if cost > 0 and source is not sink:
            key = (source, sink)
            self._capacities[key] = self._capacities.get(key, 0) + max(1, round(cost * _RESOLUTION))

    def solve(self) -> set[Node]:
        """The nodes labelled blocked in the cheapest labelling."""
        return self._cut()[1]

    def minimum(self) -> float:
        """What the cheapest labelling costs."""
        return self.constant + self._cut()[0] / _RESOLUTION

    def _cut(self) -> tuple[int, set[Node]]:
        """The capacity of the minimum cut, and the nodes on the blocked side."""
        import networkx as nx
        from networkx.algorithms.flow import boykov_kolmogorov

        graph = nx.DiGraph()
        graph.add_nodes_from((_BLOCKED, _PLAIN, *self._nodes))
        graph.add_edges_from((u, v, {"capacity": capacity}) for (u, v), capacity in self._capacities.items())
        graph.add_edges_from((u, v) for u, v in self._forced)  # no capacity: unlimited
        value, (blocked, _) = nx.minimum_cut(graph, _BLOCKED, _PLAIN, flow_func=boykov_kolmogorov)
        return value, blocked & self._nodes.keys()
