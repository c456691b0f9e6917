"""What a run should take right now: an artifact's prediction, for the state in which this machine is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optc.costmodel.kernels.machine import machine_class
from optc.costmodel.levels import Spent, differences
from optc.costmodel.state import Rates, State, probe
from optc.errors import OptcError
from optc.runtime.loaded import Artifact
from optc.targets import load
from optc.targets.library import HOST


@dataclass(frozen=True)
class Expectation:
    """Seconds of a run.

    Attributes:
        kernels: on the machine as it was when its kernels were measured.
        now: with the machine as it is, and the call.
        call: of which so much is the call.
        speed: how many times as fast each level is now; None where nothing says it.
    """

    kernels: float
    now: float
    call: float
    speed: Rates | None

    @property
    def why(self) -> str:
        """How the machine differs from what it was; empty where it does not."""
        return "" if self.speed is None else differences(self.speed)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        speed = None if self.speed is None else self.speed.to_dict()
        return {"kernel_seconds": self.kernels, "now_seconds": self.now, "call_seconds": self.call, "speed": speed}


def expectation(artifact: Artifact, state: State | None = None) -> Expectation | None:
    """What a run of an artifact should take; None where nothing was predicted.

    Args:
        artifact: loaded, of this machine.
        state: of the machine; None to probe it, which takes about 0.15 s.
    """
    cost = artifact.manifest.cost
    if not cost.get("predicted_seconds"):
        return None
    kernels = float(cost["predicted_seconds"])
    try:
        call = artifact.call_seconds()
    except OptcError:
        call = 0.0
    speed = speed_of(cost.get("levels"), state)
    if speed is None:
        return Expectation(kernels, kernels + call, call, None)
    return Expectation(kernels, Spent(**cost["levels"]["seconds"]).at(speed) + call, call, speed)


def speed_of(levels: Mapping[str, Any] | None, state: State | None = None) -> Rates | None:
    """How many times as fast this machine is as when its kernels were measured; None where nothing says it.

    Args:
        levels: what a cost states of them.
        state: as for `expectation`.
    """
    here = load(HOST)
    if levels is None or levels["machine"] != machine_class(here):
        return None
    state = probe(here) if state is None else state
    return None if state is None else state.typical.over(Rates.of_dict(levels["rates"]))
