"""SYN-RECEIVED of a passive open, as a small record (RFC 9293 3.10.7.4, RFC 4987 3).

Strangers make these by one packet each, so one is no connection: it holds what the SYN said and
what we answered. The segment that completes the handshake turns it into a `Connection`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiotcp.reasons import Drop, Why
from aiotcp.tcp.opening import Offer, syn_options, syn_window
from aiotcp.tcp.seq import unwrap
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import ACK, RST, SYN, HeaderTemplate, Segment, pack_options

if TYPE_CHECKING:
    from aiotcp.tcp.listener import Listener
    from aiotcp.tcp.tcb import Path


class HalfOpen:
    """A SYN that was answered. Numbers are unwrapped against each other, as in a connection."""

    __slots__ = (
        "armed_at",
        "deadline",
        "due",
        "ended",
        "flow",
        "irs",
        "iss",
        "listener",
        "offer",
        "path",
        "resets",
        "retransmissions",
        "sent_at",
        "touched",
        "ts_offset",
    )

    def __init__(
        self,
        listener: Listener,
        flow: bytes,
        path: Path,
        offer: Offer,
        *,
        irs: int,
        iss: int,
        ts_offset: int,
    ) -> None:
        self.listener = listener
        self.flow = flow
        self.path = path
        self.offer = offer
        self.irs = irs
        self.iss = iss
        self.ts_offset = ts_offset
        self.sent_at = -math.inf
        self.deadline = math.inf
        self.retransmissions = 0
        self.due: Why | None = Why.OPEN_REPLY
        """What the next output sends: the SYN+ACK, or a challenge ACK."""
        self.resets: list[int] = []
        self.ended = False
        self.armed_at = math.inf
        self.touched = False

    def arrive(self, segment: Segment, now: float) -> Drop | None:
        """RFC 9293 3.10.7.4 for SYN-RECEIVED; a complete handshake goes to `listener.promote`."""
        flags = segment.flags
        seq = unwrap(segment.seq, self.irs)
        rcv_nxt = self.irs + 1
        in_window = rcv_nxt <= seq < rcv_nxt + syn_window(self.listener.options)
        if flags & RST:
            # ST-10: "If this connection was initiated with a passive OPEN [...] then return
            # this connection to the LISTEN state [...] The user need not be informed."
            if seq == rcv_nxt:
                self._end()
                return Drop.HALF_OPEN_RST
            if in_window:
                self.due = Why.CHALLENGE_ACK
                return Drop.RST_CHALLENGED
            return Drop.RST_OUT_OF_WINDOW
        if flags & SYN:
            if seq == self.irs and not flags & ACK:
                self.due = Why.OPEN_REPLY_RETRANSMIT  # our SYN+ACK was lost
                return Drop.HALF_OPEN_SYN_AGAIN
            self.due = Why.CHALLENGE_ACK
            return Drop.SYN_CHALLENGED
        if not flags & ACK:
            return Drop.HALF_OPEN_NO_ACK
        if unwrap(segment.ack, self.iss) != self.iss + 1:
            self.resets = [segment.ack]  # ST-12
            return Drop.HALF_OPEN_BAD_ACK
        length = segment.length
        if not (in_window or rcv_nxt < seq + length <= rcv_nxt + length):
            self.due = Why.ACK_UNACCEPTABLE
            return Drop.OUT_OF_WINDOW
        if self.offer.tsval is not None:
            if segment.tsval is None:
                return Drop.NO_TIMESTAMP
            if unwrap(segment.tsval, self.offer.tsval) < self.offer.tsval:
                self.due = Why.ACK_PAWS
                return Drop.PAWS
        self._end()
        return self.listener.promote(self, segment, now)

    def output(
        self, now: float, template: HeaderTemplate, transmit: Callable[[Frame], None]
    ) -> None:
        """Send what is due."""
        offload = self.path.offload
        for seq in self.resets:
            transmit(template.frame(seq, 0, RST, 0, offload=offload, reason=Why.RST_BAD_ACK))
        self.resets = []
        why, self.due = self.due, None
        if why is None or self.ended:
            return
        options = self.listener.options
        ts = (int(now * 1000) + self.ts_offset, self.offer.tsval or 0)
        if why in (Why.OPEN_REPLY, Why.OPEN_REPLY_RETRANSMIT):
            seq, flags = self.iss, SYN | ACK
            header_options = syn_options(self.path, options, ts, self.offer)
        else:
            seq, flags = self.iss + 1, ACK
            header_options = pack_options(timestamps=ts if self.offer.tsval is not None else None)
        transmit(
            template.frame(
                seq,
                self.irs + 1,
                flags,
                syn_window(options),
                options=header_options,
                offload=offload,
                reason=why,
            )
        )
        if why is Why.OPEN_REPLY:
            self.sent_at = now
            self.deadline = now + options.rto_initial_s

    def next_deadline(self) -> float:
        return math.inf if self.ended else self.deadline

    def expire(self, now: float) -> None:
        """The SYN+ACK is repeated with back-off, and a few times only (RFC 4987 3.3)."""
        if self.ended or now < self.deadline:
            return
        options = self.listener.options
        self.retransmissions += 1
        if self.retransmissions > options.synack_retries:
            self._end()
            return
        wait = options.rto_initial_s * (1 << self.retransmissions)
        self.deadline = now + min(wait, options.rto_max_s)
        self.due = Why.OPEN_REPLY_RETRANSMIT

    def _end(self) -> None:
        self.ended = True
        self.listener.half_open -= 1
