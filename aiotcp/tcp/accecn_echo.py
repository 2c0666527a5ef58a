"""Accurate ECN, the receiver's half (RFC 9768 3.2): what arrived, and how that is told.

Each segment carries the number of marked packets that arrived, modulo 8, in three flags (the ACE
field), and now and then an option with counters of bytes. Their names are the RFC's: `r.cep` is
`received_cep`, and so on.
"""

from __future__ import annotations

from typing import Final

from aiotcp.tcp.ecn import (
    ACE_SHIFT,
    CE,
    ECT_0,
    ECT_1,
    FIRST_BYTES,
    FIRST_CEP,
    HANDSHAKE_ACE,
    Reaction,
)

_OPTION_0: Final = 172
_OPTION_1: Final = 174
_MOST_DUPLICATES: Final = 3


class AceEcho(Reaction):
    """The counters of a receiver, and the words for them."""

    __slots__ = (
        "_beacons",
        "_duplicates",
        "_last_was_ce",
        "_offered",
        "_sends_options",
        "_told",
        "_unreported",
        "ack_apart",
        "handshake",
        "one_by_one",
        "received_ce_bytes",
        "received_cep",
        "received_e0_bytes",
        "received_e1_bytes",
    )

    def __init__(self, iss: int, *, ect: bool, options: bool) -> None:
        """`options`: whether options of this kind have got through so far, as far as is known."""
        super().__init__(iss, ect=ect)
        self.received_cep = FIRST_CEP
        self.received_ce_bytes = 0
        self.received_e0_bytes = self.received_e1_bytes = FIRST_BYTES
        self.handshake: int | None = None
        """What the next segment carries in place of the counter if it is a pure acknowledgment."""
        self.ack_apart = False
        """It has to be a pure one, whatever there is to send (3.2.2.1)."""
        self.one_by_one = False
        """No frame of many segments: the link that cuts one takes CWR off all but the first."""
        self._last_was_ce = False
        self._unreported = 0
        self._sends_options = options
        self._beacons = 0
        self._told = self._counters
        self._offered: tuple[int, int, int] | None = None
        self._duplicates = 0

    def _answer_handshake(self, codepoint: int, beacons: int) -> None:
        """A SYN+ACK was marked so. `beacons`: options to send whatever there is to tell."""
        self.handshake = HANDSHAKE_ACE[codepoint]
        self.ack_apart = True
        self._beacons = beacons
        if codepoint == CE and self.received_cep == FIRST_CEP:
            self._count_ce(1)  # "no more than once no matter how many"

    def handshake_again(self, codepoint: int) -> None:
        """The SYN+ACK came once more: our answer was lost, and our option may be the reason."""
        self._sends_options = False
        self._answer_handshake(codepoint, 0)

    @property
    def _counters(self) -> tuple[int, int, int]:
        return self.received_e0_bytes, self.received_ce_bytes, self.received_e1_bytes

    def _count_ce(self, packets: int) -> None:
        self.received_cep += packets
        self.one_by_one = bool(self.received_cep & 2)

    def received(
        self, codepoint: int, flags: int, length: int, segments: int, unacked: bool
    ) -> bool:
        """An acceptable segment of `length` bytes of data, or `segments` of them in one.
        True: acknowledge at once (3.2.2.5.1)."""
        at_once = False
        if codepoint == CE:
            self._count_ce(segments)
            self._unreported += segments
            at_once = self._unreported >= (2 if unacked else 3)
            if length and not self._last_was_ce:
                at_once = True
        self._last_was_ce = codepoint == CE
        if length:
            self._duplicates = 0
            if codepoint == CE:
                self.received_ce_bytes += length
            elif codepoint == ECT_0:
                self.received_e0_bytes += length
            elif codepoint == ECT_1:
                self.received_e1_bytes += length
        return at_once

    def duplicate(self) -> None:
        """Data arrived again. If that goes on, our acknowledgments do not get through, and what is
        odd about them is the option (3.2.3.2.2)."""
        self._duplicates += 1
        if self._duplicates >= _MOST_DUPLICATES:
            self._sends_options = False

    def stamp(self, pure: bool, new: bool) -> int:
        """The ACE field of a segment that leaves now, as flags; `pure`: without data or SACK."""
        self._unreported = 0
        if self._offered is not None:
            self._told, self._offered = self._offered, None
            self._beacons = max(self._beacons - 1, 0)
        ace = self.received_cep & 7
        if self.handshake is not None:
            if pure:
                ace = self.handshake
            self.handshake = None
            self.ack_apart = False
        return ace << ACE_SHIFT

    def option(self, room: int) -> tuple[int, tuple[int, ...]] | None:
        """Kind and fields of the option for the next segment, padded to at most `room` bytes; None
        for none: 3.2.3.3, "on every scheduled ACK if any byte counter has incremented", and "a
        field for every byte counter that has changed at some time"."""
        counters = self._counters
        if not self._sends_options or not (self._beacons or counters != self._told):
            return None
        e0b, ceb, e1b = counters
        kind, fields = _OPTION_0, (e0b, ceb, e1b)
        if e0b == FIRST_BYTES != e1b:
            kind, fields = _OPTION_1, (e1b, ceb, e0b)
        changed_ever = fields[0] != FIRST_BYTES, ceb > 0, fields[2] != FIRST_BYTES
        needed = 3 if self._beacons else 3 - changed_ever[::-1].index(True)
        fits = ((room & ~3) - 2) // 3
        if fits < needed:
            # "the counter(s) that have changed since the previous [...] Option are not omitted"
            told = self._told if kind == _OPTION_0 else self._told[::-1]
            changed = [at for at in range(3) if fields[at] != told[at]]
            if fits < 1 or (changed and changed[-1] >= fits):
                return None
            needed = fits
        self._offered = counters
        return kind, fields[:needed]

    def timed_out(self, snd_nxt: int) -> None:
        """As `Reaction.timed_out`; and it may be the option that the path does not let pass."""
        if not self._tried:
            self._sends_options = False
        super().timed_out(snd_nxt)
