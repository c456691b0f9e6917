"""What a run should take right now: an artifact's prediction, for the state in which this machine is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
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
        state: of the machine now; None where nothing says how it was.
        why: how it differs from what it was; empty where it does not.
    """

    kernels: float
    now: float
    call: float
    state: State | None = None
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def expectation(artifact: Artifact, state: State | None = None) -> Expectation | None:
    """What a run of an artifact should take; None where nothing was predicted.

    Args:
        artifact: loaded, of this machine.
        state: of the machine; None to probe it, which takes about 0.25 s.
    """
    cost = artifact.manifest.cost
    if not cost.get("predicted_seconds"):
        return None
    kernels, here, levels = float(cost["predicted_seconds"]), load(HOST), cost.get("levels")
    try:
        call = artifact.call_seconds()
    except OptcError:
        call = 0.0
    if levels is None or levels["machine"] != machine_class(here):
        return Expectation(kernels, kernels + call, call)
    state = probe(here) if state is None else state
    if state is None:
        return Expectation(kernels, kernels + call, call)
    reference, parts = Rates.of_dict(levels["rates"]), Spent(**levels["seconds"])
    now = parts.at(state, reference, kernels, levels["reuse"]) + call
    return Expectation(kernels, now, call, state, differences(state, reference))
