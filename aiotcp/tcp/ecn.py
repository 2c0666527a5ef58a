"""Explicit congestion notification of one connection, as RFC 3168 has it: both roles.

The network marks packets (CE) instead of dropping them; the receiver says so in each of its
segments (ECE) until the sender tells that it has slowed down (CWR).

`accecn.AccurateEcn` is the other form (RFC 9768); the connection uses either by the same names and
does not care which it is. Codepoints, flags and numbers in, flags and decisions out.
"""

from __future__ import annotations

from typing import Final, TypeAlias

NOT_ECT: Final = 0
ECT_1: Final = 1
ECT_0: Final = 2
CE: Final = 3
"""The codepoints of the IP header (RFC 3168 5)."""

FIRST_CEP: Final = 5
FIRST_BYTES: Final = 1
"""RFC 9768 3.2.1: "r.cep = 5, r.e0b = r.e1b = 1, and r.ceb = 0"."""

HANDSHAKE_ACE: Final = (0b010, 0b011, 0b100, 0b110)
"""How a SYN+ACK and the ACK of one say with which codepoint the other's arrived (tables 2, 3)."""

ACE_SHIFT: Final = 6
"""AE, CWR and ECE stand side by side in the header: they are the ACE field as they are."""

ECE: Final = 64
CWR: Final = 128

OptionFields: TypeAlias = tuple[int | None, int | None, int | None]
"""Of an AccECN option: EE0B, ECEB, EE1B; None where it leaves one out."""

SUSPICIOUS_ROUNDS: Final = 4
"""Marks in each of the first so many windows, and never a word without: that is no congestion."""


class Reaction:
    """When to slow down for marks, and when to stop believing in them. Both forms have it.

    Not more than once in a window of data, whether for marks or for loss (RFC 3168 6.1.2: "the TCP
    source should not react to congestion indications more than once every window of data").

    A path that marks every packet, or a peer that echoes marks without end, would hold the window
    at its least for ever. Where each of the first SUSPICIOUS_ROUNDS windows was marked, and no
    acknowledgment came without, packets are sent as not ECN-capable from then on and marks are not
    believed: RFC 9768 3.2.2.3 advises both; RFC 3168 has no defence, and this is as good for it.
    """

    __slots__ = ("_doubted", "_recover", "_rounds", "_tried", "believes", "ect", "marked")

    def __init__(self, iss: int, *, ect: bool) -> None:
        self.ect = ect
        """Whether new data is sent as ECT(0)."""
        self.believes = True
        """Whether marks are acted on."""
        self.marked = False
        """The last acknowledgment told of a mark."""
        self._recover = iss
        self._rounds = 0
        self._doubted = True
        self._tried = False

    def react(self, ack: int, marked: bool, acked: int) -> bool:
        """An acknowledgment up to `ack`, of `acked` new bytes: whether to reduce the window now.

        The caller does so, and calls `reduced`."""
        marked = marked and self.believes
        self.marked = marked
        if acked:
            self._tried = True
        if not marked:
            if acked:
                self._doubted = False
            return False
        if ack <= self._recover:
            return False
        if self._doubted:
            self._rounds += 1
            if self._rounds > SUSPICIOUS_ROUNDS:
                self.ect = self.believes = self.marked = False
                return False
        return True

    def reduced(self, snd_nxt: int) -> None:
        """The congestion window was reduced, for whatever reason, with data up to `snd_nxt` sent:
        what that brought about is answered, until more is acknowledged."""
        self._recover = snd_nxt

    def unreduced(self, snd_una: int) -> None:
        """The latest reduction was taken back: it answers nothing any more."""
        self._recover = min(self._recover, snd_una)

    def answered_up_to(self, snd_una: int) -> bool:
        """Whether the window was reduced for what is outstanding from `snd_una` on."""
        return snd_una < self._recover

    def timed_out(self, snd_nxt: int) -> None:
        """The retransmission timer expired, and the window was reduced. If no data ever came
        through, ECT may be what the path does not let pass: repetitions have none, and now what is
        new has none either."""
        if not self._tried:
            self.ect = False
        self.reduced(snd_nxt)


class ClassicEcn(Reaction):
    """RFC 3168: one bit of feedback, repeated until CWR answers it."""

    __slots__ = ("_cwr", "_echo")

    accurate = False
    one_by_one = False
    """Whether frames of many segments are out of the question: the link puts CWR on the first of
    them only (VIRTIO_NET_HDR_GSO_ECN), as RFC 3168 6.1.2 asks."""
    ack_apart = False

    def __init__(self, iss: int, *, ect: bool) -> None:
        super().__init__(iss, ect=ect)
        self._cwr = False
        self._echo = False

    # -- receiver (6.1.3) -------------------------------------------------------------------

    def received(self, codepoint: int, flags: int, length: int, segments: int, new: bool) -> bool:
        """An acceptable segment of `length` bytes of data. True: acknowledge it at once.

        Pure acknowledgments are not ECN-capable (6.1.4), so a mark on one means nothing here.
        """
        if not length:
            return False
        before = self._echo
        if flags & CWR:
            self._echo = False
        if codepoint == CE:
            self._echo = True
        # The sender waits for either word, and each costs it a round trip (as Linux does).
        return self._echo != before or bool(flags & CWR and before)

    def stamp(self, pure: bool, new: bool) -> int:
        """The flags of a segment that leaves now; `new`: with data that was never sent before,
        `pure`: with none at all."""
        flags = ECE if self._echo else 0
        if new and self._cwr:
            self._cwr = False
            flags |= CWR
        return flags

    def duplicate(self) -> None:
        """Data arrived again: means nothing here."""

    def option(self, room: int) -> tuple[int, tuple[int, ...]] | None:
        """There is none."""
        return None

    # -- sender (6.1.2) ---------------------------------------------------------------------

    def acknowledged(self, ack: int, flags: int, acked: int) -> bool:
        """An acceptable acknowledgment up to `ack`: whether to reduce the window now."""
        return self.react(ack, bool(flags & ECE), acked)

    def reduced(self, snd_nxt: int) -> None:
        """And CWR goes with "the first new data packet sent after the window reduction"."""
        super().reduced(snd_nxt)
        self._cwr = True
