"""The type of a value: element type, shape, memory layout and quantization."""

from __future__ import annotations

from dataclasses import dataclass, replace

from optc.ir.dims import Dim, Shape, is_static, product
from optc.ir.dtypes import DType


@dataclass(frozen=True)
class Layout:
    """How a logical tensor lies in memory; operations always speak of the logical shape.

    The stored axes are the logical axes in the order of `permutation` (empty: unchanged); each `(axis, factor)` of
    `blocks` divides the stored extent of the logical `axis` by `factor`, rounded up, and appends an innermost axis of
    extent `factor`. NCHW8c is `Layout(blocks=((1, 8),))`. Elements in the rounding are finite but otherwise arbitrary.
    """

    permutation: tuple[int, ...] = ()
    blocks: tuple[tuple[int, int], ...] = ()

    @property
    def is_plain(self) -> bool:
        """Row-major without blocks."""
        return not self.blocks and self.permutation == tuple(range(len(self.permutation)))

    def stored_shape(self, shape: Shape) -> Shape:
        """The extents in memory of a tensor with the logical `shape`."""
        extents = list(shape)
        inner: list[Dim] = []
        for axis, factor in self.blocks:
            extents[axis] = (extents[axis] + (factor - 1)) // factor
            inner.append(factor)
        order = self.permutation or range(len(shape))
        return tuple(extents[axis] for axis in order) + tuple(inner)


PLAIN = Layout()


@dataclass(frozen=True)
class Quantization:
    """The affine map of an integer tensor: real = (stored - zero_point) * scale, per tensor or along `axis`."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None


@dataclass(frozen=True)
class TensorType:
    """A tensor's type. `shape` is None while not even the rank is known."""

    dtype: DType
    shape: Shape | None
    layout: Layout = PLAIN
    quantization: Quantization | None = None

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    @property
    def is_static(self) -> bool:
        return is_static(self.shape)

    @property
    def static_shape(self) -> tuple[int, ...]:
        """The logical shape as ints. Raises ValueError where a dimension is symbolic."""
        if not self.is_static:
            raise ValueError(f"the shape of {self} is not static")
        assert self.shape is not None
        return tuple(int(dim) for dim in self.shape)  # type: ignore[arg-type]

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The extents in memory as ints."""
        return tuple(int(dim) for dim in self.layout.stored_shape(self.static_shape))  # type: ignore[arg-type]

    @property
    def elements(self) -> int:
        """The number of logical elements."""
        return int(product(self.static_shape))  # type: ignore[arg-type]

    @property
    def bytes(self) -> int:
        """Bytes in memory, the rounding of blocked layouts included."""
        return int(product(self.stored_shape)) * self.dtype.bytes  # type: ignore[arg-type]

    def with_layout(self, layout: Layout) -> TensorType:
        return replace(self, layout=layout)

    def with_shape(self, shape: Shape | None) -> TensorType:
        return replace(self, shape=shape)

    def with_dtype(self, dtype: DType) -> TensorType:
        return replace(self, dtype=dtype)

    def __str__(self) -> str:
        from optc.ir.printer import print_type

        return print_type(self)


@dataclass(frozen=True)
class OpaqueType:
    """A value that is no tensor (sequence, optional, map); it may only pass through operations that fall back."""

    description: str

    def __str__(self) -> str:
        from optc.ir.printer import print_type

        return print_type(self)


ValueType = TensorType | OpaqueType

UNKNOWN_TYPE = OpaqueType("unknown")
"""Of a value about which nothing is known before the run."""
