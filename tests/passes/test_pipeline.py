"""Pipelines as text: what parses, what it prints back, and how errors look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.errors import UsageError
from optc.ir.core import Module
from optc.passes import registry
from optc.passes.base import Pass, PassContext
from optc.passes.options import options_of
from optc.passes.pipeline import parse_pipeline, print_pipeline


@dataclass(frozen=True)
class Tile(Pass):
    """Does nothing, with an option of every type.

    Attributes:
        max_ops: how many operations
            a tile may hold.
        mode: the order.
    """

    name: ClassVar[str] = "tile"
    max_ops: int = 4
    ratio: float | None = None
    greedy: bool = False
    rules: tuple[str, ...] = ()
    sizes: tuple[int, ...] = (1, 2)
    mode: Literal["rows", "columns"] = "rows"
    label: str = ""

    def run(self, module: Module, context: PassContext) -> bool:
        return False


@dataclass(frozen=True)
class Bind(Pass):
    """Needs its option."""

    name: ClassVar[str] = "bind"
    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError("size must be at least 1")

    def run(self, module: Module, context: PassContext) -> bool:
        return False


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**registry.PASSES, "tile": f"{__name__}:Tile", "bind": f"{__name__}:Bind"}
    monkeypatch.setattr(registry, "available", lambda: known)
    monkeypatch.setattr(registry, "get", {"tile": Tile, "bind": Bind}.__getitem__)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("", []),
        ("tile", [Tile()]),
        (" tile , bind{ size = 3 } ", [Tile(), Bind(3)]),
        ("tile{max-ops=8,ratio=0.5},tile", [Tile(max_ops=8, ratio=0.5), Tile()]),
        ("tile{max-ops=8 greedy}", [Tile(max_ops=8, greedy=True)]),
        ("tile{rules=[a,b-c], sizes=[], mode=columns}", [Tile(rules=("a", "b-c"), sizes=(), mode="columns")]),
        ('tile{label="a, {b}" ratio=none}', [Tile(label="a, {b}")]),
        ("tile{}", [Tile()]),
    ],
)
def test_parse(text: str, passes: list[Pass]) -> None:
    assert parse_pipeline(text) == passes
    assert parse_pipeline(print_pipeline(passes)) == passes


def test_only_options_that_differ_are_printed() -> None:
    passes = [Tile(max_ops=8, rules=("a",), greedy=True), Bind(4), Tile()]
    assert print_pipeline(passes) == "tile{max-ops=8,greedy=true,rules=[a]},bind{size=4},tile"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.builds(
        Tile,
        max_ops=st.integers(),
        ratio=st.none() | st.floats(allow_nan=False),
        greedy=st.booleans(),
        rules=st.lists(st.text(max_size=5) | st.sampled_from(["none", "true", "3"]), max_size=3).map(tuple),
        label=st.text(max_size=5) | st.sampled_from(["none", "true", "3", "-"]),
    )
)
def test_any_options_round_trip(item: Tile) -> None:
    # `available` and `get` stay patched by the fixture for every example.
    assert parse_pipeline(print_pipeline([item])) == [item]


OPTIONS = (
    "options of tile: max-ops: int = 4; ratio: float or none = none; greedy: bool = false; rules: list of str = []; "
    'sizes: list of int = [1,2]; mode: one of rows, columns = rows; label: str = ""'
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tyle", "no pass is called 'tyle'|  at --passes:1:1|  tyle|  ^~~~|  hint: did you mean 'tile'?"),
        (
            "tile{max=2}",
            f"tile has no option 'max'|  at --passes:1:6|  tile{{max=2}}|       ^~~|  {OPTIONS}"
            "|  hint: did you mean 'max-ops'?",
        ),
        (
            "tile{max-ops=x}",
            "'x' does not fit max-ops|  at --passes:1:14|  tile{max-ops=x}|               ^|  expected int",
        ),
        (
            "tile{sizes=[1,x]}",
            "'[1,x]' does not fit sizes|  at --passes:1:12|  tile{sizes=[1,x]}|             ^~~~~"
            "|  expected list of int",
        ),
        (
            "tile{mode=diagonal}",
            "'diagonal' does not fit mode|  at --passes:1:11|  tile{mode=diagonal}|            ^~~~~~~~"
            "|  expected one of rows, columns",
        ),
        ('tile{max-ops="3"}', "'\"3\"' does not fit max-ops|  at --passes:1:14|  tile{max-ops=\"3\"}"
         "|               ^~~|  expected int"),
        ("tile,", "the pipeline ends too early|  at --passes:1:6|  tile,|       ^|  expected a pass"),
        ("tile{greedy", "this '{' is never closed|  at --passes:1:5|  tile{greedy|      ^|  expected '}'"),
        ("tile tile", "'tile' has no place here|  at --passes:1:6|  tile tile|       ^~~~|  expected ',' or '{'"),
        ("tile;", "';' has no place in a pipeline|  at --passes:1:5|  tile;|      ^"),
        ("bind", "bind needs size|  at --passes:1:1|  bind|  ^~~~|  options of bind: size: int"),
        (
            "bind{size=0}",
            "bind refuses its options|  at --passes:1:1|  bind{size=0}|  ^~~~|  size must be at least 1",
        ),
        (
            "tile{greedy greedy}",
            "the option 'greedy' is given twice|  at --passes:1:13|  tile{greedy greedy}|              ^~~~~~",
        ),
    ],
)  # fmt: skip
def test_errors(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_pipeline(text)
    assert str(caught.value) == message.replace("|", "\n")


def test_help_comes_from_the_docstring() -> None:
    helps = {option.name: option.help for option in options_of(Tile)}
    assert helps["max-ops"] == "how many operations a tile may hold."
    assert helps["mode"] == "the order."
    assert helps["ratio"] == ""
