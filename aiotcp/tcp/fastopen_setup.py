"""Fast Open in a connection: the SYN with data, and what answers it (RFC 7413 4.2).

A client that has a cookie lets its program write before there is a connection: the SYN waits for
the first data, for a moment. A server's connection whose SYN came with a cookie is in
SYN-RECEIVED, and its program at work already. What a SYN carried is not in the scoreboard: only
the SYN's own timer repeats it, without data; what the SYN+ACK does not acknowledge is sent as if
it had never left.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Final

from aiotcp.reasons import Drop, Event
from aiotcp.tcp.tcb import State
from aiotcp.wire.tcp import ACK, RST, SYN, Segment

if TYPE_CHECKING:
    from aiotcp.tcp.connection import Connection
    from aiotcp.tcp.fastopen import CookieCache, Known
    from aiotcp.tcp.listener import Listener
    from aiotcp.tcp.opening import Offer
    from aiotcp.wire.frame import Buffer

HOLD_S: Final = 0.01
"""How long a SYN waits for data to carry. A program that writes first does so at once; one that
waits for the other side to speak must not wait for ever."""


class Asking:
    """Fast Open from the client's side, while there is no answer to the SYN."""

    __slots__ = ("cache", "cookie", "deadline", "known_mss", "server", "timed_out", "told")

    def __init__(self, cache: CookieCache, server: bytes, known: Known, now: float) -> None:
        self.cache = cache
        self.server = server
        """The cache's key."""
        self.cookie = known.cookie
        """Empty: the request for one."""
        self.known_mss = known.mss
        self.deadline = now + HOLD_S if known.cookie else math.inf
        """Until when the SYN waits for data; infinity: it does not, or no longer."""
        self.told = 0
        """Bytes of data that the SYN carried."""
        self.timed_out = False


class Accepted:
    """Fast Open from the server's side: RFC 7413 4.2's FastOpened flag."""

    __slots__ = ("listener", "repeat")

    deadline: ClassVar[float] = math.inf

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.repeat = False
        """The SYN+ACK is to be sent again."""


# -- the client -------------------------------------------------------------------------------


def opens_early(conn: Connection) -> bool:
    """Whether its program may take it for open though it is in SYN-SENT, as with a socket that has
    TCP_FASTOPEN_CONNECT."""
    return isinstance(conn.fast_open, Asking) and bool(conn.fast_open.cookie)


def waits(conn: Connection) -> bool:
    """Whether the SYN is held back for data that it could carry."""
    asking = conn.fast_open
    if not isinstance(asking, Asking) or asking.deadline == math.inf:
        return False
    if not conn.sending and conn.fin_seq is None:
        return True
    asking.deadline = math.inf
    return False


def on_timer(conn: Connection, now: float) -> None:
    """No longer, if the time is over."""
    if isinstance(conn.fast_open, Asking) and now >= conn.fast_open.deadline:
        conn.fast_open.deadline = math.inf


def syn_extras(conn: Connection, now: float) -> tuple[bytes | None, int]:
    """The cookie of the first SYN, and how many bytes of data there may be with it at most,
    options and data together; (None, 0) for other SYNs.

    4.2.2: "Include any data up to the cached server MSS"; what the path is known to carry counts
    as well.
    """
    asking = conn.fast_open
    if not isinstance(asking, Asking) or conn.snd_max > conn.iss:
        return None, 0
    if not asking.cookie:
        return b"", 0
    most = min(asking.known_mss, conn.path.mss)
    narrow = conn.paths.find(conn.flow[: 4 if conn.path.ip_header == 20 else 16], now)
    if narrow is not None:
        most = min(most, narrow.mtu - conn.path.ip_header - 20)
    return asking.cookie, most


def syn_data(conn: Connection, room: int) -> tuple[list[Buffer], int]:
    """What the first SYN carries in `room` bytes, and how much it is."""
    asking = conn.fast_open
    length = min(len(conn.sending), room)
    if length <= 0 or not isinstance(asking, Asking):
        return [], 0
    asking.told = length
    return conn.sending.slices(conn.sending.start, length), length


def on_synack(conn: Connection, segment: Segment, now: float) -> None:
    """The answer to our SYN, once that is acknowledged: how much of the data arrived, and what is
    to be remembered of the server (4.2.2, "Client: Receiving SYN-ACK")."""
    asking = conn.fast_open
    if not isinstance(asking, Asking):
        return
    conn.fast_open = None
    taken = segment.ack > conn.iss + 1
    if taken:
        conn.sending.discard_to(segment.ack)
        conn.snd_una = conn.snd_nxt = segment.ack
        conn.events[Event.FAST_OPEN] += 1
    if segment.fast_open:
        asking.cache.learn(asking.server, segment.fast_open, segment.mss)
    elif taken:
        asking.cache.worked(asking.server)
    elif not asking.timed_out and (asking.told or not asking.cookie):
        # 4.1.3.1: "Negative responses include the server not acknowledging the data in the SYN";
        # and 4.2.1 on servers that do not answer a request.
        asking.cache.failed(asking.server, now)
    conn.fast_open_data = taken


def on_failure(conn: Connection, now: float) -> None:
    """The SYN has timed out, or a router reported an error about it. If the SYN+ACK yet shows that
    the first SYN passed, that is taken back."""
    asking = conn.fast_open
    if isinstance(asking, Asking) and not asking.timed_out:
        asking.timed_out = True
        asking.cache.failed(asking.server, now)


# -- the server -------------------------------------------------------------------------------


def accept(conn: Connection, listener: Listener, offer: Offer, segment: Segment) -> None:
    """A SYN with a valid cookie, after `opening.settle`: its data is for the program to take.

    A FIN on it is not looked at: the peer repeats what is not acknowledged.
    """
    conn.crossed_offer = offer  # what the SYN+ACK answers
    conn.snd_wnd = conn.max_snd_wnd = segment.window  # never scaled on a SYN
    conn.snd_wl1 = segment.seq
    conn.snd_wl2 = conn.iss
    conn.fast_open = Accepted(listener)
    conn.fast_open_data = True
    text: Buffer = segment.payload[: conn.rcv_adv - conn.rcv_nxt]
    if text:
        conn.received.append(text)
        conn.unsettled = 1
        conn.rcv_nxt += len(text)
        conn.received_bytes = len(text)


def sends_early(conn: Connection) -> bool:
    """Whether data may go out in SYN-RECEIVED (4.2.2: "sending more data packets")."""
    return isinstance(conn.fast_open, Accepted) and conn.snd_nxt > conn.iss


def repeats_synack(conn: Connection) -> bool:
    """Whether the SYN+ACK is due again; asked once for each time."""
    accepted = conn.fast_open
    if not isinstance(accepted, Accepted) or not accepted.repeat:
        return False
    accepted.repeat = False
    return True


def on_timeout(conn: Connection, now: float) -> bool:
    """The timer of a SYN or SYN+ACK. True: a SYN+ACK whose connection has sent data behind it, so
    that `snd_nxt` stays where it is.

    4.2.2: "the server SHOULD retransmit a SYN-ACK segment with neither data nor Fast Open options".
    """
    if not isinstance(conn.fast_open, Accepted):
        on_failure(conn, now)
        return False
    _repeat(conn, conn.fast_open)
    return True


def _repeat(conn: Connection, accepted: Accepted) -> None:
    accepted.repeat = True
    conn.syn_sent_at = -math.inf  # its round trip is ambiguous
    assert conn.crossed_offer is not None
    conn.crossed_offer.cookie = b""


def on_syn_again(conn: Connection, segment: Segment) -> Drop | None:
    """The SYN once more: our SYN+ACK was lost, and the client gave Fast Open up. None: something
    else."""
    accepted = conn.fast_open
    if (
        conn.state is not State.SYN_RECEIVED
        or not isinstance(accepted, Accepted)
        or segment.flags & (SYN | ACK | RST) != SYN
        or segment.seq != conn.irs
    ):
        return None
    _repeat(conn, accepted)
    return Drop.HALF_OPEN_SYN_AGAIN
