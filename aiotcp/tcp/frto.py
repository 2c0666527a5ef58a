"""F-RTO: was that timeout for nothing? (RFC 5682)

After a timeout only the first segment is repeated. If acknowledgments then come for segments that
were not, these had been on their way all the time, and all the others are, too.
"""

from __future__ import annotations

import enum  # noqa: F401 (compiled, what derives from Words derives from this)
from typing import Final

from aiotcp.mypyc import mypyc_attr
from aiotcp.words import Words


class Step(Words):
    """Where the algorithm stands, in RFC 5682 2.1's and 3.1's numbering."""

    OFF = "off"
    REPEATED = "repeated"
    """Step 1 is done: the first segment is under way again."""
    SENDING_NEW = "sending_new"
    """Step 2b: up to two new segments may be sent, and nothing is repeated."""


# Looked up once: a member of an enumeration costs as much as a call.
_OFF: Final = Step.OFF
_REPEATED: Final = Step.REPEATED
_SENDING_NEW: Final = Step.SENDING_NEW


@mypyc_attr(acyclic=True)
class Frto:
    """One timeout. `step` tells what may be sent."""

    __slots__ = ("_recovery_point", "step")

    def __init__(self) -> None:
        self.step = _OFF
        self._recovery_point = 0

    @property
    def holds_back(self) -> bool:
        """Nothing but the first segment is to be repeated yet."""
        return self.step is not _OFF

    def sends_nothing(self, snd_nxt: int) -> bool:
        """Step 2b's "not able to transmit any previously unsent data"."""
        return self.step is _SENDING_NEW and snd_nxt <= self._recovery_point

    def begin(self) -> None:
        """The timer expired while no loss was being repaired."""
        self.step = _REPEATED

    def on_ack(
        self, *, snd_una: int, snd_nxt: int, advanced: bool, reached: int | None, sack: bool
    ) -> bool:
        """An acknowledgment up to `snd_una`; `reached` is one above the highest byte that it tells
        of for the first time, `sack` whether the peer could have told of bytes beyond a hole.
        True: the timeout was spurious."""
        if self.step is _REPEATED:
            if advanced:
                self._recovery_point = snd_nxt
                self.step = _SENDING_NEW if snd_una < snd_nxt else _OFF
            elif not sack:  # 2.1 step 2a: a duplicate; 3.1 step 2 waits on
                self.step = _OFF
            return False
        if self.step is _SENDING_NEW:
            self.step = _OFF
            # 3.1 step 3b: it "does not cover more than "RecoveryPoint" AND it acknowledges data
            # that was not acknowledged earlier".
            return reached is not None and reached <= self._recovery_point
        return False


NO_TIMEOUT: Final = Frto()
"""What most connections have for all their life, and what takes the place of another one when the
usual recovery goes on: there is no new data to send, or the timer expired again. Nothing but
`begin` would change it."""
