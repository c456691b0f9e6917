"""Processes that train together, as `torchrun` starts them: each takes a share of every step, the first one writes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """This process and how many there are; alone, everything is done here.

    Attributes:
        rank: of this process, from 0.
        size: of the team.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def once(self, compute: Callable[[], T]) -> T:
        """What the first process computes, given to all. An error of the first one ends all."""
        if self.size == 1:
            return compute()
        from torch import distributed

        box: list[Any] = [None, None]
        if self.first:
            try:
                box[0] = compute()
            except Exception as error:
                box[1] = error
        distributed.broadcast_object_list(box, src=0)
        if box[1] is not None:
            raise box[1]
        result: T = box[0]
        return result

    def share(self, items: Any) -> Any:
        """This process' part of a sequence: every `size`-th item."""
        return items[self.rank :: self.size]

    def add_gradients(self, parameters: Iterable[Any]) -> None:
        """Replace each gradient by the sum of all processes', as distributed data parallel training does.

        The loss of each must be its part of the whole one. One message carries them all.
        """
        if self.size == 1:
            return
        import torch
        from torch import distributed

        known = list(parameters)
        grads = [torch.zeros_like(each) if each.grad is None else each.grad for each in known]
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        distributed.all_reduce(flat)
        for each, part in zip(known, flat.split([grad.numel() for grad in grads]), strict=True):
            each.grad = part.reshape(each.shape)


_current = Team()


def team() -> Team:
    """The team that this process belongs to."""
    return _current


@contextlib.contextmanager
def joined() -> Iterator[Team]:
    """Join the team that `torchrun` started, while the context lasts; without one, a team of one."""
    global _current
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ:
        yield _current
        return
    from torch import distributed

    distributed.init_process_group("gloo")
    _current = Team(distributed.get_rank(), distributed.get_world_size())
    try:
        yield _current
    finally:
        _current = Team()
        distributed.destroy_process_group()
