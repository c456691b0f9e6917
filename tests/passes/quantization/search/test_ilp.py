"""The integer program against all assignments of small problems."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.passes.quantization.search.ilp import solve
from optc.passes.quantization.search.pareto import assignments_along, front
from optc.passes.quantization.search.problem import FLOAT, Boundary, Choice, Joint, Option, PrecisionProblem

COSTS = st.integers(1, 60).map(float)
ERRORS = st.tuples(st.integers(1, 40).map(float), st.integers(1, 40).map(float))


@st.composite
def problems(draw: st.DrawFn) -> PrecisionProblem:
    names = [f"layer{number}" for number in range(draw(st.integers(2, 5)))]
    choices = []
    for name in names:
        options = [Option(FLOAT, (0.0, 0.0), draw(COSTS))]
        for scheme in ("int8", "int4-weights")[: draw(st.integers(1, 2))]:
            options.append(Option(scheme, draw(ERRORS), draw(COSTS), coded=scheme == "int8"))
        choices.append(Choice(name, tuple(options)))
    makers: list[str] = list(names)
    joints = []
    for number in range(draw(st.integers(0, 2))):
        sources = draw(st.lists(st.sampled_from([*makers, None]), min_size=1, max_size=3, unique=True))
        joints.append(Joint(f"joint{number}", tuple(sources), draw(COSTS)))
        makers.append(f"joint{number}")
    boundaries = [
        Boundary(
            f"tensor{number}",
            draw(st.sampled_from([*makers, None])),
            tuple(draw(st.lists(st.sampled_from(makers), max_size=3, unique=True))),
            draw(st.booleans()),
            draw(COSTS),
            draw(COSTS),
        )
        for number in range(draw(st.integers(0, 5)))
    ]
    return PrecisionProblem(tuple(choices), tuple(joints), tuple(boundaries), fixed=5.0)


def cheapest(problem: PrecisionProblem, budget: float) -> float:
    names = [choice.layer for choice in problem.choices]
    schemes = product(*([option.scheme for option in choice.options] for choice in problem.choices))
    assignments = (dict(zip(names, each, strict=True)) for each in schemes)
    return min(problem.cost(each) for each in assignments if max(problem.errors(each)) <= budget)


@given(problems(), st.integers(0, 120))
@settings(derandomize=True, max_examples=60, deadline=None)
def test_it_finds_what_trying_everything_finds(problem: PrecisionProblem, budget: int) -> None:
    found = solve(problem, float(budget))
    assert max(problem.errors(found)) <= budget
    assert problem.cost(found) == pytest.approx(cheapest(problem, budget))


@given(problems())
@settings(derandomize=True, max_examples=10, deadline=None)
def test_a_smaller_budget_never_costs_less(problem: PrecisionProblem) -> None:
    points = [(problem.cost(each), max(problem.errors(each))) for each in assignments_along(problem, 6)]
    assert points[0][0] == pytest.approx(cheapest(problem, float("inf")))
    assert points[-1][1] == 0.0
    kept = front(points, key=lambda point: point)
    assert [cost for cost, _ in kept] == sorted(cost for cost, _ in kept)


def test_a_lone_layer_is_not_worth_two_conversions() -> None:
    options = (Option(FLOAT, (0.0,), 10.0), Option("int8", (1.0,), 4.0, coded=True))
    alone = PrecisionProblem(
        (Choice("a", options),),
        (),
        (Boundary("x", None, ("a",), False, 4.0, 4.0), Boundary("y", "a", (), True, 4.0, 4.0)),
    )
    assert solve(alone, 10.0) == {"a": FLOAT}
    chain = PrecisionProblem(
        (Choice("a", options), Choice("b", options)),
        (),
        (
            Boundary("x", None, ("a",), False, 4.0, 4.0),
            Boundary("y", "a", ("b",), False, 4.0, 4.0),
            Boundary("z", "b", (), True, 4.0, 4.0),
        ),
    )
    assert solve(chain, 10.0) == {"a": "int8", "b": "int8"}
    assert solve(chain, 1.5) == {"a": FLOAT, "b": FLOAT}


def test_the_front_keeps_what_nothing_beats() -> None:
    points = [(3.0, 1.0), (1.0, 3.0), (2.0, 3.0), (2.0, 2.0), (3.0, 1.0)]
    assert front(points, key=lambda point: point) == [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]
