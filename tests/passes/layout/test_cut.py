"""The minimum cut finds the cheapest labelling: compared with all labellings of small random problems."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from optc.passes.layout.cut import LabelProblem

NODES = ("a", "b", "c", "d", "e")
seconds = st.integers(0, 9).map(lambda tenths: tenths * 1e-6)


@dataclass(frozen=True)
class Energy:
    """The same terms as a LabelProblem, evaluated straight from their definition."""

    labels: tuple[tuple[str, float, float], ...]  # node, blocked, plain
    pairs: tuple[tuple[str, str, float], ...]
    conversions: tuple[tuple[str, tuple[str, ...], float], ...]

    def of(self, blocked: set[str]) -> float:
        total = sum(cost if node in blocked else plain for node, cost, plain in self.labels)
        total += sum(cost for first, second, cost in self.pairs if first in blocked and second not in blocked)
        for producer, consumers, cost in self.conversions:
            total += cost * any((consumer in blocked) != (producer in blocked) for consumer in consumers)
        return total

    def minimum(self) -> float:
        choices = product((False, True), repeat=len(NODES))
        return min(self.of({node for node, yes in zip(NODES, chosen, strict=True) if yes}) for chosen in choices)


node_or_plain = st.sampled_from((*NODES, LabelProblem.PLAIN))
energies = st.builds(
    Energy,
    st.lists(st.tuples(st.sampled_from(NODES), seconds, seconds), max_size=6).map(tuple),
    st.lists(st.tuples(st.sampled_from(NODES), st.sampled_from(NODES), seconds), max_size=3).map(tuple),
    st.lists(
        st.tuples(node_or_plain, st.lists(node_or_plain, min_size=1, max_size=3, unique=True).map(tuple), seconds),
        max_size=5,
        unique_by=lambda term: term[0],
    ).map(tuple),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(energies)
def test_the_cut_is_the_cheapest_labelling(energy: Energy) -> None:
    problem = LabelProblem()
    for node in NODES:
        problem.label_cost(node, blocked=0.0, plain=0.0)
    for node, blocked, plain in energy.labels:
        problem.label_cost(node, blocked=blocked, plain=plain)
    for first, second, cost in energy.pairs:
        problem.pair_cost(first, second, cost)
    for producer, consumers, cost in energy.conversions:
        problem.conversion_cost(producer, consumers, cost)
    found = {str(node) for node in problem.solve()}
    assert abs(energy.of(found) - energy.minimum()) < 1e-10
