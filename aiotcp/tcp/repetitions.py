"""What was sent again, and what of it the peer has told it got twice (RFC 2883, RFC 4015).

Sequence numbers in. Networks duplicate packets, too: only a D-SACK of what was repeated says that
the repetition was for nothing.
"""

from __future__ import annotations

from typing import Final

from aiotcp.mypyc import mypyc_attr

_REMEMBERED: Final = 256
"""Repetitions: with more than so many in one repair, it is not taken back."""


@mypyc_attr(acyclic=True)
class Repetitions:
    """The latest repetitions, by the repair (one recovery, or one timeout) that they belong to."""

    __slots__ = ("_fresh", "_open", "_ranges", "_repair", "_spoiled")

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int, int]] = []  # start, end, repair
        self._repair = 0
        self._open = 0  # how many of the latest repair were not reported as duplicates
        self._spoiled = True  # nothing is to be concluded
        self._fresh = False  # nothing was repeated yet

    def begin(self) -> None:
        """A repair begins."""
        self._repair += 1
        self._open = 0
        self._spoiled = self._fresh = True

    def repeated(self, start: int, end: int) -> bool:
        """[start, end) was sent again. True: the first of its repair."""
        first = self._fresh
        if first:
            self._fresh = self._spoiled = False
        self._ranges.append((start, end, self._repair))
        self._open += 1
        self._forget()
        return first

    def _forget(self) -> None:
        while len(self._ranges) > _REMEMBERED:
            if self._ranges.pop(0)[2] == self._repair:
                self._spoiled = True

    def got_twice(self, left: int, right: int) -> bool:
        """A D-SACK of [left, right): whether it is of anything that was repeated."""
        kept: list[tuple[int, int, int]] = []
        found = False
        for start, end, repair in self._ranges:
            if start < right and left < end:
                found = True
                # What lies beyond the block remains to be reported.
                pieces = [(start, min(end, left)), (max(start, right), end)]
                pieces = [piece for piece in pieces if piece[0] < piece[1]]
                kept += [(*piece, repair) for piece in pieces]
                if repair == self._repair:
                    self._open += len(pieces) - 1
            else:
                kept.append((start, end, repair))
        if found:
            self._ranges = kept
            self._forget()  # reports of little pieces make more of them
        return found

    @property
    def all_for_nothing(self) -> bool:
        """Everything that the latest repair has repeated had arrived before."""
        return not self._open and not self._spoiled

    def settle(self) -> None:
        """The latest repair was taken back: that happens once."""
        self._open = 0
        self._spoiled = True


NOTHING_REPEATED: Final = Repetitions()
"""What most connections have for all their life. It is nobody's: none but `begin` and `repeated`
would change it."""
