"""What every cost model answers: how long a kernel takes on a target, with an interval and what the figure rests on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from optc.ir.core import CONSTANT, Graph, Operation, Value

if TYPE_CHECKING:
    from optc.targets.target import Target


@dataclass(frozen=True)
class Candidate:
    """A kernel that might be made: what it computes, what it reads from memory and what it writes there.

    A pass describes a group by it before any graph is built; `of_graph` describes one that exists.

    Attributes:
        operations: in an order in which they can be executed, without constants.
        inputs: values read from memory, large constants included.
        outputs: values written to memory.
        constants: inputs that are constants although their graph does not say so: a group's body has them as inputs.
    """

    operations: tuple[Operation, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    constants: frozenset[Value] = frozenset()

    def is_constant(self, value: Value) -> bool:
        """Whether an input is known at compile time."""
        return value.is_constant or value in self.constants

    @staticmethod
    def of_operations(operations: Sequence[Operation], outside: Iterable[Value] | None = None) -> Candidate:
        """The kernel of some operations of one graph; `outside` are results needed elsewhere."""
        inside = set(operations)
        produced = {result for operation in operations for result in operation.results}
        read = dict.fromkeys(value for operation in operations for value in operation.present_operands)
        if outside is None:
            outside = [value for value in produced if any(user not in inside for user in value.users)]
        needed = set(outside)
        written = tuple(r for operation in operations for r in operation.results if r in needed)
        return Candidate(tuple(operations), tuple(value for value in read if value not in produced), written)

    @staticmethod
    def of_graph(graph: Graph, constants: Iterable[int] = ()) -> Candidate:
        """The kernel of a fused group's body; `constants` are the positions of its constant inputs."""
        operations = tuple(operation for operation in graph if operation.name != CONSTANT)
        known = frozenset(graph.inputs[position] for position in constants)
        return Candidate(operations, tuple(graph.inputs), tuple(dict.fromkeys(graph.outputs)), known)


@dataclass(frozen=True)
class Estimate:
    """What a cost model predicts for one candidate.

    Attributes:
        seconds: the expected time of one execution.
        low: the lower end of an interval that should hold the truth nine times in ten.
        high: its upper end.
        bytes: read from and written to memory outside the kernel.
        flops: floating-point operations.
        basis: what the figure rests on, for people (`roofline`, `measured`, `learned: 412 kernels` …).
        joules: the energy of one execution; None where the target states no coefficients.
    """

    seconds: float
    low: float
    high: float
    bytes: int
    flops: int
    basis: str
    joules: float | None = None


@dataclass(frozen=True)
class SchedulePoint:
    """A point of a schedule template's space.

    Attributes:
        template: its name.
        schedule: the parameters by name, sorted.
        estimate: seconds on one core by the template's own model; 0 where it has none.
    """

    template: str
    schedule: tuple[tuple[str, int], ...]
    estimate: float


class SchedulePredictor(Protocol):
    """Predicts what schedules of one kernel take, to rank them."""

    def figures(self, target: Target) -> Target:
        """The target with the figures that estimates must be worked out from."""

    def predict(self, candidate: Candidate, points: Sequence[SchedulePoint], target: Target) -> list[float]:
        """Seconds on one core for each point; `target` is one that `figures` gave."""


class CostModel(Protocol):
    """Prices kernels. Batches, since a learned model is many times faster on them."""

    def predict(self, candidates: Sequence[Candidate], target: Target) -> list[Estimate]:
        """One estimate for each candidate, in order; all types must be static."""
