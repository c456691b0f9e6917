"""Random games: programs with chains, skips and branches, on memories of random sizes and speeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from optc.passes.memory.game.problem import Access, Place, Problem, Tensor


def random_problem(random: np.random.Generator, most_steps: int = 80) -> Problem:
    """A game whose sizes, speeds and capacities span those of microcontrollers to accelerators.

    Args:
        random: the draws; the same state gives the same game.
        most_steps: of the program.
    """
    steps = int(random.integers(8, most_steps + 1))
    memories = _memories(random)
    constants_home = len(memories) - 1
    values_home = constants_home - int(len(memories) > 2 and random.random() < 0.5)
    activation = float(np.exp(random.uniform(np.log(0.05), np.log(2.0)))) * memories[0].capacity
    weight = float(np.exp(random.uniform(np.log(0.02), np.log(2.0)))) * memories[0].capacity
    growth = random.normal(0.0, 1.5)  # weights grow and activations shrink along most networks
    tensors: list[Tensor] = []
    uses: list[list[tuple[int, bool]]] = []

    def add(
        name: str, size: float, home: int, access: tuple[int, bool], at_home: bool, constant: bool, fixed: bool
    ) -> int:
        tensors.append(Tensor(name, max(64, int(size)), home, (), at_home, constant, fixed))
        uses.append([access])
        return len(tensors) - 1

    made = [add("input", activation, values_home, (0, False), True, False, False)]
    for t in range(steps):
        along = t / steps
        if t:
            sources = {made[-1]}
            while random.random() < 0.25 and len(sources) < 3:
                sources.add(made[-1 - int(min(len(made) - 1, random.geometric(0.25)))])
            for each in sources:
                uses[each].append((t, False))
        if random.random() < 0.8:
            size = weight * np.exp(growth * along + random.normal(0.0, 0.8))
            add(f"weight {t}", size, constants_home, (t, False), True, True, False)
        size = activation * np.exp(-growth * along + random.normal(0.0, 0.5))
        made.append(add(f"value {t}", size, values_home, (t, True), False, False, t == steps - 1))
    tensors = [
        replace(each, accesses=tuple(Access(step, each.size, writes) for step, writes in used))
        for each, used in zip(tensors, uses, strict=True)
    ]
    traffic = np.zeros(steps)
    for tensor in tensors:
        for access in tensor.accesses:
            traffic[access.step] += access.bytes / memories[tensor.home].rate
    intensity = np.exp(random.uniform(-2.0, 0.7) + random.normal(0.0, 1.0, steps))
    compute = tuple(float(value) for value in traffic.mean() * 0.3 * intensity + traffic * 0.3 * intensity)
    return Problem(memories, tuple(f"step {t}" for t in range(steps)), compute, tuple(tensors))


def _memories(random: np.random.Generator) -> tuple[Place, ...]:
    count = int(random.integers(2, 5))
    capacity, rate = 2 ** random.uniform(15, 22), 10 ** random.uniform(9, 11)
    found = []
    for level in range(count):
        unlimited = level >= count - 2 and (level == count - 1 or count > 2)
        found.append(Place(f"memory {level}", 1 << 50 if unlimited else int(capacity), float(rate)))
        capacity *= 2 ** random.uniform(1, 4)
        rate /= 2 ** random.uniform(0.7, 3.5)
    return tuple(found)
