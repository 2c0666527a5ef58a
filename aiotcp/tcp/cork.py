"""TCP_CORK: a segment that is not full waits for more, but not for ever (tcp(7))."""

from __future__ import annotations

import math
from typing import Final

CEILING_S: Final = 0.2
""" "There is a 200 millisecond ceiling on the time for which output is corked by TCP_CORK." """


class Cork:
    """While it is there, pieces smaller than a segment are held back. Times in seconds."""

    __slots__ = ("_released", "deadline")

    def __init__(self) -> None:
        self.deadline = math.inf
        """When the piece that is held goes out as it is; infinity if none is held."""
        self._released = False

    def holds(self, now: float) -> bool:
        """Whether a piece stays. The ceiling counts from the first time that one does."""
        if self._released:
            return False
        if self.deadline == math.inf:
            self.deadline = now + CEILING_S
        return now < self.deadline

    def on_timer(self, now: float) -> None:
        if now >= self.deadline:
            self.flush()

    def flush(self) -> None:
        """What is held goes as soon as the peer's window allows; the cork stays."""
        if self.deadline != math.inf:
            self.deadline = math.inf
            self._released = True

    def emptied(self) -> None:
        """Everything has gone."""
        self.deadline = math.inf
        self._released = False
