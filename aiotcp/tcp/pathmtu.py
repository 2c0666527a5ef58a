"""Path MTU discovery of a connection: reports, silence and probes (RFC 1191, 8201, 5927, 4821).

What is known and searched is `plpmtud.PathMtu`. Here it meets the connection: which packets in
flight prove a size, whether a router's report is believed and when, and what a new size means for
data that is under way. `Connection.mtu_mark` and `mtu_at` keep all of this off the usual path: an
acknowledgment below the one, and data before the other, need no look at any of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from aiotcp.reasons import Drop, Why
from aiotcp.tcp import mtuprobe
from aiotcp.tcp.plpmtud import PathMtu
from aiotcp.tcp.pmtucache import Known

if TYPE_CHECKING:
    from aiotcp.tcp.connection import Connection
    from aiotcp.tcp.tcb import Tcb

_TIMESTAMP_OPTION_BYTES: Final = 12
_LEAST_IPV4: Final = 552
"""Lower values are attacks or errors: RFC 1191 7 and the kernel's own floor."""
_LEAST_IPV6: Final = 1280
_PLATEAUS: Final = (32000, 17914, 8166, 4352, 2002, 1492, 1006, 508)
"""RFC 1191 7.1, for routers that do not tell their MTU."""


class Discovery(PathMtu):
    """A connection's estimate, and the packets that it waits for."""

    __slots__ = (
        "destination",
        "headers",
        "pending",
        "pending_seq",
        "probe_end",
        "probe_start",
        "proof_end",
        "proof_size",
        "seen",
    )

    def __init__(self, conn: Tcb, known: Known | None = None) -> None:
        """`known`: what other connections have found out."""
        options, path = conn.options, conn.path
        self.destination = _destination(conn)
        probes = options.mtu_probing == "on"
        if known is not None and known.searching:
            probes = options.mtu_probing != "off"
        ceiling = min(path.mtu, conn.peer_mss + path.ip_header + 20)
        super().__init__(
            ceiling=ceiling,
            floor=min(_LEAST_IPV4 if path.ip_header == 20 else _LEAST_IPV6, ceiling),
            base=options.base_mtu,
            known=known.mtu if known else None,
            searching=probes,
        )
        if known is not None and not self.searching and self.mtu < ceiling:
            self.raise_at = known.until
        self.headers = _headers(conn)
        """What a full segment has besides its payload."""
        self.seen = 0
        """`PathMtuCache.changes` when it was last asked."""
        self.proof_end = self.probe_end = math.inf
        self.proof_size = 0
        """The packet that ends at `proof_end` is so large."""
        self.probe_start: float = math.inf
        self.pending = 0
        """RFC 5927 7.2: an MTU that was reported and is not believed yet; 0 without."""
        self.pending_seq: float = math.inf

    @property
    def mark(self) -> float:
        """No acknowledgment of less has anything to tell here."""
        return min(self.proof_end, self.probe_end, self.pending_seq + 1)

    def attend_at(self) -> float:
        """When new data has anything to do here: to prove a size, to probe, or to begin to."""
        if self.probing:
            return math.inf
        if self.searching:
            return self.ready_at
        return -math.inf if self.acked < self.mtu else self.raise_at


def _destination(conn: Tcb) -> bytes:
    return conn.flow[: 4 if conn.path.ip_header == 20 else 16]


def _headers(conn: Tcb) -> int:
    return conn.path.ip_header + 20 + (_TIMESTAMP_OPTION_BYTES if conn.ts_enabled else 0)


def begin(conn: Tcb, now: float) -> int:
    """The handshake told both sides' MSS: payload bytes of a full segment (MUST-16).

    Where nothing else is known, there is nothing to keep before a full-sized segment leaves."""
    conn.mtu_mark = math.inf
    known = conn.paths.find(_destination(conn), now) if conn.paths.changes else None
    if known is None and conn.options.mtu_probing != "on":
        conn.mtu_at = -math.inf
        path, mss = conn.path, conn.peer_mss
        if path.mss < mss:
            mss = path.mss
        return mss - _TIMESTAMP_OPTION_BYTES if conn.ts_enabled else mss
    conn.pmtu = found = Discovery(conn, known)
    found.seen = conn.paths.changes
    conn.mtu_at = found.attend_at()
    return found.mtu - found.headers


# -- reports ----------------------------------------------------------------------------------


def on_packet_too_big(conn: Connection, seq: int, mtu: int, now: float) -> Drop | None:
    """A router reports the next hop's MTU about the segment at `seq`: RFC 1191 6.4, RFC 8201 4,
    with the counter-measure of RFC 5927 7.2.

    Believed at once is only what no packet has disproved: an MTU not below `acked` ("Initial
    Path-MTU Discovery"). Anything less waits until the segment was acknowledged, which refutes it,
    or has timed out, which confirms it ("Path-MTU Update", MAXSEGRTO 1).
    """
    if conn.snd_una == conn.iss:
        return Drop.ICMP_MTU  # a SYN is smaller than any MTU that may be reported
    found = conn.pmtu  # not before both SYNs are known
    if conn.path.ip_header == 20:
        if mtu == 0:
            mtu = next((size for size in _PLATEAUS if size < found.mtu), 0)
        mtu = max(mtu, _LEAST_IPV4)
    elif mtu < _LEAST_IPV6:
        # RFC 8201 4: "reporting a next-hop MTU that is less than the IPv6 minimum link MTU, it
        # must discard it".
        return Drop.ICMP_MTU
    probe = found.probe_start <= seq < found.probe_end
    if not probe and mtu >= min(found.mtu, _largest_in_flight(conn) + found.headers):
        # "the ICMP error message cannot be legitimate if it claims to have been triggered by a
        # packet larger than the largest packet we have so far sent"; or it is late, and about
        # packets from before a black hole was found.
        if found.searching and not found.probing:
            found.limit_search(mtu, now, conn.options.mtu_expires_s)
            conn.mtu_at = found.attend_at()
            return None
        return Drop.ICMP_MTU
    if mtu >= found.mtu:
        # 4821 7.6.2: "If an ICMP PTB message is received matching the probe packet, then
        # search_high and eff_pmtu MAY be set from the MTU value indicated in the message". That the
        # probe is lost will be seen as of any other.
        found.limit_search(mtu, now, conn.options.mtu_expires_s)
    elif mtu >= found.acked:
        _believe(conn, mtu, now)
        _repeat_too_large(conn)
    elif mtu > found.pending:
        # Of several the one that would do the least harm.
        found.pending, found.pending_seq = mtu, float(seq)
        conn.mtu_mark = found.mark
    return None


def _largest_in_flight(conn: Connection) -> int:
    """Payload bytes of the largest segment that may be in the network."""
    largest = max((record.end - record.start for record in conn.scoreboard), default=0)
    return min(largest, conn.mss)


def _believe(conn: Connection, mtu: int, now: float) -> None:
    """The path carries no more than `mtu`: for this connection, and for those that follow."""
    found = conn.pmtu
    lifetime = conn.options.mtu_expires_s
    found.on_report(mtu, now, lifetime)
    conn.paths.learn(found.destination, Known(found.mtu, now + lifetime, searching=False))
    found.seen = conn.paths.changes
    _resize(conn)


def _resize(conn: Connection) -> None:
    """`mtu` changed: so do the segments. Nothing that is under way proves anything any more."""
    found = conn.pmtu
    conn.mss = found.mtu - found.headers
    conn.cc.set_mss(conn.mss)
    found.pending, found.pending_seq = 0, math.inf
    found.proof_end = math.inf
    if not found.probing:
        found.probe_start = found.probe_end = math.inf
    conn.mtu_mark = found.mark
    conn.mtu_at = found.attend_at()


def _repeat_too_large(conn: Connection) -> None:
    """RFC 1191 6.4: "the retransmission could be done in immediate response to a notification that
    the Path MTU has changed", and it is no sign of congestion."""
    conn.scoreboard.mark_lost(conn.snd_nxt, longer_than=conn.mss)
    conn.rexmt_why = Why.PATH_MTU_RETRANSMIT
    conn.force_retransmit = True
    _expect_oldest(conn)


def _expect_oldest(conn: Connection) -> None:
    """What is repeated first is of full size, as it was when it was new: its acknowledgment proves
    the size, whichever transmission it is for."""
    oldest = conn.scoreboard.oldest
    if oldest is not None and oldest.end - oldest.start >= conn.mss:
        on_full_sized(conn, oldest.start + conn.mss, conn.mss)


def _refresh(conn: Connection, now: float, *, silent: bool = False) -> None:
    """Another connection learned something: take it over, if it is about this path and lower.

    RFC 8201 5.2: "Any packetization layer instance [...] that is actively using the path must be
    notified if the PMTU estimate is decreased", which may wait until it has something to send.
    What our own packets have disproved counts only once they time out (`silent`): a report about
    one connection must not be a way around RFC 5927 on another.
    """
    found = conn.pmtu
    found.seen = conn.paths.changes
    known = conn.paths.find(found.destination, now)
    if known is None or known.mtu >= found.mtu or (found.acked > known.mtu and not silent):
        return
    found.on_report(known.mtu, now, conn.options.mtu_expires_s)
    if known.searching and conn.options.mtu_probing != "off":
        found.raise_again(now)
    _resize(conn)


# -- acknowledgments and timeouts ---------------------------------------------------------------


def on_ack(conn: Connection, ack: int, now: float) -> None:
    """`ack` has reached `mtu_mark`."""
    found = conn.pmtu
    if ack > found.pending_seq:
        # RFC 5927 7.2: "If [...] an ACK that acknowledges that sequence number is received [...]
        # then the "pending error" condition is cleared".
        found.pending, found.pending_seq = 0, math.inf
    if ack >= found.proof_end:
        found.on_delivered(found.proof_size)
        found.proof_end = math.inf
    if ack >= found.probe_end:
        found.probe_start = found.probe_end = math.inf
        found.on_probe_delivered(now, conn.options.mtu_expires_s)
        _tell_others(conn, now)
        _resize(conn)
    conn.mtu_mark = found.mark
    conn.mtu_at = found.attend_at()


def _tell_others(conn: Connection, now: float) -> None:
    """A probe arrived: other connections need not find out again."""
    found = conn.pmtu
    if found.mtu < conn.path.mtu:
        until = now + conn.options.mtu_expires_s
        conn.paths.learn(found.destination, Known(found.mtu, until, found.searching))
        found.seen = conn.paths.changes
    else:
        conn.paths.forget(found.destination)


def on_probe_timeout(conn: Connection, now: float) -> bool:
    """The tail loss probe is due (RFC 8985 7.2): nothing was heard for two round trips. If a report
    waits for such a sign, the path's MTU is it: true, and no probe is needed."""
    if not conn.pmtu.pending:
        return False
    _believe(conn, conn.pmtu.pending, now)
    _repeat_too_large(conn)
    return True


def on_timeout(conn: Connection, now: float) -> None:
    """The retransmission timer expired; everything is about to count as lost.

    A pending report is confirmed by it (RFC 5927 7.2), and so is what others have learned. Without
    either, a full-sized segment that times out repeatedly is taken for a black hole (RFC 4821 7.7).
    """
    found = conn.pmtu
    oldest = conn.scoreboard.oldest
    if oldest is None:
        return
    found.proof_end = math.inf
    if found.probing:
        mtuprobe.timed_out(conn, now)
    _refresh(conn, now, silent=True)
    if found.pending:
        _believe(conn, found.pending, now)
    elif conn.options.mtu_probing != "off":
        size = min(oldest.end - oldest.start, conn.mss) + found.headers
        if found.on_timeout(conn.retransmissions, size):
            until = now + conn.options.mtu_expires_s
            conn.paths.learn(found.destination, Known(found.mtu, until, searching=True))
            found.seen = conn.paths.changes
            _resize(conn)
    conn.mtu_mark = found.mark
    conn.mtu_at = found.attend_at()
    _expect_oldest(conn)


# -- new data -----------------------------------------------------------------------------------


def attend(conn: Connection, now: float) -> None:
    """New data is about to be sent, and `mtu_at` has come or another connection learned something:
    `mss` may change."""
    found = conn.pmtu
    if found.seen != conn.paths.changes:
        _refresh(conn, now)
    if now >= found.raise_at:
        # RFC 1191 6.3, RFC 8201 5.3: an increase is looked for after ten minutes at the earliest.
        if conn.options.mtu_probing == "off":
            found.jump()
            _resize(conn)
        else:
            found.raise_again(now)
    conn.mtu_at = found.attend_at()


def on_full_sized(conn: Connection, end: int, size: int) -> None:
    """The segment of `size` payload bytes that ends at `end` left for the first time: once it is
    acknowledged, packets of its size are known to pass."""
    found = conn.pmtu
    size += found.headers
    if found.proof_end == math.inf and size > found.acked:
        found.proof_end, found.proof_size = float(end), size
        conn.mtu_mark = found.mark
        conn.mtu_at = found.ready_at if found.searching else found.raise_at
