"""NAS-Bench-201 (Dong and Yang, 2020): cells of four nodes and six edges, each edge one of five operations.

A cell is coded by the operations of the edges 0→1, 0→2, 1→2, 0→3, 1→3, 2→3. What of it is executed depends on the
runtime; measurements of many devices show three styles:

* `eager`: every operation, also those whose result is never used (PyTorch).
* `exported`: operations that the result does not depend on are dropped, but not those on zeros (TensorFlow Lite of
  models exported by tracing). A dropped branch leaves a multiplication by zero behind; where that multiplication can be
  folded into the filter of the one convolution before it, the convolution is still executed.
* `pruned`: only operations on a path from the input to the output (graphs simplified before deployment).
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel.architectures.space import Codes, Features, Space
from optc.costmodel.datasets.table import Table
from optc.errors import UsageError

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NONE, SKIP, CONV1, CONV3, POOL = range(5)
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
STYLES = ("eager", "exported", "pruned")
_SOURCE, _TARGET = ([edge[side] for edge in EDGES] for side in (0, 1))
_WORK = np.array([0.0, 0.0, 2.0, 16.0, 3.0])  # of an operation, in halves of a 1x1 convolution, for the critical path
_SIZE = 5**6

Mask = npt.NDArray[np.bool_]


@cache
def index_table() -> Codes:
    """The code of each index of the benchmark, shape (15625, 6), in its published order."""
    stored = np.load(Path(__file__).with_name("nb201_index.npz"), allow_pickle=False)["operations"].astype(np.int64)
    return np.stack([stored // 5**power % 5 for power in range(5, -1, -1)], axis=1)


@cache
def _positions() -> npt.NDArray[np.int64]:
    return np.argsort(_packed(index_table()))


def position(codes: Codes) -> npt.NDArray[np.int64]:
    """The benchmark's index of each cell."""
    return _positions()[_packed(codes)]


def executed(codes: Codes, style: str) -> Mask:
    """Which edges of each cell a runtime of this style executes, shape (n, 6)."""
    present = codes != NONE
    if style == "eager":
        return present
    forward, backward = _reached(present), _needed(present)
    if style == "pruned":
        return present & forward[:, _SOURCE] & backward[:, _TARGET]
    return (present & backward[:, _TARGET]) | _folded(codes, present, backward)


def connected(codes: Codes) -> Mask:
    """Whether the output depends on the input at all."""
    return _reached(codes != NONE)[:, 3]


def hollow(codes: Codes, style: str) -> Mask:
    """Whether the output does not depend on the input, and the runtime executes nothing that reads the input."""
    reading = executed(codes, style) & (codes != NONE) & (np.array(_SOURCE) == 0)
    return ~connected(codes) & ~reading.any(1) & (style != "eager")


def _reached(present: Mask) -> Mask:
    """The nodes that the input reaches."""
    nodes = np.zeros((len(present), 4), bool)
    nodes[:, 0] = True
    for edge, (source, target) in enumerate(EDGES):
        nodes[:, target] |= present[:, edge] & nodes[:, source]
    return nodes


def _needed(present: Mask) -> Mask:
    """The nodes that the output depends on."""
    nodes = np.zeros((len(present), 4), bool)
    nodes[:, 3] = True
    for node in (2, 1, 0):
        for edge, (source, target) in enumerate(EDGES):
            if source == node:
                nodes[:, node] |= present[:, edge] & nodes[:, target]
    return nodes


def _folded(codes: Codes, present: Mask, needed: Mask) -> Mask:
    """The edges of unused nodes that are executed all the same: one convolution, then a multiplication by zero."""
    count = len(codes)
    convolution = (codes == CONV1) | (codes == CONV3)
    zero = np.zeros((count, 4), bool)
    for node in (1, 2, 3):
        zero[:, node] = True
        for edge, (source, target) in enumerate(EDGES):
            if target == node:
                zero[:, node] &= ~(
                    present[:, edge] & (convolution[:, edge] | (codes[:, edge] == POOL) | ~zero[:, source])
                )
    term = present & (convolution | (codes == POOL) | ~zero[:, _SOURCE])
    terms = np.zeros((count, 4), int)
    for edge, target in enumerate(_TARGET):
        terms[:, target] += term[:, edge]
    foldable = np.zeros((count, 4), bool)
    for edge, (source, target) in enumerate(EDGES):
        ends = convolution[:, edge] | ((codes[:, edge] == SKIP) & foldable[:, source])
        foldable[:, target] |= (terms[:, target] == 1) & term[:, edge] & ends
    unused_1, unused_2 = ~needed[:, 1], ~needed[:, 2]
    first = unused_1 & foldable[:, 1] & ~(term[:, 2] & unused_2)
    second = unused_2 & foldable[:, 2]
    alone = first ^ second
    first &= alone & ~(unused_2 & term[:, 1])
    second &= alone
    edges = np.zeros((count, 6), bool)
    edges[:, 0] = term[:, 0] & (first | (second & term[:, 2]))
    edges[:, 1] = term[:, 1] & second
    edges[:, 2] = term[:, 2] & second
    return edges


def features(codes: Codes, style: str) -> Features:
    """Counts of what is executed, shape (n, f).

    The first four are the skips, 1x1 convolutions, 3x3 convolutions and pools of a cell; then each edge's operation,
    the additions, tensors that need an activation or are pooled, pairs of consecutive operations and the longest path.
    Compilers that prune a graph also dissolve its skips and may merge operations on one tensor: for `pruned` there
    follow the terms of each sum, and operations by whether they read the cell's input, alone or together, or a sum.
    """
    done = codes * executed(codes, style)
    columns = [(done == operation).sum(1) for operation in (SKIP, CONV1, CONV3, POOL)]
    columns += [done[:, edge] == operation for edge in range(6) for operation in (SKIP, CONV1, CONV3, POOL)]
    arriving = [sum((done[:, edge] != NONE) * 1 for edge in range(6) if _TARGET[edge] == node) for node in (1, 2, 3)]
    additions = [np.maximum(count - 1, 0) for count in arriving]
    columns += [sum(additions), *additions]
    leaving = [[edge for edge in range(6) if _SOURCE[edge] == node] for node in range(3)]
    for wanted in ((CONV1, CONV3), (POOL,)):
        columns.append(sum(np.isin(done[:, edges], wanted).any(1) * 1 for edges in leaving))
    follows = [(a, b) for a in range(6) for b in range(6) if _TARGET[a] == _SOURCE[b]]
    for before in (CONV1, CONV3, POOL):
        for after in (SKIP, CONV1, CONV3, POOL):
            columns.append(sum(((done[:, a] == before) & (done[:, b] == after)) * 1 for a, b in follows))
    for work in (np.sign(_WORK), _WORK):
        columns.append(_longest_path(done, work))
    if style == "pruned":
        columns += _dissolved(done, leaving)
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


def _dissolved(done: Codes, leaving: list[list[int]]) -> list[npt.NDArray[np.float64]]:
    """Counts of a cell without its skips: a node is the sum of the results and inputs that reach it through them."""
    terms = np.zeros((len(done), 4))
    inputs = np.zeros((len(done), 4))
    results = np.zeros((len(done), 4, 5))
    terms[:, 0] = inputs[:, 0] = 1.0
    for edge, (source, target) in enumerate(EDGES):
        skip = done[:, edge] == SKIP
        terms[:, target] += np.where(skip, terms[:, source], done[:, edge] > SKIP)
        inputs[:, target] += np.where(skip, inputs[:, source], 0.0)
        for operation in (CONV1, CONV3, POOL):
            results[:, target, operation] += np.where(skip, results[:, source, operation], done[:, edge] == operation)
    read = [(done[:, edges] > SKIP).any(1) for edges in leaving]
    columns: list[npt.NDArray[Any]] = [
        terms[:, 3],
        inputs[:, 3],
        *(results[:, 3, operation] for operation in (CONV1, CONV3, POOL)),
    ]
    columns.append(sum(read[node] * np.maximum(terms[:, node] - 1, 0) for node in (1, 2)) + terms[:, 3] - 1)
    for node in (1, 2):
        columns += [read[node] * terms[:, node], read[node] * (terms[:, node] == 1) * inputs[:, node]]
    totals = []
    for operation in (CONV1, CONV3, POOL):
        here = done == operation
        alone = [(terms[:, source] == 1) & (inputs[:, source] == 1) for source in _SOURCE]
        on_input = sum((here[:, edge] & alone[edge]) * 1 for edge in range(6))
        on_sum = sum((here[:, edge] & (terms[:, _SOURCE[edge]] > 1)) * 1 for edge in range(6))
        totals.append(here.sum(1))
        columns += [on_input, np.asarray(on_input) > 1, on_sum]
    columns += [totals[first] * totals[second] for first in range(3) for second in range(first + 1)]
    return [np.asarray(column, dtype=np.float64) for column in columns]


def _longest_path(done: Codes, work: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    length = np.zeros((len(done), 4))
    for edge, (source, target) in enumerate(EDGES):
        here = np.where(done[:, edge] != NONE, length[:, source] + work[done[:, edge]], 0.0)
        length[:, target] = np.maximum(length[:, target], here)
    return length[:, 3]


def groups(codes: Codes) -> npt.NDArray[np.int64]:
    """The functional class of each cell: dead operations deleted, skips flattened, order of terms ignored."""
    keys, inverse = np.unique(_packed(codes), return_inverse=True)
    cells = np.stack([keys // 5**power % 5 for power in range(5, -1, -1)], axis=1)
    live = cells * executed(cells, "pruned")
    texts = [_expression(row) for row in live.tolist()]
    number = {text: position for position, text in enumerate(sorted(set(texts)))}
    return np.array([number[text] for text in texts], dtype=np.int64)[inverse.reshape(-1)]


def _expression(operations: list[int]) -> str:
    """What the output node computes, as text."""
    terms: list[list[str]] = [["x"], [], [], []]
    for edge, (source, target) in enumerate(EDGES):
        operation = operations[edge]
        if operation == SKIP:
            terms[target] += terms[source]
        elif operation != NONE:
            terms[target].append(f"{operation}({'+'.join(sorted(terms[source]))})")
    return "+".join(sorted(terms[3]))


def parse(text: str) -> tuple[int, ...]:
    """`|nor_conv_3x3~0|+|…~0|…~1|+|…~0|…~1|…~2|`, or six digits. Raises UsageError for anything else."""
    if re.fullmatch("[0-4]{6}", text):
        return tuple(map(int, text))
    nodes = text.strip().split("+")
    names = [re.findall(r"\|([a-z0-9_]+)~(\d)(?=\|)", node) for node in nodes]
    shape = [[int(source) for _, source in node] for node in names]
    if shape != [[0], [0, 1], [0, 1, 2]] or not all(name in OPERATIONS for node in names for name, _ in node):
        hint = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
        raise UsageError(f"'{text}' is no NAS-Bench-201 architecture", hint=f"for instance {hint}")
    return tuple(OPERATIONS.index(name) for node in names for name, _ in node)


def read(table: Table, id_column: str) -> Codes:
    """Architectures of a table: by `arch_str` or `op_vector` if it has one of them, else by the benchmark's index."""
    for column in ("arch_str", "op_vector"):
        if column in table.columns:
            rows = []
            for index, cell in enumerate(table.text(column)):
                try:
                    rows.append(parse(cell))
                except UsageError as error:
                    raise table.error(index, error.what, column) from error
            return np.array(rows, dtype=np.int64).reshape(-1, 6)
    indices = table.integers(id_column)
    for row in np.flatnonzero((indices < 0) | (indices >= _SIZE))[:1]:
        raise table.error(int(row), f"{indices[row]} is not between 0 and {_SIZE - 1}", id_column)
    return index_table()[indices]


def _packed(codes: Codes) -> Codes:
    return codes @ np.array([5**power for power in range(5, -1, -1)])


SPACE = Space("nb201", STYLES, read, parse, features, groups, connected, index_table, position, hollow)
