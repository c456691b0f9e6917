"""The loop nests of groups without a tiled contraction, written for threads, warps and blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from optc.backends.cuda.function import Function, decoded
from optc.backends.cuda.printing import Printer, c_type
from optc.backends.tvm import loops
from optc.backends.tvm.emission.cover import stored
from optc.backends.tvm.emission.kernel import joined, loaded
from optc.backends.tvm.lowering import Stage, choose, scoped, scoped_all
from optc.backends.tvm.lowering.context import Combiner, Elements, immediate
from optc.backends.tvm.lowering.recording import read
from optc.backends.tvm.tensor import LogicalTensor, logical_indices
from optc.ir.core import Value
from optc.ir.dtypes import DType

if TYPE_CHECKING:
    from tvm.tirx import Buffer, PrimExpr

THREADS = 256
WARP = 32


def scalar(dtype: DType) -> str:
    """TIR's type of an element in expressions: bfloat16 is computed on as f32."""
    return "float32" if dtype.name == "bf16" else dtype.numpy_name


def store(printer: Printer, buffer: Buffer, value: PrimExpr, place: Any) -> None:
    """Print `buffer[place] = value`."""
    printer.statement(loops.store(buffer, stored(value, str(buffer.dtype)), [place]))


def flat(indices: Sequence[Any], extents: Sequence[int]) -> Any:
    """The place of an element in a row-major box."""
    from tvm import tirx

    place: Any = 0
    for index, extent in zip(indices, extents, strict=True):
        if extent > 1:
            place = index if isinstance(place, int) and place == 0 else place * extent + index
    return tirx.convert(place)


def reader(buffer: Buffer, extents: Sequence[int], dtype: DType, origin: Sequence[Any] = (), check: Any = None) -> Any:
    """The elements of a row-major box that lies in a buffer, by indices from which `origin` is taken away."""

    def element(*indices: Any) -> PrimExpr:
        local = list(indices)
        for axis, start in enumerate(origin):
            if not isinstance(start, int) or start:
                local[axis] = local[axis] - start
        if check is not None:
            check(local)
        return loaded(read(buffer, joined(flat(local, extents)), dtype.bytes), dtype)

    return element


def output_element(value: Value, tensor: LogicalTensor, place: Sequence[Any]) -> PrimExpr:
    """What belongs at an index of the stored form of an output; zero in the rounding of its blocks."""
    from tvm import tirx

    kind = value.tensor_type
    logical = logical_indices(kind.layout, len(value.shape), list(place))
    padded = [axis for axis, factor in kind.layout.blocks if value.shape[axis] % factor]
    if not padded:
        return scoped(lambda: tensor(*logical))
    within = tirx.all(*(tirx.convert(logical[axis]) < value.shape[axis] for axis in padded))
    zero = immediate(0, value.dtype)
    return scoped(lambda: choose(within, lambda: tensor(*logical), lambda: zero))


def map_function(
    begin: Callable[[], Function],
    extents: Sequence[int],
    item_bytes: int,
    elements: Callable[[Printer, Sequence[Any]], Sequence[tuple[Buffer, Any]]],
) -> Any:
    """Threads for all indices of a box: several neighbours each where that makes wide loads and stores.

    Args:
        begin: makes the function.
        extents: of the box, which is stored row by row in each result.
        item_bytes: of the widest element.
        elements: of an index, each result's buffer and the value that belongs there.

    Returns:
        the text and the launch.
    """
    size, lanes = math.prod(extents), _LOAD_BYTES // item_bytes
    while lanes > 1 and (size % lanes or size < _MANY_THREADS * lanes):
        lanes //= 2
    made = _wide_map(begin(), size, lanes, extents, elements) if lanes > 1 else None
    if made is not None:
        return made
    function = begin()
    printer = function.printer
    printer.line(f"const int i = blockIdx.x * {THREADS} + threadIdx.x;")
    printer.line(f"if (i >= {size}) return;")
    place = decoded(printer.index("i", size), extents)
    for buffer, value in elements(printer, place):
        store(printer, buffer, value, flat(place, extents))
    return function.finish((-(-size // THREADS), 1, 1), THREADS)


_LOAD_BYTES = 16
_MANY_THREADS = 8192  # with fewer, a thread for each element serves better than wide loads


def _wide_map(
    function: Function,
    size: int,
    lanes: int,
    extents: Sequence[int],
    elements: Callable[[Printer, Sequence[Any]], Sequence[tuple[Buffer, Any]]],
) -> Any:
    """As `map_function` with `lanes` neighbours a thread; None where what is read are no neighbours."""
    printer = function.printer
    printer.line(f"const int i = blockIdx.x * {THREADS} + threadIdx.x;")
    printer.line(f"if (i >= {size // lanes}) return;")
    start = len(printer.lines)
    first = printer.index("i", size // lanes) * lanes
    lane = printer.begin_lanes(lanes)
    place = decoded(first + lane, extents)
    made = elements(printer, place)
    kinds = [f"optc_pack<{c_type(str(buffer.dtype))}, {lanes}>" for buffer, _ in made]
    with printer.block(f"OPTC_UNROLL for (int lane = 0; lane < {lanes}; ++lane)"):
        for number, (buffer, value) in enumerate(made):
            text = printer.expression(stored(value, str(buffer.dtype)))
            printer.stores.append((buffer, printer.simplified(first + lane)))
            printer.line(f"result{number}.v[lane] = ({c_type(str(buffer.dtype))})({text});")
    if not printer.straight:
        return None
    before = [f"  {line}" for line in printer.hoisted]
    before += [f"  {kind} result{number};" for number, kind in enumerate(kinds)]
    printer.lines[start:start] = before
    for number, ((buffer, _), kind) in enumerate(zip(made, kinds, strict=True)):
        printer.line(f"*reinterpret_cast<{kind}*>({printer.array(buffer)} + i * {lanes}) = result{number};")
    threads = size // lanes
    return function.finish((-(-threads // THREADS), 1, 1), THREADS)


class Partial:
    """The struct of a reduction's partial results.

    Attributes:
        name: of the struct.
        text: its definition.
    """

    def __init__(self, name: str, combiner: Combiner, dtypes: Sequence[DType]) -> None:
        self.name = name
        self.dtypes = [scalar(dtype) for dtype in dtypes]
        self.combiner = combiner
        members = [f"  {c_type(dtype)} c{i};" for i, dtype in enumerate(self.dtypes)]
        printer = Printer(2)
        old = tuple(printer.value(f"c{i}", dtype) for i, dtype in enumerate(self.dtypes))
        new = tuple(printer.value(f"other.c{i}", dtype) for i, dtype in enumerate(self.dtypes))
        results = scoped_all(lambda: combiner.combine(old, new), lambda values: values)
        names = [printer.define(result, "r") for result in results]
        assigned = [f"    c{i} = {each};" for i, each in enumerate(names)]
        shuffled = [f"    other.c{i} = optc_shuffle_xor(c{i}, mask, width);" for i in range(len(self.dtypes))]
        self.text = "\n".join([
            f"struct {name} {{", *members,
            f"  OPTC_DEVICE void combine(const {name}& other) {{", *printer.lines, *assigned, "  }",
            f"  OPTC_DEVICE {name} shuffled(int mask, int width) const {{",
            f"    {name} other;", *shuffled, "    return other;", "  }", "};", "",
        ])  # fmt: skip

    def begin(self, printer: Printer, variable: str) -> None:
        """Declare a variable that holds the neutral element."""
        values = self.combiner.identity(tuple(self.dtypes))
        printer.line(f"{self.name} {variable} = {{{', '.join(map(printer.expression, values))}}};")

    def update(self, printer: Printer, variable: str, values: Elements) -> None:
        """Combine a variable with new elements."""
        texts = [
            printer.expression(value) if str(value.ty) == dtype else f"({c_type(dtype)})({printer.expression(value)})"
            for value, dtype in zip(values, self.dtypes, strict=True)
        ]
        printer.line(f"{variable}.combine({self.name}{{{', '.join(texts)}}});")

    def results(self, printer: Printer, variable: str) -> Elements:
        """The components of a variable as expressions."""
        return tuple(printer.value(f"{variable}.c{i}", dtype) for i, dtype in enumerate(self.dtypes))


def reduce_nest(
    printer: Printer,
    partial: Partial,
    stage: Stage,
    kept: Sequence[int],
    origin: Sequence[Any],
    write: Callable[[Sequence[Any], Elements], None],
    *,
    threads: int,
    lanes: int,
    first: str,
    step: int,
) -> None:
    """Results of a reduction, by groups of `lanes` threads each; called by all threads of a block.

    Args:
        printer: of the function.
        partial: the struct of partial results.
        stage: the reduction.
        kept: the box of results.
        origin: added to indices in the box.
        write: prints the stores of one result.
        threads: of a block.
        lanes: of a group: 1, a power of two up to a warp, or all threads of the block.
        first: C expression of the group's first result.
        step: results between those of a group.
    """
    total, terms = math.prod(kept), math.prod(stage.extents)
    rounds = -(-total // step)
    with printer.block(f"for (int round = 0; round < {rounds}; ++round)"):
        exact = total % step == 0
        printer.line(f"int k = {first} + round * {step};")
        if not exact:
            printer.line(f"const bool live = k < {total};")
            printer.line(f"k = live ? k : {total - 1};")
        own = decoded(printer.index("k", total), kept)
        place = [index if isinstance(start, int) and start == 0 else start + index
                 for index, start in zip(own, origin, strict=True)]  # fmt: skip
        partial.begin(printer, "sum")

        def term(over: Sequence[Any]) -> None:
            values = scoped_all(lambda: stage.body(place, over), lambda each: each)
            partial.update(printer, "sum", values)

        if lanes == 1:
            _loops(printer, stage.extents, (), term)
        else:
            with printer.block(f"for (int r = threadIdx.x % {lanes}; r < {terms}; r += {lanes})"):
                term(decoded(printer.index("r", terms), stage.extents))
            printer.line(f"optc_reduce_lanes<{lanes}>(sum);" if lanes <= WARP else f"optc_reduce_block<{lanes}>(sum);")
        guards = ([] if exact else ["live"]) + ([] if lanes == 1 else [f"threadIdx.x % {lanes} == 0"])
        with printer.block(f"if ({' && '.join(guards)})" if guards else ""):
            write(own, partial.results(printer, "sum"))


def reduced(printer: Printer, partial: Partial, stage: Stage, place: Sequence[Any]) -> str:
    """Print the reduction of one result by one thread; the name of the struct that holds it."""
    name = printer.fresh("sum")
    partial.begin(printer, name)

    def term(over: Sequence[Any]) -> None:
        partial.update(printer, name, scoped_all(lambda: stage.body(place, over), lambda each: each))

    with printer.block(""):
        _loops(printer, stage.extents, (), term)
    return name


def _loops(
    printer: Printer, extents: Sequence[int], indices: tuple[Any, ...], body: Callable[[Sequence[Any]], None]
) -> None:
    if len(indices) == len(extents):
        body(indices)
        return
    extent = extents[len(indices)]
    if extent == 1:
        _loops(printer, extents, (*indices, 0), body)
        return
    name = printer.fresh("r")
    with printer.block(f"for (int {name} = 0; {name} < {extent}; ++{name})"):
        _loops(printer, extents, (*indices, printer.index(name, extent)), body)


def lanes_for(terms: int, most: int = WARP) -> int:
    """Threads that share one result: a power of two, at most one for each term."""
    lanes = 1
    while lanes * 2 <= min(terms, most):
        lanes *= 2
    return lanes
