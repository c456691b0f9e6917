"""The families of GPU operators: which columns describe one, and what it computes and moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optc.costmodel.datasets.table import DataError, Table

Array = npt.NDArray[np.float64]
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Work:
    """What n operators of one family do; every array has shape (n,).

    Attributes:
        flops: floating-point operations.
        bytes: read and written once each.
        reused: bytes of the operand that all blocks of the result share.
        result: (matrices, rows, columns) of the result as blocks of a kernel see it, or None.
        shape: what else may matter, by name.
    """

    flops: Array
    bytes: Array
    reused: Array
    result: tuple[Array, Array, Array] | None
    shape: Mapping[str, Array]


@dataclass(frozen=True)
class Family:
    """Operators with the same columns.

    Attributes:
        name: of the family; the set's file is called so.
        operators: the values of the column `op`.
        columns: that describe one operator beside `op`; positive whole numbers, except `padding`, which may be 0.
        work: columns by name, with `op` as indices into `operators` → what they do.
    """

    name: str
    operators: tuple[str, ...]
    columns: tuple[str, ...]
    work: Callable[[Mapping[str, Array]], Work]


def alignment(values: Array) -> Array:
    """The largest power of two up to 64 that divides each value, as its exponent."""
    exponents = np.zeros(len(values))
    for power in range(1, 7):
        exponents[values % (1 << power) == 0] = power
    return exponents


def _contraction(c: Mapping[str, Array]) -> Work:
    linear = c["op"] == 1
    batch, rows = np.where(linear, 1.0, c["B"]), np.where(linear, c["B"] * c["M"], c["M"])
    columns, depth = c["N"], c["K"]
    weights = np.where(linear, depth * columns + columns, batch * depth * columns)
    shape = {
        "linear": linear.astype(np.float64),
        "batch": np.log2(batch), "rows": np.log2(rows), "columns": np.log2(columns), "depth": np.log2(depth),
        "elements": np.log2(rows * columns), "ratio": np.log2(rows / columns),
        "rows_alignment": alignment(rows), "columns_alignment": alignment(columns),
        "depth_alignment": alignment(depth),
    }  # fmt: skip
    return Work(
        flops=2 * batch * rows * columns * depth,
        bytes=FLOAT_BYTES * (batch * rows * (depth + columns) + weights),
        reused=FLOAT_BYTES * depth * columns,
        result=(batch, rows, columns),
        shape=shape,
    )


def _convolution(c: Mapping[str, Array]) -> Work:
    out = np.floor((c["hw"] + 2 * c["padding"] - c["kernel"]) / c["stride"]) + 1
    pixels, window = c["B"] * out**2, c["kernel"] ** 2
    shape = {
        "batch": c["B"], "in_channels": c["cin"], "out_channels": c["cout"], "size": c["hw"], "out_size": out,
        "kernel": c["kernel"], "stride": c["stride"],
        "winograd_2": np.ceil(out / 2) * 2 / out, "winograd_4": np.ceil(out / 4) * 4 / out,
        "tiles": np.log(c["B"] * np.ceil(out / 2) ** 2),
        "in_alignment": alignment(c["cin"]), "out_alignment": alignment(c["cout"]),
    }  # fmt: skip
    activations = c["B"] * c["hw"] ** 2 * c["cin"] + pixels * c["cout"]
    weights = c["cin"] * c["cout"] * window
    return Work(
        flops=2 * pixels * weights,
        bytes=FLOAT_BYTES * (activations + weights),
        reused=FLOAT_BYTES * weights,
        result=(np.ones_like(pixels), pixels, c["cout"]),
        shape=shape,
    )


_VECTOR = ("add", "addu", "div", "divu", "gelu", "ln", "mul", "mulu", "pow", "powu", "relu", "softmax", "tanh")
_TWO_OPERANDS = [_VECTOR.index(name) for name in ("add", "div", "mul", "pow")]
_ROW_WISE = [_VECTOR.index(name) for name in ("ln", "softmax")]


def _vector(c: Mapping[str, Array]) -> Work:
    elements = c["B"] * c["H"]
    row_wise = np.isin(c["op"], _ROW_WISE)
    shape = {
        "operator": c["op"], "row_wise": row_wise.astype(np.float64),
        "rows": np.log2(c["B"]), "columns": np.log2(c["H"]), "elements": np.log2(elements),
        "columns_alignment": alignment(c["H"]), "elements_alignment": alignment(elements),
    }  # fmt: skip
    return Work(
        flops=elements * np.where(row_wise, 10.0, 4.0),
        bytes=FLOAT_BYTES * elements * np.where(np.isin(c["op"], _TWO_OPERANDS), 3.0, 2.0),
        reused=FLOAT_BYTES * c["H"],
        result=None,
        shape=shape,
    )


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("gemm", ("bmm", "linear"), ("B", "M", "N", "K"), _contraction),
        Family("conv", ("conv",), ("B", "cin", "cout", "kernel", "hw", "stride", "padding"), _convolution),
        Family("vector", _VECTOR, ("B", "H"), _vector),
    )
}


def family_of(table: Table) -> Family:
    """The family whose columns a table has. Raises DataError when there is none."""
    for family in FAMILIES.values():
        if all(column in table.columns for column in family.columns):
            return family
    known = "; ".join(f"op, {', '.join(family.columns)}" for family in FAMILIES.values())
    raise DataError("the columns describe no GPU operators", where=str(table.path), why=f"they must be one of: {known}")


def columns_of(table: Table, family: Family) -> dict[str, Array]:
    """The columns that describe the operators as numbers; `op` as indices into the family's operators.

    Raises:
        DataError: a cell is no positive whole number, or the operator is unknown; it names file and row.
    """
    found: dict[str, Array] = {}
    for column in family.columns:
        values = table.integers(column)
        wrong = np.flatnonzero(values < (0 if column == "padding" else 1))
        if len(wrong):
            raise table.error(int(wrong[0]), f"'{table.columns[column][wrong[0]]}' is not a positive number", column)
        found[column] = values.astype(np.float64)
    index = {name: float(number) for number, name in enumerate(family.operators)}
    # The only operator of a family need not be named.
    single = len(family.operators) == 1 and "op" not in table.columns
    operators = [family.operators[0]] * table.rows if single else table.text("op")
    for row, name in enumerate(operators):
        if name not in index:
            raise table.error(row, f"'{name}' is none of {', '.join(family.operators)}", "op")
    found["op"] = np.array([index[name] for name in operators])
    return found
