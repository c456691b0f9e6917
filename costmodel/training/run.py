"""One training run: units of work that survive being killed, iterations with early stopping, scalars for plots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from optc.cache import cache_folder
from optc.costmodel.predictors import user_folder
from optc.costmodel.training.checkpoints import Arrays, Checkpoints
from optc.costmodel.training.config import Config
from optc.costmodel.training.scalars import Scalars
from optc.costmodel.training.team import team

Step = Callable[[Arrays, int], tuple[Arrays, float]]
"""One iteration: (state, number) → (new state, validation loss). All that is random comes from the state or number."""


def _silent(what: str, done: int = 0, total: int = 0) -> None:
    """Progress that nobody watches."""


@dataclass
class Run:
    """What a kind's `train` works with. In a team of processes all compute, the first one keeps what is computed.

    Attributes:
        config: what to train.
        out: the folder that gets the predictor's folder.
        resume: whether to go on from the checkpoints of a run that was stopped.
        progress: told (what, done, total).
        scalars: told named numbers along the way.
    """

    config: Config
    out: Path = field(default_factory=user_folder)
    resume: bool = False
    progress: Callable[[str, int, int], None] = _silent
    scalars: Scalars = field(default_factory=Scalars)
    _checkpoints: Checkpoints | None = None

    @property
    def folder(self) -> Path:
        """Where the checkpoints lie."""
        return cache_folder() / "training" / self.config.name

    def bind(self, data_digest: str) -> None:
        """Say which data the run is on, before the first unit of work.

        Raises:
            UsageError: there are checkpoints to resume, of another configuration or other data.
        """
        identity = f"{self.config.digest()} {data_digest}"
        self._checkpoints = team().once(lambda: Checkpoints(self.folder, identity, resume=self.resume))

    def unit(self, key: str, compute: Callable[[], Mapping[str, Any]]) -> Arrays:
        """The arrays of `compute`, from a checkpoint if an earlier run got that far.

        Args:
            key: names the unit within the run.
            compute: deterministic; gives arrays (or numbers) by name.
        """
        store = self._store()
        known = team().once(lambda: store.load(key))
        if known is None:
            known = {name: np.asarray(value) for name, value in compute().items()}
            if team().first:
                store.store(key, known)
        return known

    def iterate(
        self, key: str, start: Callable[[], Arrays], step: Step, steps: int, *, every: int = 10, patience: int = 0
    ) -> Arrays:
        """Repeat `step`, keep the state with the lowest validation loss, checkpoint now and then.

        Args:
            key: names the loop within the run.
            start: the first state.
            step: one iteration, deterministic in state and number.
            steps: how many at most.
            every: iterations between two checkpoints.
            patience: stop after so many without a better validation loss; 0 never stops early.

        Returns:
            The best state.
        """
        store = self._store()
        state = store.load(key)
        if state is None:
            first = start()
            state = {**first, **{_BEST + name: value for name, value in first.items()}}
            state |= {_NUMBER: np.array(0), _LOSS: np.array(np.inf), _SINCE: np.array(0)}
        while int(state[_NUMBER]) < steps and not (patience and int(state[_SINCE]) >= patience):
            number = int(state[_NUMBER])
            new, loss = step({name: value for name, value in state.items() if not name.startswith("~")}, number)
            if loss < float(state[_LOSS]):
                state |= {_BEST + name: value for name, value in new.items()}
                state |= {_LOSS: np.array(loss), _SINCE: np.array(0)}
            else:
                state[_SINCE] = state[_SINCE] + 1
            state |= {**new, _NUMBER: np.array(number + 1)}
            self.scalars.add(f"{key}/validation", loss, number)
            self.progress(key, number + 1, steps)
            if (number + 1) % every == 0:
                store.store(key, state)
        store.store(key, state)
        return {name.removeprefix(_BEST): value for name, value in state.items() if name.startswith(_BEST)}

    def finish(self) -> None:
        """The predictor is saved: forget the checkpoints."""
        if team().first:
            self._store().remove()
        self.scalars.close()

    def _store(self) -> Checkpoints:
        if self._checkpoints is None:
            raise RuntimeError("Run.bind comes before the first unit of work")
        return self._checkpoints


_BEST, _NUMBER, _LOSS, _SINCE = "~best~", "~number", "~loss", "~since"
