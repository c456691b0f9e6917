"""The operands of a tiled product as structs of CUDA C++: where an element lies, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optc.backends.cuda.printing import Printer, c_type
from optc.backends.tvm.lowering import scoped

Loads = Sequence[tuple[Any, Any]]
_LOAD_BYTES = 16  # of the widest load
ALONG, DEEP, PANELS = "kAlong", "kDeep", "kPanels"


@dataclass(frozen=True)
class Name:
    """An integer that the code of a side works with: its C expression and what it stays below."""

    name: str
    text: str
    extent: int


@dataclass(frozen=True)
class Read:
    """How a side is read element by element.

    Attributes:
        extent: rows or columns.
        place: what follows from the batch `z` and the row or column `w`, in this order.
        steps: what follows from `tile` and `kk`, the place along k, and from `at`, the place.
        guards: C conditions under which there is an element.
        element: of the names of `place` and `steps`, as variables.
        span: neighbours along the rows or columns that are neighbours in memory wherever one is a multiple of it.
        deep_span: the same along k.
        fill: what stands elsewhere; None for zero.
        runs: whether the last of `steps` runs along k as `kk` does.
    """

    extent: int
    place: Sequence[Name]
    steps: Sequence[Name]
    guards: Sequence[str]
    element: Callable[[Mapping[str, Any]], Any]
    span: int = 1
    deep_span: int = 1
    fill: Any = None
    runs: bool = True


@dataclass
class SideText:
    """A struct.

    Attributes:
        text: its definition.
        buffers: its members, which are pointers, in order.
        order: along what it reads.
    """

    text: str
    buffers: list[Any] = field(default_factory=list)
    order: str = ALONG


def read_side(
    name: str, read: Read, buffers: Mapping[Any, str], element: str, width: int, depth: int, *, inner_k: bool
) -> SideText:
    """The struct of a side that is read where it lies.

    Args:
        name: of the struct.
        read: how.
        buffers: the parameters that may be read, with their names in the code.
        element: TIR's type of the elements that products are made of.
        width: of a tile.
        depth: of a tile along k.
        inner_k: whether k is innermost in shared memory. Loads across it then take single elements: stores of wider
            ones would all meet one bank.
    """
    printer = Printer(3)
    for buffer, text in buffers.items():
        printer.buffer(buffer, text)
    variables = {each.name: printer.index(each.name, each.extent) for each in (*read.place, *read.steps)}
    made = scoped(lambda: read.element(variables))
    text = printer.expression(made)
    body, printer.lines = printer.lines, []
    loads = list(printer.loads)
    fill = f"({c_type(element)})0" if read.fill is None else printer.expression(scoped(lambda: read.fill))
    before = printer.lines
    order = _order(loads, read, variables)
    along = 1 if inner_k else min(read.span, width)
    span = min(_LOAD_BYTES // _bytes(element), along if order == ALONG else min(read.deep_span, depth))
    plain = not body and len(loads) == 1 and str(made.ty) == str(loads[0][0].dtype) == element
    vector = span if plain and _steps(loads, read, variables, order) == 1 else 1
    if vector > 1:
        source, place = loads[0]
        address = f"{buffers[source]} + {printer.expression(place)}"
        value = [f"      result = *reinterpret_cast<const optc_pack<{c_type(element)}, {vector}>*>({address});"]
    else:
        value = [*body, f"      result.v[0] = ({c_type(element)})({text});"]
    used = [buffer for buffer in buffers if buffer in printer.used]
    kind = f"optc_pack<{c_type(element)}, {vector}>"
    reaches = f"w < {read.extent}"
    lines = [
        f"struct {name} {{",
        *members(used, buffers),
        f"  using Element = {c_type(element)};",
        f"  static constexpr int kOrder = {order}, kVector = {vector};",
        "  struct Place {",
        *(f"    int {each.name};" for each in read.place),
        "    bool live;",
        "  };",
        "  OPTC_DEVICE Place place(int z, int w) const {",
        *(f"    const int {each.name} = {each.text};" for each in read.place),
        f"    return Place{{{', '.join([*(each.name for each in read.place), reaches])}}};",
        "  }",
        f"  OPTC_DEVICE {kind} read(const Place& at, int tile, int kk) const {{",
        f"    {kind} result;",
        *(f"    const int {each.name} = at.{each.name};" for each in read.place),
        *(f"    const int {each.name} = {each.text};" for each in read.steps),
        f"    if ({' && '.join(['at.live', *read.guards])}) {{",
        *value,
        "    } else {",
        *before,
        f"      for (int i = 0; i < {vector}; ++i) result.v[i] = {fill};",
        "    }",
        "    return result;",
        "  }",
        "};",
        "",
    ]
    return SideText("\n".join(lines), used, order)


def panel_side(
    name: str, buffer: Any, text: str, element: str, *, batch: int, tiles: int, size: int, run: int
) -> SideText:
    """The struct of a constant side, packed as its tiles lie in shared memory.

    Args:
        name: of the struct.
        buffer: the parameter, flat.
        text: its name in the code.
        element: TIR's type of the elements that products are made of.
        batch: batches.
        tiles: along k.
        size: elements of a tile.
        run: of them that are neighbours in shared memory.
    """
    stored, kind = c_type(str(buffer.dtype)), c_type(element)
    vector = min(run, 16 // _bytes(element) if stored == kind else 4)
    start = f"(((w_tile * {batch} + z) * {tiles} + tile) * {size} + piece * {vector})"
    if stored == kind:
        value = [f"    return *reinterpret_cast<const optc_pack<{kind}, {vector}>*>({text} + {start});"]
    else:
        value = [
            f"    const optc_pack<{stored}, {vector}> from =",
            f"        *reinterpret_cast<const optc_pack<{stored}, {vector}>*>({text} + {start});",
            f"    optc_pack<{kind}, {vector}> result;",
            f"    for (int i = 0; i < {vector}; ++i) result.v[i] = ({kind})from.v[i];",
            "    return result;",
        ]
    lines = [
        f"struct {name} {{",
        *members([buffer], {buffer: text}),
        f"  using Element = {kind};",
        f"  static constexpr int kOrder = kPanels, kVector = {vector};",
        "  struct Place {};",
        f"  OPTC_DEVICE optc_pack<{kind}, {vector}> panel(int z, int w_tile, int tile, int piece) const {{",
        *value,
        "  }",
        "};",
        "",
    ]
    return SideText("\n".join(lines), [buffer], PANELS)


def members(used: Sequence[Any], names: Mapping[Any, str]) -> list[str]:
    """The pointers of a struct."""
    return [
        f"  {'' if names[b].startswith(('output', 'scratch')) else 'const '}{c_type(str(b.dtype))}* "
        f"__restrict__ {names[b]};"
        for b in used
    ]


def _bytes(dtype: str) -> int:
    return int("".join(filter(str.isdigit, dtype))) // 8


def _order(loads: Loads, read: Read, variables: Mapping[str, Any]) -> str:
    """Along which index most of what is read is contiguous."""
    return DEEP if _steps(loads, read, variables, DEEP) == 1 != _steps(loads, read, variables, ALONG) else ALONG


def _steps(loads: Loads, read: Read, variables: Mapping[str, Any], order: str) -> int | None:
    """The step in memory between neighbours, of the largest operand that is read; None where it is not constant."""
    from tvm import sym, tirx

    names = read.steps if order == DEEP else read.place
    if not loads or not names or (order == DEEP and not read.runs):
        return None
    _, place = max(loads, key=lambda load: _size(load[0]))
    found = list(sym.detect_linear_equation(place, [variables[names[-1].name]]))
    return int(found[0]) if found and isinstance(found[0], tirx.IntImm) else None


def _size(buffer: Any) -> int:
    size = 1
    for extent in buffer.shape:
        size *= int(extent)
    return size
