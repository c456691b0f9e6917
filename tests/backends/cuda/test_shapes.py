"""Products and convolutions of shapes that nobody chose, by the kernels that a compile would choose."""

from __future__ import annotations

from itertools import count

from cuda_kit import Case, arrays_for, best_kernel, check, conv, emulate, integer_conv, matmul
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.backends.cuda.kernel import CudaKernel
from optc.ir import dtypes

_numbers = count()
_few = settings(derandomize=True, max_examples=2, deadline=None)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple:
    """Data, filters, stride, padding and type of a convolution whose window fits."""
    kernel = draw(st.integers(1, 4))
    size = draw(st.integers(kernel, 13)), draw(st.integers(kernel, 13))
    channels, filters = draw(st.integers(1, 37)), draw(st.integers(1, 37))
    data, weights = (draw(st.integers(1, 2)), channels, *size), (filters, channels, kernel, kernel)
    kind = draw(st.sampled_from([dtypes.FLOAT32, dtypes.FLOAT16, dtypes.UINT8]))
    return data, weights, draw(st.integers(1, 3)), draw(st.integers(0, kernel - 1)), kind


@st.composite
def products(draw: st.DrawFn) -> tuple:
    """Extents and type of a matrix product; whether its right operand is constant."""
    rows, depth, columns = (draw(st.integers(2, 70)) for _ in range(3))
    kind = draw(st.sampled_from([dtypes.FLOAT32, dtypes.FLOAT16, dtypes.UINT8]))
    return rows, depth, columns, kind, draw(st.booleans())


def emulated(built: list) -> None:
    """Check the chosen kernel of each group, all in one library."""
    cases = []
    for builder, value in built:
        group, name = builder.group(value), f"shape{next(_numbers)}"
        kernel = best_kernel(name, group)
        assert isinstance(kernel, CudaKernel), kernel
        cases.append(Case(name, group, kernel, arrays_for(builder, group)))
    results = emulate(cases)
    for case in cases:
        check(case, results[case.name])


@_few
@given(st.lists(convolutions(), min_size=3, max_size=3))
def test_convolutions(drawn: list[tuple]) -> None:
    built = []
    for data, filters, stride, pad, kind in drawn:
        if kind is dtypes.UINT8:
            built.append(integer_conv(data, filters, stride=stride, pad=pad, zero=sum(data) % 256))
        else:
            built.append(conv(data, filters, stride=stride, pad=pad, dtype=kind))
    emulated(built)


@_few
@given(st.lists(products(), min_size=3, max_size=3))
def test_matrix_products(drawn: list[tuple]) -> None:
    built = []
    for rows, depth, columns, kind, constant in drawn:
        zero = depth if kind is dtypes.UINT8 and constant else None
        built.append(matmul((rows, depth), (depth, columns), dtype=kind, constant=constant, zero=zero))
    emulated(built)
