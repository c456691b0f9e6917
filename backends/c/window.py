"""The window of a convolution or pooling: its C initializer, and how far results may overtake what is still read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from optc.backends.c.pattern import NoMatch
from optc.backends.tvm.lowering.pooling import window_of
from optc.ir.core import Operation

_LARGEST = 2**15 - 1

MOST_ROWS = 16
"""Of a window whose rows lie in a band (`convolve_band.h`)."""


@dataclass(frozen=True)
class Window:
    """Over an image of rows × columns × channels, channels innermost; the fields of `optc_window` in its order."""

    rows: int
    columns: int
    channels: int
    window_rows: int = 1
    window_columns: int = 1
    row_step: int = 1
    column_step: int = 1
    row_gap: int = 1
    column_gap: int = 1
    top: int = 0
    left: int = 0
    result_rows: int = 1
    result_columns: int = 1

    @property
    def initializer(self) -> str:
        return "{" + ", ".join(str(number) for number in vars(self).values()) + "}"

    @property
    def taps(self) -> int:
        return self.window_rows * self.window_columns

    @property
    def padded(self) -> bool:
        """Whether a tap may lie outside of the image."""
        last_row = (self.result_rows - 1) * self.row_step - self.top + (self.window_rows - 1) * self.row_gap
        last_column = (self.result_columns - 1) * self.column_step - self.left
        last_column += (self.window_columns - 1) * self.column_gap
        return self.top > 0 or self.left > 0 or last_row >= self.rows or last_column >= self.columns

    @property
    def reach_of_rows(self) -> int:
        """Rows of the image from the first to the last that one window touches."""
        return (self.window_rows - 1) * self.row_gap + 1

    @property
    def reach_of_columns(self) -> int:
        """Columns, those outside included, from the first to the last that a row of results depends on."""
        window = (self.window_columns - 1) * self.column_gap + 1
        return max((self.result_columns - 1) * self.column_step + window, self.left + self.columns)

    @property
    def suits_band(self) -> bool:
        """Whether rows of the image are read better where they lie than gathered for each result."""
        return self.taps > 1 and self.column_gap == 1 and self.result_columns >= 8 and self.window_rows <= MOST_ROWS

    def distance(self, result_channels: int, together: int) -> int:
        """Bytes that the result must begin before the input so that no code is overwritten that is still to be read.

        Args:
            result_channels: codes of a pixel of the result.
            together: pixels that are computed from what was read before any of them is complete.
        """
        pixels = np.arange(self.result_rows * self.result_columns)
        row = np.maximum(pixels // self.result_columns * self.row_step - self.top, 0)
        column = np.maximum(pixels % self.result_columns * self.column_step - self.left, 0)
        # Taps that lie outside at the top or left have their first inside tap at most `gap` - 1 further on.
        first = (np.minimum(row, self.rows) * self.columns + np.minimum(column, self.columns)) * self.channels
        needed = np.minimum.accumulate(first[::-1])[::-1]
        block = pixels // together
        written = np.minimum((block + 1) * together, len(pixels)) * result_channels
        return int(np.max(written - needed[block * together]))


def window_of_operation(operation: Operation, kernel: Sequence[int] | None = None) -> Window:
    """The window of a Conv or pooling on an N×C×W or N×C×H×W tensor with N = 1."""
    data, result = operation.operands[0], operation.results[0]
    assert data is not None
    batch, channels, *source = data.shape
    if batch != 1 or len(source) not in (1, 2):
        raise NoMatch("it runs on more than one image, or on no image of one or two axes")
    target = result.shape[2:]
    if "kernel_shape" in operation.attributes:
        found = window_of(operation, source, target)
    else:
        found = replace(window_of(operation, source, target), kernel=tuple(kernel or ()))
    rows, columns = _two(source)
    window_rows, window_columns = _two(found.kernel)
    row_step, column_step = _two(found.strides)
    row_gap, column_gap = _two(found.dilations)
    top, left = _two(found.before, 0)
    result_rows, result_columns = _two(target)
    window = Window(
        rows, columns, channels, window_rows, window_columns, row_step, column_step, row_gap, column_gap, top, left,
        result_rows, result_columns,
    )  # fmt: skip
    if max(vars(window).values()) > _LARGEST:
        raise NoMatch("an extent exceeds 16 bits")
    return window


def _two(numbers: Sequence[int], lead: int = 1) -> tuple[int, int]:
    first, second = ([lead] * (2 - len(numbers))) + list(numbers)
    return first, second
