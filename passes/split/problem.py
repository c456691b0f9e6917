"""The split problem: tasks, the values between them, and what it costs to place each task on each tier.

Tiers are the machines from the device (0) outwards: device and server, or device, edge and cloud. Data only moves
outwards until the results come back: a task never runs nearer to the device than one that it reads from. That is not
a loss for a model whose tasks are all faster further out; where some are not, a request would cross the link twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from optc.targets.link import Link

Placement = tuple[int, ...]
"""The tier of each task."""


@dataclass(frozen=True)
class Task:
    """An operation.

    Attributes:
        name: for people.
        seconds: on each tier.
        joules: of the device when it runs there.
    """

    name: str
    seconds: tuple[float, ...]
    joules: float = 0.0


@dataclass(frozen=True)
class Transfer:
    """A value that may cross links.

    Attributes:
        name: the user's.
        producer: the task that makes it; None for an input of the model, which is on the device.
        consumers: the tasks that read it.
        bytes: when it is sent.
        wanted: whether it is an output of the model, which the device needs; one that is made elsewhere returns.
        returned_bytes: when it returns.
        movable: False for what must stay on the tier that it is made on: private data, and what has no fixed size.
        stored: bytes while it waits in the device's memory.
        coding: seconds that the device takes to encode it, when it is sent from there.
    """

    name: str
    producer: int | None
    consumers: tuple[int, ...]
    bytes: int
    wanted: bool = False
    returned_bytes: int = 0
    movable: bool = True
    stored: int = 0
    coding: float = 0.0


@dataclass(frozen=True)
class Weights:
    """A constant: bytes that a tier holds when it runs one of `users`."""

    bytes: int
    users: tuple[int, ...]


@dataclass(frozen=True)
class SplitProblem:
    """A model to be cut.

    Attributes:
        tiers: how many; `tasks[i].seconds` has one entry for each.
        tasks: in an order in which they can be executed.
        transfers: every value that a task reads or the caller wants; producers stand before consumers.
        weights: the constants.
    """

    tiers: int
    tasks: tuple[Task, ...]
    transfers: tuple[Transfer, ...]
    weights: tuple[Weights, ...] = ()


@dataclass(frozen=True)
class Conditions:
    """What the world is like when the cut is chosen.

    Attributes:
        links: between tier i and i + 1.
        idle_watts: what the device draws while it waits.
        waits: seconds that a request queues at each tier, the device's first; empty for none.
        load: factors of the tiers' seconds, because other work runs there; empty for 1.
    """

    links: tuple[Link, ...]
    idle_watts: float = 0.0
    waits: tuple[float, ...] = ()
    load: tuple[float, ...] = ()

    def wait(self, tier: int) -> float:
        """Seconds in the queue of a tier."""
        return self.waits[tier] if self.waits else 0.0

    def factor(self, tier: int) -> float:
        """How much slower a tier is than predicted."""
        return self.load[tier] if self.load else 1.0


@dataclass(frozen=True)
class Goal:
    """What is to be small: a weighted sum of seconds, joules of the device, and bytes over the first link."""

    seconds: float = 0.0
    joules: float = 0.0
    bytes: float = 0.0


LATENCY = Goal(seconds=1.0)
ENERGY = Goal(joules=1.0)
BYTES = Goal(bytes=1.0)


@dataclass(frozen=True)
class Cost:
    """What a placement costs one request.

    Attributes:
        seconds: from the inputs to the outputs, on the device.
        joules: of the device.
        bytes: over the first link, both ways.
        computing: seconds on each tier.
        linking: seconds on the links, distance included.
    """

    seconds: float
    joules: float
    bytes: int
    computing: tuple[float, ...] = field(default=(), compare=False)
    linking: float = field(default=0.0, compare=False)

    def under(self, goal: Goal) -> float:
        """The weighted sum."""
        return goal.seconds * self.seconds + goal.joules * self.joules + goal.bytes * self.bytes


def evaluate(problem: SplitProblem, placement: Sequence[int], conditions: Conditions) -> Cost:
    """What a placement costs, worked out value by value."""
    links, idle = conditions.links, conditions.idle_watts
    computing = [0.0] * problem.tiers
    joules = 0.0
    for task, tier in zip(problem.tasks, placement, strict=True):
        seconds = task.seconds[tier] * conditions.factor(tier)
        computing[tier] += seconds
        joules += task.joules * conditions.factor(0) if tier == 0 else idle * seconds
    linking, moved = 0.0, 0
    furthest = max(placement, default=0)
    for transfer in problem.transfers:
        start = 0 if transfer.producer is None else placement[transfer.producer]
        end = max([start, *(placement[task] for task in transfer.consumers)])
        for hop in range(start, end):
            spent = links[hop].up_seconds(transfer.bytes)
            linking += spent
            joules += idle * spent
            if hop == 0:
                coding = transfer.coding * conditions.factor(0)
                computing[0] += coding
                joules += links[hop].up_joules(transfer.bytes) + idle * coding
                moved += transfer.bytes
        if transfer.wanted:
            for hop in range(start):
                spent = links[hop].down_seconds(transfer.returned_bytes)
                linking += spent
                joules += idle * spent
                if hop == 0:
                    joules += links[hop].down_joules(transfer.returned_bytes)
                    moved += transfer.returned_bytes
    queued = 0.0
    for hop in range(furthest):
        linking += links[hop].rtt
        queued += conditions.wait(hop + 1)
        joules += idle * (links[hop].rtt + conditions.wait(hop + 1))
    seconds = sum(computing) + linking + queued
    return Cost(seconds, joules, moved, tuple(computing), linking)


def device_memory(problem: SplitProblem, placement: Sequence[int]) -> int:
    """Bytes of the device: the weights of its tasks, and the most values at once in the order of the tasks."""
    weights = sum(each.bytes for each in problem.weights if any(placement[user] == 0 for user in each.users))
    return weights + max(map(sum, (_stored(row, placement) for row in live_rows(problem))), default=0)


def _stored(row: Sequence[tuple[int | None, int]], placement: Sequence[int]) -> list[int]:
    return [size for producer, size in row if producer is None or placement[producer] == 0]


def live_rows(problem: SplitProblem) -> list[list[tuple[int | None, int]]]:
    """For each task, the (producer, bytes) of the values that exist while it runs.

    A value that is wanted, or that a later task reads on whatever tier, is kept.
    """
    rows: list[list[tuple[int | None, int]]] = [[] for _ in problem.tasks]
    for transfer in problem.transfers:
        start = 0 if transfer.producer is None else transfer.producer
        end = len(rows) - 1 if transfer.wanted else max(transfer.consumers, default=start)
        if transfer.stored:
            for step in range(start, end + 1):
                rows[step].append((transfer.producer, transfer.stored))
    return rows


def is_allowed(problem: SplitProblem, placement: Sequence[int]) -> bool:
    """Whether data only moves outwards, and what must stay where it is does."""
    for transfer in problem.transfers:
        start = 0 if transfer.producer is None else placement[transfer.producer]
        if any(placement[task] < start for task in transfer.consumers):
            return False
        if not transfer.movable and any(placement[task] > start for task in transfer.consumers):
            return False
        if not transfer.movable and transfer.wanted and start > 0:
            return False
    return True
