"""What a pass is: options as dataclass fields, one `run`, and remarks that say what it did and what it left."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from optc.ir.core import UNKNOWN, Location, Module, Operation

if TYPE_CHECKING:
    from optc.costmodel.interface import CostModel
    from optc.targets.target import Target


@dataclass(frozen=True)
class Remark:
    """One decision, for `optc explain`, the report and the tests.

    Attributes:
        pass_name: the pass that decided.
        status: whether the rewrite was applied or missed.
        what: the rule or decision, e.g. `fuse-conv-relu`.
        reason: why (always for a missed one).
        location: the user's nodes concerned.
        predicted: seconds or bytes that the decision rests on, by name.
    """

    pass_name: str
    status: Literal["applied", "missed"]
    what: str
    reason: str
    location: Location = UNKNOWN
    predicted: dict[str, float] = field(default_factory=dict)


def native_by_nobody(operation: Operation) -> str | None:
    """The `supports` of a context without backends."""
    return "no backend was asked"


def accepted_by_all(group: Operation) -> str | None:
    """The `accepts` of a context whose backends take any group."""
    return None


Race = Callable[[Sequence[tuple[Operation, Sequence[Operation]]]], list[tuple[float, float] | None] | None]


def timed_by_nobody(rivals: Sequence[tuple[Operation, Sequence[Operation]]]) -> None:
    """The `race` of a context that measures nothing."""


@dataclass
class PassContext:
    """What a pass may ask of the world around it.

    Attributes:
        target: what the code is for; None on the compiler writer's workbench without `--target`.
        cost_model: prices candidates; None as above.
        supports: returns None where native code exists for an operation on the target, else the reason why not.
        accepts: returns None where an `optc.fused` operation can be one kernel on the target, else the reason why not.
        race: for pairs of an `optc.fused` operation and several that compute the same, the seconds that one and the
            others together take on the host; None for a pair that was not timed, or where nothing is measured.
        remarks: what the passes so far decided.
    """

    target: Target | None = None
    cost_model: CostModel | None = None
    supports: Callable[[Operation], str | None] = native_by_nobody
    accepts: Callable[[Operation], str | None] = accepted_by_all
    race: Race = timed_by_nobody
    remarks: list[Remark] = field(default_factory=list)


@dataclass(frozen=True)
class Pass(ABC):
    """A rewrite of a module that keeps it valid. Subclasses are frozen dataclasses; their fields are their options.

    A subclass registers itself by being defined with a `name`; `optc.passes.registry` knows which module defines
    which name, so that listing passes imports nothing.
    """

    name: ClassVar[str]

    @abstractmethod
    def run(self, module: Module, context: PassContext) -> bool:
        """Rewrite `module` in place and return whether anything changed."""
