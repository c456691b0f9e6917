"""NAS-Bench-201 cells: parsing, what each style executes, and functional classes against a brute-force evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.costmodel.architectures import nb201
from optc.costmodel.architectures.fitting import fit
from optc.costmodel.architectures.predictor import ArchitecturePredictor
from optc.errors import UsageError

cells = st.tuples(*[st.integers(0, 4)] * 6)


def code(text: str) -> np.ndarray:
    return np.array([list(map(int, text))])


def evaluate(cell: tuple[int, ...], dead: frozenset[int] = frozenset()) -> tuple[float, ...]:
    """A cell as numbers: operations act on a vector by maps that do not commute; `dead` edges give zeros."""
    maps = {2: lambda v: np.tanh(v * 1.7 + 0.3), 3: lambda v: np.sin(v * 2.3 + 0.7), 4: lambda v: v[::-1] * 0.6}
    nodes = [np.array([0.31, -0.84, 1.27])]
    for node in (1, 2, 3):
        total = np.zeros(3)
        for edge, (source, target) in enumerate(nb201.EDGES):
            if target == node and cell[edge] != nb201.NONE and edge not in dead:
                total = total + (nodes[source] if cell[edge] == nb201.SKIP else maps[cell[edge]](nodes[source]))
        nodes.append(total)
    return tuple(np.round(nodes[3], 9))


def test_the_index_holds_every_cell_once():
    table = nb201.index_table()
    assert table.shape == (5**6, 6)
    assert len(np.unique(table, axis=0)) == 5**6
    assert (table[0] == [4, 2, 1, 2, 1, 1]).all()  # as the benchmark publishes it
    assert (table[1] == [3, 3, 4, 1, 3, 1]).all()


def test_functional_classes_are_as_many_as_published():
    assert len(np.unique(nb201.groups(nb201.index_table()))) == 4930


@settings(derandomize=True, max_examples=150, deadline=None)
@given(cells, cells)
def test_cells_of_one_class_compute_the_same(first, second):
    same = nb201.groups(np.array([first, second]))
    if same[0] == same[1]:
        live = nb201.executed(np.array([first, second]), "pruned")
        results = [
            evaluate(cell, frozenset(np.flatnonzero(~kept).tolist()))
            for cell, kept in zip((first, second), live, strict=True)
        ]
        assert results[0] == results[1]


@settings(derandomize=True, max_examples=150, deadline=None)
@given(cells)
def test_pruned_edges_do_not_change_the_result_but_for_zeros(cell):
    """Edges that the output does not depend on may be deleted; those fed by zeros only add a constant."""
    edges = np.array([cell])
    needed = [edge for edge in range(6) if _reaches_output(cell, edge)]
    unused = frozenset(set(range(6)) - set(needed))
    assert evaluate(cell) == evaluate(cell, unused)
    pruned = set(np.flatnonzero(nb201.executed(edges, "pruned")[0]).tolist())
    assert pruned == {edge for edge in needed if cell[edge] and _reached(cell, nb201.EDGES[edge][0])}
    eager = set(np.flatnonzero(nb201.executed(edges, "eager")[0]).tolist())
    assert pruned <= set(np.flatnonzero(nb201.executed(edges, "exported")[0]).tolist()) <= eager


def _reaches_output(cell: tuple[int, ...], edge: int) -> bool:
    target = nb201.EDGES[edge][1]
    following = [e for e in range(6) if nb201.EDGES[e][0] == target and cell[e]]
    return target == 3 or any(_reaches_output(cell, e) for e in following)


def _reached(cell: tuple[int, ...], node: int) -> bool:
    return node == 0 or any(
        cell[e] and _reached(cell, source) for e, (source, target) in enumerate(nb201.EDGES) if target == node
    )


@pytest.mark.parametrize(
    ("cell", "edges"),
    [
        ("000100", [3]),
        ("300100", [0, 3]),  # a dropped convolution whose product with zero is folded into its filter
        ("330100", [3]),  # two of them are added first: nothing can be folded
        ("400100", [3]),  # a pool has no filter to fold into
        ("203100", [0, 2, 3]),  # a chain that ends in one convolution
        ("310100", [3]),
        ("003001", [2, 5]),  # an operation on zeros that the output depends on
    ],
)
def test_what_exported_graphs_execute(cell, edges):
    assert np.flatnonzero(nb201.executed(code(cell), "exported")[0]).tolist() == edges


@pytest.mark.parametrize(
    ("cell", "hollow"),
    [("000000", True), ("333000", True), ("000003", True), ("200000", False), ("000300", False), ("020020", False)],
)
def test_what_is_left_of_cells_that_compute_nothing_of_their_input(cell, hollow):
    assert nb201.hollow(code(cell), "exported").tolist() == [hollow]
    assert not nb201.hollow(code(cell), "eager").any()


def test_features_count_operations():
    cell = code("331302")
    features = nb201.features(cell, "eager")[0]
    assert features[:4].tolist() == [1, 1, 3, 0]
    assert nb201.features(code("300100"), "pruned")[0, :4].tolist() == [1, 0, 0, 0]


def test_strings_parse_to_the_same_cell_as_digits():
    text = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|"
    assert nb201.parse(text) == nb201.parse("421203") == (4, 2, 1, 2, 0, 3)


@pytest.mark.parametrize("text", ["", "42120", "421205", "|nor_conv_5x5~0|+|none~0|none~1|+|none~0|none~1|none~2|"])
def test_anything_else_is_refused(text):
    with pytest.raises(UsageError, match="is no NAS-Bench-201 architecture"):
        nb201.parse(text)


def test_positions_are_those_of_the_index():
    rows = np.array([0, 7, 15624])
    assert nb201.position(nb201.index_table()[rows]).tolist() == rows.tolist()


def test_networks_that_drop_to_their_last_cell_are_predicted_as_such():
    """Latencies of an exporting runtime: whole networks, and what is left of those that compute nothing."""
    table = nb201.index_table()
    generator = np.random.default_rng(0)
    whole = generator.permutation(np.flatnonzero(nb201.connected(table)))[:300]
    hollow = np.flatnonzero(nb201.hollow(table, "exported"))
    prices = np.array([0.0, 1.0, 6.0, 0.5])

    def work(rows: np.ndarray) -> np.ndarray:
        return nb201.features(table[rows], "exported")[:, :4] @ prices

    known, asked = hollow[::8], hollow[1::8]
    found = fit(nb201.SPACE, table[whole], 5 + work(whole), 3, 0, None, (table[known], 0.01 + 0.02 * work(known)))
    assert found.remainder is not None
    again = ArchitecturePredictor.of_arrays(nb201.SPACE, found.style, found.arrays())
    for predictor in (found, again):
        predicted = predictor.predict(table[asked])
        errors = np.abs(predicted.value / (0.01 + 0.02 * work(asked)) - 1)
        assert errors.max() < 0.6 and errors[work(asked) == 0].max() < 1e-6
        assert (predicted.low <= predicted.value).all() and (predicted.value <= predicted.high).all()
        assert not predicted.known.any()
    assert fit(nb201.SPACE, table[whole], 5 + work(whole), 3, 0).remainder is None
