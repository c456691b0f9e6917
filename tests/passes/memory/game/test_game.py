"""The mapping game: times worked out by hand, two independent simulators that agree, and rooms that never overflow."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optc.errors import OptcError, UsageError
from optc.passes.memory.game.agent import load_weights, map_memory
from optc.passes.memory.game.engine import SHAPES, Settings, play, search
from optc.passes.memory.game.ilp import solve
from optc.passes.memory.game.problem import Access, Place, Problem, Tensor, check
from optc.passes.memory.game.problem_json import read_problem, write_problem
from optc.passes.memory.game.random_problems import random_problem
from optc.passes.memory.game.simulation import simulate, stays

MEMORIES = (Place("fast", 100, 100.0), Place("slow", 10_000, 10.0))  # bytes, bytes a second


def constant(name: str, size: int, *steps: int) -> Tensor:
    return Tensor(name, size, 1, tuple(Access(step, size) for step in steps), at_home=True, constant=True)


def value(name: str, size: int, written: int, *reads: int, fixed: bool = False) -> Tensor:
    accesses = (Access(written, size, writes=True), *(Access(step, size) for step in reads))
    return Tensor(name, size, 1, accesses, fixed=fixed)


def problem(compute: tuple[float, ...], *tensors: Tensor, memories: tuple[Place, ...] = MEMORIES) -> Problem:
    return Problem(memories, tuple(f"s{t}" for t in range(len(compute))), compute, tensors)


HOME, FAST, HELD = 0, 1, 2
AGAIN = 2  # home and back to the fast memory


@pytest.mark.parametrize(
    ("game", "choices", "seconds"),
    [
        # 50 bytes at 10 a second, then 2 s of arithmetic.
        (problem((1.0, 2.0), constant("w", 50, 0)), (HOME,), 5.0 + 2.0),
        # Held in the fast memory for all runs: 0.5 s of traffic hide behind 1 s of arithmetic.
        (problem((1.0, 2.0), constant("w", 50, 0)), (HELD,), 1.0 + 2.0),
        # Fetched: 5 s of copying, of which step 0 hides 3 s; step 1 waits for 2 s.
        (problem((3.0, 1.0), constant("w", 50, 1)), (FAST,), 3.0 + 2.0 + 1.0),
        # Step 0 itself reads 20 bytes at home for 2 of its 3 s, so only 1 s is left for the copy.
        (problem((3.0, 1.0), constant("w", 50, 1), constant("v", 20, 0)), (FAST, HOME), 3.0 + 4.0 + 1.0),
        # Written in and read from the fast memory.
        (problem((1.0, 1.0), value("x", 80, 0, 1)), (FAST, FAST), 2.0),
        # Written there, then copied home: 8 s, which no step hides; read at home for 8 s.
        (problem((1.0, 1.0), value("x", 80, 0, 1)), (FAST, HOME), 1.0 + 8.0 + 8.0),
        # Step 1 and 2 make room: home (3 s) during step 1, back (3 s) during step 2.
        (problem((1.0, 4.0, 4.0, 1.0), value("x", 30, 0, 3)), (FAST, AGAIN), 1.0 + 4.0 + 4.0 + 1.0),
        # A copy needs a copy before it: both of 2 s behind 3 s of arithmetic.
        (problem((3.0, 1.0), constant("v", 20, 1), constant("w", 20, 1)), (FAST, FAST), 3.0 + 1.0 + 1.0),
    ],
)
def test_times_by_hand(game: Problem, choices: tuple[int, ...], seconds: float) -> None:
    played = play(game, choices)
    assert played.choices == choices
    assert played.seconds == pytest.approx(seconds)
    assert simulate(game, played).seconds == pytest.approx(seconds)


def test_a_replay_says_when_each_copy_runs() -> None:
    game = problem((3.0, 1.0), constant("w", 50, 1))
    timeline = simulate(game, play(game, (FAST,)))
    assert [(each.ready, each.start, each.end) for each in timeline.steps] == [(0, 0, 3), (3, 5, 6)]
    (copy,) = timeline.copies
    assert (copy.start, copy.end, copy.copy.issue, copy.copy.deadline) == (0.0, 5.0, 0, 1)


games = st.integers(0, 10_000).map(lambda seed: random_problem(np.random.default_rng(seed), 24))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(games, st.integers(0, 1 << 30))
def test_any_choices_keep_to_the_capacities_and_both_simulators_agree(game: Problem, seed: int) -> None:
    wishes = np.random.default_rng(seed).integers(0, 2 * len(game.memories) - 1, game.access_at[-1])
    played = play(game, tuple(map(int, wishes)))
    assert simulate(game, played).seconds == pytest.approx(played.seconds, rel=1e-9)
    assert played.seconds >= sum(game.compute)
    for number, memory in enumerate(game.memories[:-1]):
        used = np.zeros(len(game.steps) + 1, np.int64)
        for tensor in game.tensors:
            if tensor.home == number:
                used[tensor.accesses[0].step : tensor.accesses[-1].step + 1] += tensor.size
        for stay in stays(game, played):
            if stay.memory == number:
                used[stay.start : stay.end] += game.tensors[stay.tensor].size
        assert used.max() <= memory.capacity


@settings(max_examples=25, deadline=None, derandomize=True)
@given(games)
def test_a_search_is_repeatable_and_never_worse_than_greedy(game: Problem) -> None:
    for weights in (None, load_weights()):
        found = search(game, weights, Settings(simulations=8))
        assert found == search(game, weights, Settings(simulations=8))
        assert found.best <= found.baseline == play(game).seconds
        assert play(game, found.choices).seconds == pytest.approx(found.best, rel=1e-12)


def small_game(seed: int) -> Problem:
    random = np.random.default_rng(seed)
    sizes = random.integers(10, 60, 6)
    tensors = [
        constant("a", int(sizes[0]), 0),
        constant("b", int(sizes[1]), 1),
        constant("c", int(sizes[2]), 2),
        value("x", int(sizes[3]), 0, 1),
        value("y", int(sizes[4]), 1, 2),
        value("z", int(sizes[5]), 2, fixed=True),
    ]
    return problem(tuple(random.uniform(0.5, 6.0, 3)), *tensors)


@pytest.mark.parametrize("seed", range(4))
def test_small_games_are_solved_as_well_as_by_trying_all(seed: int) -> None:
    game = small_game(seed)
    best = min(play(game, choices).seconds for choices in product(range(3), repeat=game.access_at[-1]))
    assert search(game, None, Settings(simulations=400)).best == pytest.approx(best)
    solved = solve(game)
    assert solved.optimal
    assert solved.bound <= best + 1e-6
    assert best - 1e-9 <= solved.played.seconds <= play(game).seconds + 1e-9


def test_offsets_fit_and_do_not_overlap() -> None:
    game = random_problem(np.random.default_rng(7))
    mapped = map_memory(game)
    listed = stays(game, mapped.played)
    for memory, plan in mapped.plans.items():
        assert plan.arena_bytes <= game.memories[memory].capacity
        here = [stay for stay in listed if stay.memory == memory]
        boxes = [(s.start, s.end, o, o + game.tensors[s.tensor].size) for s, o in zip(here, plan.offsets, strict=True)]
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                assert a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2]
    assert mapped.seconds[mapped.solver] == min(mapped.seconds.values()) == mapped.played.seconds


def test_a_game_reads_back(tmp_path: Path) -> None:
    game = random_problem(np.random.default_rng(3))
    write_problem(tmp_path / "g.json", game)
    assert read_problem(tmp_path / "g.json") == game


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the file is no JSON"),
        ("[]", "it is no JSON object"),
        ("{}", "'memories' is missing"),
        ('{"memories": [], "steps": [], "compute": [], "tensors": []}', "needs seconds for each of the steps"),
        ('{"memories": [], "steps": ["s"], "compute": [1], "tensors": []}', "a mapping needs 2 to 4 memories"),
        (
            '{"memories": [{"name": "near", "capacity": 9, "rate": 0}]}',
            "the memory 'near' needs a capacity in whole bytes and a rate above 0",
        ),
        (
            '{"memories": [{"name": "near", "capacity": 9, "rate": 1}], "steps": ["s"], "compute": [1],'
            '"tensors": [{"name": "w", "size": 5.5, "home": 0, "accesses": [{"step": 0, "bytes": 5}]}]}',
            "the size, the home or an access of 'w' is not of this game",
        ),
        (
            '{"memories": [{"name": "near", "capacity": 9, "rate": 1}], "steps": ["s"], "compute": [1],'
            '"tensors": [{"name": "w", "size": 5, "home": 0, "accesses": [{"step": 1, "bytes": 5}]}]}',
            "the accesses of 'w' are not by rising step",
        ),
    ],
)
def test_files_that_hold_no_game(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "g.json"
    path.write_text(text)
    with pytest.raises(OptcError, match=message):
        read_problem(path)


def test_a_home_that_is_too_small() -> None:
    with pytest.raises(UsageError) as caught:
        check(problem((1.0,), constant("w", 20_000, 0)))
    assert str(caught.value).startswith("the memory 'slow' is too small for what has its home there")
    assert "20000 bytes are needed at once, and it has 10000" in str(caught.value)


def test_agents_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(OptcError, match="the agent cannot be read"):
        load_weights(path)
    for content in (b"", b"nothing", b"PK\3\4 of an archive that was cut"):
        path.write_bytes(content)
        with pytest.raises(OptcError, match="the file holds no agent"):
            load_weights(path)
    np.savez(path, **{name: np.zeros((1,)) for name in SHAPES})
    with pytest.raises(OptcError, match="the agent is of another version"):
        load_weights(path)


def test_unknown_solvers_and_games_too_large_for_a_program() -> None:
    game = random_problem(np.random.default_rng(5))
    with pytest.raises(UsageError, match="'magic' is no solver"):
        map_memory(game, ["magic"])
    with pytest.raises(OptcError, match="the game is too large for an integer program"):
        solve(game)
