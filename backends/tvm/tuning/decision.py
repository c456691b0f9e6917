"""What was chosen for a workload, and what the choice rests on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from optc.backends.interface import Option, Selection
from optc.backends.tvm.template import Choice


@dataclass(frozen=True)
class Rated:
    """A point with what is known of its time on one core.

    Attributes:
        choice: template and schedule.
        predicted: seconds by the template's model.
        measured: seconds on this host, cold weights and warm data; None when it was not timed.
        failed: it crashed, hung or could not be built when it was tried.
    """

    choice: Choice
    predicted: float
    measured: float | None = None
    failed: bool = False

    @property
    def seconds(self) -> float:
        """The best that is known."""
        return self.predicted if self.measured is None else self.measured

    @property
    def tried(self) -> bool:
        return self.failed or self.measured is not None


@dataclass(frozen=True)
class Decision:
    """The candidates of a workload, the chosen one first.

    Attributes:
        rated: measured ones by time, then by prediction, those that failed last.
        points: of all templates' spaces together.
        foreign: taken over from other hardware, on which its times were measured.
    """

    rated: tuple[Rated, ...]
    points: int
    foreign: bool = False

    @staticmethod
    def of(rated: Iterable[Rated], points: int) -> Decision:
        """The decision that times and predictions make."""
        ordered = sorted(rated, key=lambda each: (each.failed, each.measured is None, each.seconds))
        return Decision(tuple(ordered), points)

    @property
    def chosen(self) -> Rated:
        return self.rated[0]

    @property
    def predicted_best(self) -> Rated:
        """What would have been chosen without measuring."""
        return min(self.rated, key=lambda each: each.predicted)

    @property
    def runner_up(self) -> Rated | None:
        """The next best that works."""
        return next((each for each in self.rated[1:] if not each.failed), None)

    @property
    def timed(self) -> int:
        """How many points were measured."""
        return sum(each.measured is not None for each in self.rated)

    @property
    def settled(self) -> bool:
        """Whether there is nothing left to measure."""
        return not self.foreign and all(each.tried for each in self.rated[1:])

    @property
    def reason(self) -> str:
        """Why the chosen point, in a few words."""
        if self.foreign:
            return "imported from other hardware"
        if self.points == 1:
            return "the only point"
        if self.chosen.measured is not None:
            return f"fastest of {self.timed} measured of {self.points} points"
        if any(each.failed for each in self.rated):
            return f"least predicted time of {self.points} points, without those that failed"
        return f"least predicted time of {self.points} points"

    def as_foreign(self) -> Decision:
        """The same choice where its times mean nothing."""
        rated = tuple(replace(each, measured=None) for each in self.rated if not each.failed)
        return Decision(rated or self.rated[:1], self.points, foreign=True)


def selection_of(decision: Decision) -> Selection:
    """A decision as the driver and the reports see it."""
    return Selection(
        chosen=_option(decision.chosen),
        runner_up=None if decision.runner_up is None else _option(decision.runner_up),
        untuned=_option(decision.predicted_best),
        points=decision.points,
        timed=decision.timed,
        reason=decision.reason,
    )


def _option(rated: Rated) -> Option:
    return Option(rated.choice.template.name, rated.choice.schedule, rated.predicted, rated.measured)
