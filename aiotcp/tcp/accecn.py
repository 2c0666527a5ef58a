"""Accurate ECN feedback of one connection (RFC 9768): the sender's half, on top of the receiver's.

What the other side's counters are known to be, the RFC's `s.cep` and so on, less their initial
values, is `delivered_…` here.
"""

from __future__ import annotations

from typing import Final

from aiotcp.tcp.accecn_echo import AceEcho
from aiotcp.tcp.ecn import ACE_SHIFT, CE, FIRST_BYTES, FIRST_CEP, HANDSHAKE_ACE, OptionFields

_COMPRESSED: Final = 4.0
"""Packets that an acknowledgment covers on average: from here on many are the rule."""


class AccurateEcn(AceEcho):
    """RFC 9768: counters of marks there and back."""

    __slots__ = (
        "_average",
        "_first_option",
        "_reads_options",
        "_third_ack",
        "delivered_ce",
        "delivered_ce_bytes",
        "delivered_e0_bytes",
        "delivered_e1_bytes",
    )

    accurate = True

    def __init__(self, iss: int, *, ect: bool, options: bool) -> None:
        """Of a server, whose SYN+ACK is to be answered; `answered` makes it one of a client."""
        super().__init__(iss, ect=ect, options=options)
        self.delivered_ce = self.delivered_ce_bytes = 0
        self.delivered_e0_bytes = self.delivered_e1_bytes = 0
        self._third_ack = True
        self._reads_options = True
        self._first_option = True
        self._average = 0.0

    def answered(self, codepoint: int, option: OptionFields | None) -> None:
        """The SYN+ACK that agreed has arrived: what it was marked with, what option it had."""
        self._third_ack = False
        self._read_option(option)
        # "in the first ACK [...] also [...] on the first data segment it sends" (3.2.3.2.1)
        self._answer_handshake(codepoint, 2)

    def acknowledged(
        self,
        ack: int,
        flags: int,
        acked: int,
        *,
        newer: bool,
        pure: bool,
        mss: int,
        option: OptionFields | None,
    ) -> bool:
        """An acceptable acknowledgment up to `ack`, of `acked` new bytes: whether to reduce the
        window now. `newer`: it was surely sent after those before it (3.2.2.2)."""
        ace = flags >> ACE_SHIFT & 7
        if self._third_ack:
            self._third_ack = False
            self._read_option(option)
            if pure:
                return self._understand_handshake(ack, ace)
        if not newer:
            self.marked = False
            return False
        marks = (ace - FIRST_CEP - self.delivered_ce) & 7
        marked_bytes = self._read_option(option)
        packets = -(-acked // mss)
        self._average = self._average or packets
        if packets > 7:
            marks = self._safest(marks, packets, marked_bytes, mss)
        elif marked_bytes and not marks:
            self.ect = False  # 3.2.3.2.5: counters at odds, "some form of feedback mangling"
        self._average += (packets - self._average) / 8 if packets else 0
        self.delivered_ce += marks
        return self.react(ack, marks > 0, acked)

    def _understand_handshake(self, ack: int, ace: int) -> bool:
        """Table 4: the answer to our SYN+ACK, which was not ECN-capable."""
        if ace == 0:
            self.ect = self.believes = False
        elif ace in HANDSHAKE_ACE[1:]:
            self.ect = False  # 3.2.2.3: "the Not-ECT codepoint changes"
        if ace != HANDSHAKE_ACE[CE]:
            return False
        self.delivered_ce += 1
        return self.react(ack, True, 0)

    def _safest(self, marks: int, packets: int, marked_bytes: int | None, mss: int) -> int:
        """The counter may have gone round (3.2.2.5.2, appendix A.2).

        Not where acknowledgments of many packets are the rule, which would make it all look like
        marks: a receiver with offload, or a path that thins them out."""
        safest = packets - ((packets - marks) & 7)
        if safest <= marks:
            return marks
        if marked_bytes is not None:
            if marked_bytes <= mss * marks and marked_bytes * 2 < mss * safest:
                return marks
            return safest
        return marks if self._average > _COMPRESSED else safest

    def _read_option(self, option: OptionFields | None) -> int | None:
        """How many more bytes were marked; None if nothing says so. A field that is left out has
        not changed."""
        if option is None or not self._reads_options:
            return None
        e0b, ceb, e1b = option
        if self._first_option:
            self._first_option = False
            if e0b == 0 or e1b == 0:  # 3.2.3.2.4: somebody has zeroed it
                self._reads_options = False
                return None
        if e0b is not None:
            self.delivered_e0_bytes += (e0b - FIRST_BYTES - self.delivered_e0_bytes) & 0xFFFFFF
        if e1b is not None:
            self.delivered_e1_bytes += (e1b - FIRST_BYTES - self.delivered_e1_bytes) & 0xFFFFFF
        if ceb is None:
            return 0
        marked = (ceb - self.delivered_ce_bytes) & 0xFFFFFF
        self.delivered_ce_bytes += marked
        return marked
