"""ECN in a connection: what the handshake agrees on, and what segments bring (RFC 3168, RFC 9768).

What a handshake came to is one number, `Offer.ecn`, so that a half-open entry carries nothing
more: bits, and the codepoint with which the other side's SYN arrived above them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiotcp.tcp.ecn import ACE_SHIFT, FIRST_CEP, HANDSHAKE_ACE, ClassicEcn
from aiotcp.tcp.seq import unwrap
from aiotcp.wire.tcp import ACCECN0, ACK, AE, CWR, ECE, SYN, Segment, pack_accecn

if TYPE_CHECKING:
    from aiotcp.tcp.connection import Connection

CLASSIC: Final = 1
ACCURATE: Final = 2
NO_ECT: Final = 4
NO_OPTION: Final = 8
PLAIN: Final = 16
MARKED: Final = 32
"""CLASSIC or ACCURATE feedback is agreed (of `ecn_asked`: was asked for); data must not be ECT;
AccECN options are not to be sent; a SYN or SYN+ACK without ECN flags was sent; the other side
says that our SYN arrived marked."""

_CODEPOINT: Final = 8
_ECN_FLAGS: Final = AE | CWR | ECE
_ASKS: Final = {"on": (CLASSIC, ECE | CWR, 1), "accurate": (ACCURATE, _ECN_FLAGS, 2)}
"""What SYNs ask for, their flags, and how many of them do: RFC 9768 3.1.4.1 wants "at least one
more time", RFC 3168 6.1.1.1 lets the first repetition fall back already, as Linux does."""


# -- SYNs -------------------------------------------------------------------------------------


def ask(conn: Connection) -> int:
    """The flags of the SYN that leaves now."""
    kind, flags, tries = _ASKS.get(conn.options.ecn, (0, 0, 0))
    if conn.ecn_asked & PLAIN or conn.retransmissions >= tries:
        conn.ecn_asked |= PLAIN
        return 0
    conn.ecn_asked |= kind
    return flags


def asks_again(conn: Connection) -> bool:
    """A SYN was refused. If it asked for ECN, "a host [...] MAY resend a SYN with CWR and ECE
    cleared" (RFC 3168 6.1.1.1): it may be that some firewall took it for a port scan."""
    if conn.ecn_asked & PLAIN or not conn.ecn_asked:
        return False
    conn.ecn_asked |= PLAIN
    return True


def understand_syn(segment: Segment, mode: str) -> int:
    """What a SYN asks for and `mode` (`Options.ecn`) grants: the beginning of `Offer.ecn`."""
    flags = segment.flags & _ECN_FLAGS
    agreed = 0
    if mode == "accurate" and flags:
        # RFC 9768 3.1.3: any other combination is to be understood as all three.
        agreed = CLASSIC if flags == CWR | ECE else ACCURATE
    elif mode != "off" and flags & (ECE | CWR) == ECE | CWR:
        agreed = CLASSIC
    return agreed | segment.ecn << _CODEPOINT if agreed else 0


def again(agreed: int, segment: Segment, mode: str) -> int | None:
    """The SYN came again, perhaps with other flags: the agreement now. None: reset it all."""
    asked = understand_syn(segment, mode) & (CLASSIC | ACCURATE)
    if mode == "accurate" and asked and agreed & (CLASSIC | ACCURATE) ^ asked == CLASSIC | ACCURATE:
        return None  # RFC 9768 3.1.5: "MUST reset the connection with a RST packet"
    if agreed & CLASSIC and not asked:
        return 0
    if agreed & ACCURATE:
        # "feed back the IP-ECN field on the latest valid SYN"; a server that got one without
        # flags "MUST NOT set ECT on any packet for the rest of the connection".
        agreed = agreed & (1 << _CODEPOINT) - 1 | segment.ecn << _CODEPOINT | NO_OPTION
        return agreed if asked else agreed | NO_ECT
    return agreed


def after_timeout(agreed: int, retransmissions: int) -> int:
    """A SYN+ACK went without answer: RFC 9768 3.2.3.2.2 takes off the option, then the flags."""
    if agreed & ACCURATE:
        agreed |= NO_OPTION if retransmissions < 2 else NO_OPTION | NO_ECT | PLAIN
    return agreed


def synack_flags(agreed: int) -> int:
    """The flags of a SYN+ACK, beside SYN and ACK."""
    if agreed & PLAIN:
        return 0
    if agreed & ACCURATE:
        return HANDSHAKE_ACE[agreed >> _CODEPOINT] << ACE_SHIFT
    return ECE if agreed & CLASSIC else 0


def synack_option(agreed: int) -> bytes:
    """The AccECN option of a SYN+ACK: initial values, to see whether they get through."""
    if agreed & (ACCURATE | NO_OPTION | PLAIN) != ACCURATE:
        return b""
    return pack_accecn(ACCECN0, (1, 0, 1))


def ack_flags(agreed: int) -> int:
    """The flags of an ACK before the handshake is complete, beside ACK."""
    return FIRST_CEP << ACE_SHIFT if agreed & ACCURATE else 0


def understand_synack(segment: Segment, asked: int) -> int:
    """What a SYN+ACK says to what our SYNs have asked for: `Offer.ecn` of its sender."""
    ace = segment.flags >> ACE_SHIFT & 7
    agreed = 0
    if asked & ACCURATE and (ace in HANDSHAKE_ACE or ace == 0b101):
        agreed = ACCURATE
        if ace not in (HANDSHAKE_ACE[0], 0b101):
            agreed |= NO_ECT  # RFC 9768 3.2.2.3: our SYN was not ECN-capable when it left
        if ace == HANDSHAKE_ACE[3]:
            agreed |= MARKED
    elif asked & (CLASSIC | ACCURATE) and segment.flags & (ECE | CWR) == ECE:
        # With CWR as well, a broken peer has sent our own flags back (RFC 3168 6.1.1.2).
        agreed = CLASSIC
        if asked & PLAIN:
            agreed |= NO_ECT  # "and has sent no non-ECN-setup SYN"
    return agreed


def settle(conn: Connection, agreed: int) -> None:
    """The handshake came to this."""
    ect = not agreed & NO_ECT
    if agreed & ACCURATE:
        from aiotcp.tcp.accecn import AccurateEcn  # few ask for it

        conn.ecn = AccurateEcn(conn.iss, ect=ect, options=not agreed & NO_OPTION)
    elif agreed & CLASSIC:
        conn.ecn = ClassicEcn(conn.iss, ect=ect)


def on_synack(conn: Connection, segment: Segment, agreed: int, now: float) -> None:
    """The SYN+ACK that agreed to it, after `settle`."""
    if conn.ecn is not None and not isinstance(conn.ecn, ClassicEcn):
        conn.ecn.answered(segment.ecn, segment.accecn)
        if agreed & MARKED:
            _slow_down(conn, now)


# -- segments after the handshake -------------------------------------------------------------


def on_segment(conn: Connection, segment: Segment) -> bool:
    """An acceptable segment: count its mark. True: it is to be acknowledged at once."""
    assert conn.ecn is not None
    length = len(segment.payload)
    size = segment.gso_size
    return conn.ecn.received(
        segment.ecn,
        segment.flags,
        length,
        -(-length // size) if size and length else 1,
        length > 0 or conn.rcv_nxt > conn.last_ack_sent,
    )


def on_ack(conn: Connection, segment: Segment, now: float) -> None:
    """An acceptable acknowledgment, before all else is done with it: slow down if it says so."""
    ecn = conn.ecn
    assert ecn is not None
    ack = segment.ack
    acked = max(ack - conn.snd_una, 0)
    if isinstance(ecn, ClassicEcn):
        slow = ecn.acknowledged(ack, segment.flags, acked)
    else:
        newer = acked > 0
        if not newer and segment.tsval is not None and conn.ts_enabled and ack == conn.snd_una:
            newer = unwrap(segment.tsval, conn.ts_recent) > conn.ts_recent
        slow = ecn.acknowledged(
            ack,
            segment.flags,
            acked,
            newer=newer,
            pure=segment.length == 0 and not segment.sack,
            mss=conn.mss,
            option=segment.accecn,
        )
    if slow:
        _slow_down(conn, now)


def _slow_down(conn: Connection, now: float) -> None:
    assert conn.ecn is not None
    conn.cc.on_ecn(conn.scoreboard.in_flight or conn.cc.cwnd, now)
    conn.ecn.reduced(conn.snd_nxt)


def on_loss(conn: Connection, flight: int, now: float) -> None:
    """A loss was inferred with `flight` bytes in the network: slow down, unless marks have reduced
    the window for the same one: "only once in response to a series of dropped and/or CE packets
    from a single window of data" (RFC 3168 6.1.2)."""
    ecn = conn.ecn
    if ecn is None or conn.cc.own_recovery or not ecn.answered_up_to(conn.snd_una):
        conn.cc.on_congestion(flight, now)
    if ecn is not None:
        ecn.reduced(conn.snd_nxt)


def on_spurious(conn: Connection, now: float) -> None:
    """The latest reduction was for nothing, and so to be taken back. "This is unless the acceptable
    ACK signals congestion through the ECN-Echo flag" (RFC 4015 3.2, step 9)."""
    flight = conn.scoreboard.in_flight
    ecn = conn.ecn
    if ecn is not None and ecn.marked:
        conn.cc.on_recovered(flight, now)
        return
    conn.cc.undo(flight, now)
    if ecn is not None:
        ecn.unreduced(conn.snd_una)


def on_syn(conn: Connection, segment: Segment) -> None:
    """A SYN+ACK in a synchronized state: the ACK that we answered it with was lost."""
    if (
        conn.ecn is not None
        and not isinstance(conn.ecn, ClassicEcn)
        and segment.flags & (SYN | ACK) == SYN | ACK
        and segment.seq == conn.irs
    ):
        conn.ecn.handshake_again(segment.ecn)


def trim_syn(conn: Connection, segment: Segment) -> None:
    """The SYN of a crossing SYN+ACK is taken off, and so are flags that mean something else
    without it; those of RFC 9768 say what the ACK of a SYN+ACK would."""
    segment.flags &= ~SYN
    if conn.ecn is None or isinstance(conn.ecn, ClassicEcn):
        segment.flags &= ~_ECN_FLAGS
