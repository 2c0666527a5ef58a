"""SYN-RECEIVED of a passive open, as a small record (RFC 9293 3.10.7.4, RFC 4987 3).

Strangers make these by one packet each, so one is no connection: it holds what the SYN said and
what we answered. The segment that completes the handshake turns it into a `Connection`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from math import floor
from typing import TYPE_CHECKING, Final

from aiotcp.reasons import Drop, Why
from aiotcp.tcp import ecn_setup
from aiotcp.tcp.opening import Offer, syn_options
from aiotcp.tcp.seq import unwrap
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import ACK, RST, SYN, HeaderTemplate, Segment, pack_options

if TYPE_CHECKING:
    from aiotcp.options import Options
    from aiotcp.tcp.listener import Listener
    from aiotcp.tcp.tcb import Path
    from aiotcp.tcp.terms import Terms

_REPLY_INTERVAL_S: Final = 0.5
_NEVER: Final = math.inf
_LONG_AGO: Final = -math.inf  # one object, as there may be many records
_OPEN_REPLY: Final = Why.OPEN_REPLY


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
        "repeated",
        "replied_at",
        "resets",
        "retransmissions",
        "sent_at",
        "template",
        "terms",
        "touched",
        "ts_offset",
        "usual",
    )

    def __init__(
        self,
        listener: Listener,
        terms: Terms,
        flow: bytes,
        offer: Offer,
        irs: int,
        iss: int,
        ts_offset: int,
    ) -> None:
        self.listener = listener
        self.terms = terms
        """As the SYN+ACK tells them: the listener's may change before it is answered."""
        self.flow = flow
        self.offer = offer
        self.irs = irs
        self.iss = iss
        self.ts_offset = ts_offset
        self.template: HeaderTemplate | None = None
        """What its headers have in common, and the connection's: the owner makes it."""
        self.sent_at = _LONG_AGO
        """When the SYN+ACK left; so it stays if the entry was made of a cookie."""
        self.deadline = _NEVER
        self.retransmissions = 0
        """By the timer, and so counted against the limit."""
        self.repeated = False
        """The SYN+ACK left more than once, for whatever reason: its round trip is ambiguous."""
        self.usual = False
        """The SYN+ACK has the options that `HeaderTemplate.usual_syn_ack` knows."""
        self.due: Why | None = _OPEN_REPLY
        """What the next output sends: the SYN+ACK, or a challenge ACK."""
        self.replied_at = _LONG_AGO
        self.resets: tuple[int, ...] = ()
        self.ended = False
        self.armed_at = _NEVER
        self.touched = False

    @property
    def options(self) -> Options:
        return self.terms.options

    @property
    def path(self) -> Path:
        return self.terms.path

    def arrive(self, segment: Segment, now: float) -> Drop | None:
        """RFC 9293 3.10.7.4 for SYN-RECEIVED; a complete handshake goes to `listener.promote`."""
        flags = segment.flags
        seq = unwrap(segment.seq, self.irs)
        if flags & (SYN | ACK | RST) == SYN and seq == self.irs:
            ecn = ecn_setup.again(self.offer.ecn, segment, self.options.ecn)
            if ecn is None:
                self.resets = (self.iss + 1,)
                self.end()
                return Drop.HALF_OPEN_SYN
            if ecn != self.offer.ecn:
                self.offer.ecn = ecn
            if segment.fast_open is None and self.offer.cookie:
                self.offer.cookie = b""
            self._repeat()  # our SYN+ACK was lost
            return Drop.HALF_OPEN_SYN_AGAIN
        if self.offer.tsval is not None and not flags & (RST | SYN):
            # RFC 7323 5.3 R1
            if segment.tsval is None:
                return Drop.NO_TIMESTAMP
            if unwrap(segment.tsval, self.offer.tsval) < self.offer.tsval:
                self._reply(Why.ACK_PAWS, now)
                return Drop.PAWS
        rcv_nxt = self.irs + 1
        if seq >= rcv_nxt + self.terms.window or (
            seq < rcv_nxt and seq + segment.length <= rcv_nxt
        ):
            if flags & RST:
                return Drop.RST_OUT_OF_WINDOW
            if flags & SYN:
                self._reply(Why.CHALLENGE_ACK, now)
                return Drop.SYN_CHALLENGED
            self._reply(Why.ACK_UNACCEPTABLE, now)
            return Drop.OUT_OF_WINDOW
        if flags & RST:
            if seq != rcv_nxt:  # RFC 5961 3.2
                self._reply(Why.CHALLENGE_ACK, now)
                return Drop.RST_CHALLENGED
            # ST-10: "If this connection was initiated with a passive OPEN [...] then return
            # this connection to the LISTEN state [...] The user need not be informed."
            self.end()
            return Drop.HALF_OPEN_RST
        if flags & SYN:
            # "If the connection was initiated with a passive OPEN, then return this connection
            # to the LISTEN state and return": the peer began anew, and its SYN will come again.
            self.end()
            return Drop.HALF_OPEN_SYN
        if not flags & ACK:
            return Drop.HALF_OPEN_NO_ACK
        if unwrap(segment.ack, self.iss) != self.iss + 1:
            self.resets = (segment.ack,)  # ST-12
            return Drop.HALF_OPEN_BAD_ACK
        return self.listener.promote(self, segment, now)

    def _repeat(self) -> None:
        """Send the SYN+ACK again, unless the first one is yet to leave."""
        if self.due is not _OPEN_REPLY:
            self.repeated = True
            self.due = Why.OPEN_REPLY_RETRANSMIT

    def _reply(self, why: Why, now: float) -> None:
        """Answer, but seldom enough to be of no use to who forges segments (RFC 5961 7)."""
        if self.due is None and now - self.replied_at >= _REPLY_INTERVAL_S:
            self.replied_at = now
            self.due = why

    def output(
        self, now: float, template: HeaderTemplate, transmit: Callable[[Frame], None]
    ) -> None:
        """Send what is due."""
        terms = self.terms
        path = terms.path
        if self.resets:
            for seq in self.resets:
                frame = template.frame(seq, 0, RST, 0, offload=path.offload, reason=Why.RST_BAD_ACK)
                transmit(frame)
            self.resets = ()
        why, self.due = self.due, None
        if why is None or self.ended:
            return
        options = terms.options
        offer = self.offer
        tsval = floor(now * 1000) + self.ts_offset
        if why is _OPEN_REPLY:
            self.sent_at = now
            self.deadline = now + options.rto_initial_s
            if self.usual and offer.tsval is not None and not offer.ecn:
                transmit(
                    template.usual_syn_ack(
                        self.iss,
                        self.irs + 1,
                        terms.window,
                        terms.mss,
                        terms.wscale,
                        tsval,
                        offer.tsval,
                        path.offload,
                        _OPEN_REPLY,
                    )
                )
                return
        ts = (tsval, offer.tsval or 0)
        window = terms.window
        if why in (Why.OPEN_REPLY, Why.OPEN_REPLY_RETRANSMIT):
            seq, flags = self.iss, SYN | ACK | ecn_setup.synack_flags(offer.ecn)
            header_options = syn_options(path, options, ts, offer)
        else:
            seq, flags = self.iss + 1, ACK | ecn_setup.ack_flags(offer.ecn)
            if offer.wscale is not None:
                # Only windows of SYNs are not scaled; rounded up, so as not to shrink (SHLD-14).
                window = -(-window >> terms.wscale)
            header_options = pack_options(timestamps=ts if offer.tsval is not None else None)
        transmit(
            template.frame(
                seq,
                self.irs + 1,
                flags,
                window,
                options=header_options,
                offload=path.offload,
                reason=why,
            )
        )

    def next_deadline(self) -> float:
        return math.inf if self.ended else self.deadline

    def expire(self, now: float) -> None:
        """The SYN+ACK is repeated with back-off, and a few times only (RFC 4987 3.3)."""
        if self.ended or now < self.deadline:
            return
        if self.listener.closed:
            self.end()
            return
        options = self.options
        self.retransmissions += 1
        if self.retransmissions > options.synack_retries:
            self.end()
            return
        if self.offer.cookie:  # RFC 7413 4.2.1
            self.offer.cookie = b""
        if self.offer.ecn:
            ecn = ecn_setup.after_timeout(self.offer.ecn, self.retransmissions)
            self.offer.ecn = ecn
        wait = options.rto_initial_s * (1 << self.retransmissions)
        self.deadline = now + min(wait, options.rto_max_s)
        self._repeat()

    def end(self) -> None:
        """The handshake is complete or was given up; the backlog has room again."""
        if not self.ended:
            self.ended = True
            self.listener.half_open -= 1
