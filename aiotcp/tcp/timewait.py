"""TIME-WAIT, as a small record (RFC 9293 3.4.2, 3.6.1; RFC 1337; RFC 6191).

It waits 2MSL for what may still be under way: a repeated FIN is acknowledged again, old segments
die here instead of in a new connection.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from math import floor
from typing import TYPE_CHECKING, Final

from aiotcp.reasons import Drop, Why
from aiotcp.tcp.seq import MASK, unwrap
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import ACK, FIN, RST, SYN, HeaderTemplate, Segment, pack_options

if TYPE_CHECKING:
    from aiotcp.tcp.connection import Connection

_REPLY_INTERVAL_S: Final = 0.5
_numbers: Final = struct.Struct("!III")
_pack_numbers: Final = _numbers.pack
_unpack_numbers: Final = _numbers.unpack
_LONG_AGO: Final = -math.inf  # one object, as there may be many records


class TimeWait:
    """What is left of a connection that closed first."""

    __slots__ = (
        "_numbers",
        "deadline",
        "due",
        "ended",
        "flow",
        "offload",
        "options",
        "replied_at",
        "restarted",
        "stale_places",
        "touched",
        "ts_recent",
        "window",
    )

    def __init__(self, conn: Connection, now: float) -> None:
        self.flow = conn.flow
        self.offload = conn.path.offload
        self.options = conn.options
        # As the wire has them, and in one object: there may be very many records.
        self._numbers = _pack_numbers(
            conn.snd_nxt & MASK, conn.rcv_nxt & MASK, conn.ts_offset & MASK
        )
        self.offer(conn)
        self.ts_recent = conn.ts_recent if conn.ts_enabled else None
        """The last timestamp of the peer; None without timestamps."""
        self.deadline = now + conn.options.time_wait_s
        self.due: Why | None = None
        self.replied_at = _LONG_AGO
        self.ended = False
        self.touched = False
        # The owner's marks: `deadline` has moved, and how often it was moved in the owner's queue.
        self.restarted = False
        self.stale_places = 0

    @property
    def snd_nxt(self) -> int:
        """Modulo 2**32, as `rcv_nxt`."""
        number: int = _unpack_numbers(self._numbers)[0]
        return number

    @property
    def rcv_nxt(self) -> int:
        number: int = _unpack_numbers(self._numbers)[1]
        return number

    def offer(self, conn: Connection) -> None:
        """The window as the last words of `conn` told it, rounded up, so as not to shrink it
        (SHLD-14). To be called again if they leave after the record was made."""
        offered = conn.rcv_adv - conn.rcv_nxt
        window = -(-offered >> conn.rcv_wscale) if offered > 0 else 0
        self.window = window if window < 0xFFFF else 0xFFFF

    def accepts(self, segment: Segment) -> bool:
        """Whether a SYN may open a new connection now: RFC 6191 2, MAY-2.

        With timestamps in both incarnations a later one; otherwise a sequence number beyond the
        last. Only if the old one had none are new ones enough.
        """
        if segment.flags & (SYN | ACK | RST) != SYN:
            return False
        # "The sequence number corresponding to the FIN flag" is the last one seen.
        later = unwrap(segment.seq, self.rcv_nxt) >= self.rcv_nxt
        if segment.tsval is None or not self.options.timestamps:
            # A connection that had timestamps must not be followed on sequence numbers of a
            # peer that has stopped sending them unless those are beyond the old ones.
            return later
        if self.ts_recent is None:
            return True
        tsval = unwrap(segment.tsval, self.ts_recent)
        return tsval > self.ts_recent or (tsval == self.ts_recent and later)

    def arrive(self, segment: Segment, now: float) -> Drop | None:
        """RFC 9293 3.10.7.4 for TIME-WAIT. A SYN was offered to `accepts` before."""
        flags = segment.flags
        if flags & RST:
            return Drop.TIME_WAIT_RST  # RFC 1337 3, fix F1
        if flags & SYN:
            self._reply(Why.CHALLENGE_ACK, now)
            return Drop.TIME_WAIT_SYN
        seq = unwrap(segment.seq, self.rcv_nxt)
        if flags & FIN and seq + segment.length == self.rcv_nxt:
            # ST-18: "acknowledge it, and restart the 2 MSL timeout"
            self.deadline = now + self.options.time_wait_s
            self.restarted = True
            self.due = Why.ACK_TIME_WAIT
            return Drop.TIME_WAIT_FIN
        if not flags & ACK:
            return Drop.NO_ACK  # ST-13
        ack = unwrap(segment.ack, self.snd_nxt)
        if segment.length or seq != self.rcv_nxt or ack != self.snd_nxt:
            self._reply(Why.ACK_TIME_WAIT, now)
        return Drop.TIME_WAIT_OLD

    def _reply(self, why: Why, now: float) -> None:
        """Answer, but not so often that two such ends could keep each other busy."""
        if now - self.replied_at >= _REPLY_INTERVAL_S:
            self.replied_at = now
            self.due = why

    def output(
        self, now: float, template: HeaderTemplate, transmit: Callable[[Frame], None]
    ) -> None:
        why, self.due = self.due, None
        if why is None:
            return
        options = b""
        if self.ts_recent is not None:
            offset = _unpack_numbers(self._numbers)[2]
            options = pack_options(timestamps=(floor(now * 1000) + offset, self.ts_recent))
        transmit(
            template.frame(
                self.snd_nxt,
                self.rcv_nxt,
                ACK,
                self.window,
                options=options,
                offload=self.offload,
                reason=why,
            )
        )
