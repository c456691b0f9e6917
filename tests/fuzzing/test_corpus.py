"""Every input that was ever found to be troublesome, and a fixed number of random changes of good ones."""

from __future__ import annotations

import importlib
import random
from pathlib import Path

import pytest
from fuzzing.campaign import SURFACES

CORPUS = Path(__file__).parent / "corpus"
CHANGES = 400


@pytest.mark.parametrize("name", SURFACES)
def test_seeds_and_their_neighbours(name: str) -> None:
    surface = importlib.import_module(f"fuzzing.{name}").SURFACE
    seeds = surface.seeds()
    assert seeds
    for seed in seeds:
        surface.run(seed)
    for number in range(CHANGES):
        choices = random.Random(number)
        changed = seeds[number % len(seeds)]
        for _ in range(choices.randint(1, 3)):
            changed = surface.mutate(changed, choices) if surface.mutate else _flipped(changed, choices)
        surface.run(changed)


def _flipped(data: bytes, choices: random.Random) -> bytes:
    changed = bytearray(data)
    changed[choices.randrange(len(changed))] ^= 1 << choices.randrange(8)
    return bytes(changed[: choices.choice([len(changed), choices.randrange(len(changed) + 1)])])


FOUND = sorted(CORPUS.glob("*/*"))


@pytest.mark.parametrize("path", FOUND, ids=[f"{path.parent.name}/{path.name}" for path in FOUND])
def test_found_inputs(path: Path) -> None:
    importlib.import_module(f"fuzzing.{path.parent.name}").SURFACE.run(path.read_bytes())
