"""A bound on memory that waits its turn in order of arrival."""

from __future__ import annotations

import asyncio
from collections import deque


class Budget:
    """Bytes that tasks of one event loop share.

    Args:
        size: how many there are; a task that wants more than that gets all of them.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, wanted: int) -> int:
        """Wait until so many bytes are free, and take them; returns what `give` is due back."""
        amount = min(wanted, self._size)
        if not self._waiting and amount <= self._free:
            self._free -= amount
            return amount
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(amount)
            raise
        return amount

    def give(self, amount: int) -> None:
        """Give back what `take` returned."""
        self._free += amount
        while self._waiting and (self._waiting[0][1].cancelled() or self._waiting[0][0] <= self._free):
            amount, turn = self._waiting.popleft()
            if not turn.cancelled():
                self._free -= amount
                turn.set_result(None)
