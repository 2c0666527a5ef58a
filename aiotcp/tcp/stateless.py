"""A passive open that leaves no trace until it is complete: SYN cookies at work (RFC 4987 3.6).

For a listener whose backlog is full. What the SYN offered is remembered by the network, as
`cookies` says; the ACK that brings it back makes a half-open entry for just as long as it takes to
become a connection. What it costs: a SYN+ACK that is lost is repeated only when the client's SYN
is, and options beyond MSS need timestamps.
"""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

from aiotcp.reasons import Why
from aiotcp.tcp import cookies, ecn_setup
from aiotcp.tcp.halfopen import HalfOpen
from aiotcp.tcp.opening import Offer, read_offer, syn_options
from aiotcp.tcp.terms import syn_window
from aiotcp.wire.tcp import ACK, RST, SYN, HeaderTemplate, Segment

if TYPE_CHECKING:
    from aiotcp.tcp.listener import Listener
    from aiotcp.tcp.tcb import Path
    from aiotcp.wire.frame import Frame


def answer(
    listener: Listener,
    flow: bytes,
    path: Path,
    segment: Segment,
    secret: bytes,
    template: HeaderTemplate,
    now: float,
    *,
    ts_offset: int,
) -> Frame:
    """The SYN+ACK for a SYN. `flow` is the 4-tuple, `secret` the stack's."""
    listener.cookies_until = now + 2 * cookies.PERIOD_S
    options = listener.options
    offer = read_offer(segment, path, options)
    clock = 0
    if offer.tsval is None:
        offer = Offer(mss=offer.mss, wscale=None, sack=False, tsval=None)
    else:
        # RFC 3168's ECN is granted to those who ask for RFC 9768's as well: one bit is kept.
        offer.ecn = ecn_setup.CLASSIC if offer.ecn else 0
        extras = cookies.Extras(offer.wscale, offer.sack, ecn=offer.ecn > 0)
        clock = cookies.stamp(floor(now * 1000) + ts_offset, extras)
    return template.frame(
        cookies.make(secret, flow, segment.seq, offer.mss, now),
        segment.seq + 1,
        SYN | ACK | ecn_setup.synack_flags(offer.ecn),
        syn_window(options),
        options=syn_options(path, options, (clock, offer.tsval or 0), offer),
        offload=path.offload,
        reason=Why.SYN_COOKIE,
    )


def redeem(
    listener: Listener,
    flow: bytes,
    path: Path,
    segment: Segment,
    secret: bytes,
    now: float,
    *,
    ts_offset: int,
) -> HalfOpen | None:
    """The entry that the SYN would have made, if `segment` completes its handshake.

    It is the first segment after the SYN, with data or without; a later one does not show what the
    SYN's number was. The entry counts as ended, so that the backlog is not charged for it.
    """
    if segment.flags & (SYN | ACK | RST) != ACK:
        return None
    irs = (segment.seq - 1) & 0xFFFF_FFFF
    iss = (segment.ack - 1) & 0xFFFF_FFFF
    mss = cookies.check(secret, flow, irs, iss, now)
    if mss is None:
        return None
    options = listener.options
    offer = Offer(mss=mss, wscale=None, sack=False, tsval=None)
    if segment.tsval is not None and options.timestamps:
        extras = cookies.read_stamp(segment.tsecr)
        offer = Offer(
            mss=mss,
            wscale=extras.wscale if options.window_scaling else None,
            sack=options.sack and extras.sack,
            tsval=segment.tsval,
            ecn=ecn_setup.CLASSIC if extras.ecn and options.ecn != "off" else 0,
        )
    entry = HalfOpen(listener, listener.terms_on(path), flow, offer, irs, iss, ts_offset)
    entry.due = None
    entry.ended = True
    return entry
