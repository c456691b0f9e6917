"""Places for the nodes of a directed acyclic graph: layer by layer downwards, neighbours close, edges through the gaps.

Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System Structures" (1981): layers by the
longest path, an invisible node wherever an edge passes a layer, orders by barycentres, then horizontal places between
the means of neighbours and the neighbours in the layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

_SWEEPS = 4
_ROUNDS = 6
_PASSING = 0.2  # of the width of a node, for an edge that passes a layer


@dataclass(frozen=True)
class Placed:
    """A drawing.

    Attributes:
        places: the centre of each node along its layer, and the number of its layer; in node widths and layers.
        paths: for each edge its corners, from the node that it leaves to the one that it enters.
        width: in node widths.
        layers: how many there are.
    """

    places: list[tuple[float, int]]
    paths: list[list[tuple[float, int]]]
    width: float
    layers: int


@dataclass
class _Drawing:
    """Nodes, the invisible ones behind the given ones, with the layers and orders found so far."""

    layer_of: list[int]
    above: list[list[int]]
    below: list[list[int]]
    orders: list[list[int]] = field(default_factory=list)
    x: list[float] = field(default_factory=list)
    visible: int = 0

    def size(self, node: int) -> float:
        return 1.0 if node < self.visible else _PASSING


def layered(count: int, edges: Sequence[tuple[int, int]]) -> Placed:
    """Place `count` nodes, whose numbers are a topological order of the edges; the result depends on nothing else.

    Raises:
        ValueError: an edge does not lead from a lower to a higher number.
    """
    if any(not 0 <= source < target < count for source, target in edges):
        raise ValueError("edges lead from lower to higher numbers")
    layer = [0] * count
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        layer[target] = max(layer[target], layer[source] + 1)
    drawing = _Drawing(layer, [[] for _ in layer], [[] for _ in layer], visible=count)
    chains = [_chain(drawing, source, target) for source, target in edges]
    _order(drawing)
    _spread(drawing)
    places = [(drawing.x[node], drawing.layer_of[node]) for node in range(len(drawing.layer_of))]
    width = max((x + drawing.size(node) / 2 for node, (x, _) in enumerate(places)), default=0.0)
    paths = [[places[node] for node in chain] for chain in chains]
    return Placed(places[:count], paths, width, max(layer, default=-1) + 1)


def _chain(drawing: _Drawing, source: int, target: int) -> list[int]:
    """The nodes along an edge, with a new invisible one in each layer that it passes."""
    chain = [source]
    for layer in range(drawing.layer_of[source] + 1, drawing.layer_of[target]):
        drawing.layer_of.append(layer)
        drawing.above.append([])
        drawing.below.append([])
        chain.append(len(drawing.layer_of) - 1)
    chain.append(target)
    for upper, lower in itertools.pairwise(chain):
        drawing.below[upper].append(lower)
        drawing.above[lower].append(upper)
    return chain


def _order(drawing: _Drawing) -> None:
    """Sweep down and up, sorting each layer by the mean position of the neighbours in the layer before."""
    drawing.orders = [[] for _ in range(max(drawing.layer_of, default=-1) + 1)]
    for node, layer in enumerate(drawing.layer_of):
        drawing.orders[layer].append(node)
    position = [0.0] * len(drawing.layer_of)
    for order in drawing.orders:
        _number(order, position)
    for sweep in range(_SWEEPS):
        downwards = sweep % 2 == 0
        neighbours = drawing.above if downwards else drawing.below
        for order in drawing.orders if downwards else reversed(drawing.orders):
            means = {node: _mean(neighbours[node], position, position[node]) for node in order}
            order.sort(key=lambda node: means[node])
            _number(order, position)


def _number(order: Sequence[int], position: list[float]) -> None:
    """Number the nodes of a layer, its middle being 0."""
    for place, node in enumerate(order):
        position[node] = place - (len(order) - 1) / 2


def _spread(drawing: _Drawing) -> None:
    """Horizontal places: each layer moves towards the means of its neighbours as far as its own order lets it."""
    drawing.x = [0.0] * len(drawing.layer_of)
    for order in drawing.orders:
        _settle(drawing, order, [0.0] * len(order))
    for turn in range(_ROUNDS):
        for order in drawing.orders if turn % 2 == 0 else reversed(drawing.orders):
            wanted = [_mean(drawing.above[node] + drawing.below[node], drawing.x, drawing.x[node]) for node in order]
            _settle(drawing, order, wanted)
    left = min((x - drawing.size(node) / 2 for node, x in enumerate(drawing.x)), default=0.0)
    drawing.x = [x - left for x in drawing.x]


def _settle(drawing: _Drawing, order: Sequence[int], wanted: Sequence[float]) -> None:
    """Places near the wanted ones that keep nodes apart: the mean of pushing to the right and to the left."""
    gaps = [(drawing.size(a) + drawing.size(b)) / 2 for a, b in itertools.pairwise(order)]
    pushed = list(wanted)
    for i, gap in enumerate(gaps):
        pushed[i + 1] = max(pushed[i + 1], pushed[i] + gap)
    pulled = list(wanted)
    for i in range(len(gaps) - 1, -1, -1):
        pulled[i] = min(pulled[i], pulled[i + 1] - gaps[i])
    for node, right, left in zip(order, pushed, pulled, strict=True):
        drawing.x[node] = (right + left) / 2


def _mean(nodes: Sequence[int], position: Sequence[float], default: float) -> float:
    return sum(position[node] for node in nodes) / len(nodes) if nodes else default
