"""The three-way handshake: what SYNs carry, what is agreed, and the segment that answers one.

RFC 9293 3.5 and 3.10.7.3; options by RFC 7323 (2.2, 3.2), RFC 2018 (2) and RFC 6691.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final

from aiotcp.errors import refused
from aiotcp.options import Options
from aiotcp.reasons import Drop, Why
from aiotcp.tcp import ecn_setup, fastopen_setup, usertimeout
from aiotcp.tcp.buffers import (
    largest_receive_buffer,
)
from aiotcp.tcp.congestion import Start, initial_window
from aiotcp.tcp.controls import congestion_control
from aiotcp.tcp.pathmtu import begin as begin_path_mtu
from aiotcp.tcp.seq import MASK, unwrap
from aiotcp.tcp.tcb import Milestone, Path, State
from aiotcp.tcp.terms import Terms, advertised_mss, syn_window
from aiotcp.tcp.tuning import on_user_timeout
from aiotcp.tcp.window import scale_for
from aiotcp.wire.tcp import (
    ACK,
    MAX_OPTIONS_LENGTH,
    MAX_WSCALE,
    PSH,
    RST,
    SYN,
    Segment,
    pack_options,
    pack_usual_syn,
)

if TYPE_CHECKING:
    from aiotcp.tcp.connection import Connection

TIMESTAMP_OPTION_BYTES: Final = 12
_LONG_AGO: Final = -math.inf
_MAX_FIELD: Final = 0xFFFF
_SYNCHRONIZED: Final = Milestone.SYNCHRONIZED
_LEAST_MSS: Final = 48
"""A peer that offers less would have us send a header for each few bytes."""


class Offer:
    """What a SYN offers, or what both sides agreed on."""

    __slots__ = ("cookie", "ecn", "mss", "sack", "tsval", "user_timeout", "wscale")

    def __init__(
        self,
        mss: int,
        wscale: int | None,
        sack: bool,
        tsval: int | None,
        ecn: int = 0,
        user_timeout: int | None = None,
        cookie: bytes = b"",
    ) -> None:
        self.mss = mss
        """Payload of the largest segment, options not taken off."""
        self.wscale = wscale
        """The sender's own shift; None: no scaling."""
        self.sack = sack
        self.tsval = tsval
        """The sender's timestamp; None: no timestamps."""
        self.ecn = ecn
        """What was agreed about ECN, in the terms of `ecn_setup`; 0: nothing."""
        self.user_timeout = user_timeout
        """What the sender advertises, seconds (RFC 5482); None: nothing."""
        self.cookie = cookie
        """What the SYN+ACK is to bring (RFC 7413); empty: nothing."""


def read_offer(segment: Segment, path: Path, options: Options) -> Offer:
    """What the peer's SYN offers and we are willing to use."""
    mss = path.default_mss if segment.mss is None else segment.mss  # MUST-15
    return Offer(
        mss=max(mss, _LEAST_MSS),
        wscale=segment.wscale if options.window_scaling else None,
        sack=options.sack and segment.sack_permitted,
        tsval=segment.tsval if options.timestamps else None,
        ecn=ecn_setup.understand_syn(segment, options.ecn),
        user_timeout=segment.user_timeout if options.uto else None,
    )


def usual_offer(mss: int, wscale: int, tsval: int, options: Options) -> Offer:
    """The same, of a SYN with these options and SACK permitted, and nothing else."""
    return Offer(
        mss if mss > _LEAST_MSS else _LEAST_MSS,
        (wscale if wscale < MAX_WSCALE else MAX_WSCALE) if options.window_scaling else None,
        options.sack,
        tsval if options.timestamps else None,
    )


def syn_options(
    path: Path,
    options: Options,
    ts: tuple[int, int],
    answered: Offer | None = None,
    *,
    cookie: bytes | None = None,
) -> bytes:
    """The options of a SYN, or with `answered` those of the SYN+ACK that answers that offer.

    `ts` is TSval and TSecr, `cookie` that of a SYN. RFC 7323 2.2, 3.2 and RFC 2018 2: a SYN+ACK
    carries only what the SYN had. Where there is no room for all, a cookie goes before what other
    segments can tell as well: AccECN's counters, then the user timeout.
    """
    scaling = options.window_scaling and (answered is None or answered.wscale is not None)
    stamps = options.timestamps and (answered is None or answered.tsval is not None)
    sack = options.sack and (answered is None or answered.sack)
    mss = advertised_mss(path, options)
    wscale = scale_for(largest_receive_buffer(options)) if scaling else None
    fast_open = cookie if answered is None else answered.cookie or None
    if (
        wscale is not None
        and stamps
        and sack
        and fast_open is None
        and not options.uto
        and (answered is None or not answered.ecn)
    ):
        return pack_usual_syn(mss, wscale, ts)
    pack = partial(
        pack_options,
        mss=mss,
        wscale=wscale,
        sack_permitted=sack,
        timestamps=ts if stamps else None,
        fast_open=fast_open,
    )
    # Advice, not an offer: a SYN+ACK has it whether the SYN had it or not (RFC 5482 3).
    timeout = usertimeout.advertised(options.user_timeout_s) if options.uto else None
    accecn = ecn_setup.synack_option(answered.ecn) if answered is not None else b""
    packed = pack(accecn=accecn, user_timeout=timeout)
    if len(packed) > MAX_OPTIONS_LENGTH:
        packed = pack(user_timeout=timeout)
    return packed if len(packed) <= MAX_OPTIONS_LENGTH else pack()


def settle(
    conn: Connection, offer: Offer, irs: int, now: float, terms: Terms | None = None
) -> None:
    """Both SYNs are known: set all that follows from them. `terms` are those of our latest SYNs."""
    options = conn.options
    if terms is None or terms.options is not options or terms.path is not conn.path:
        terms = Terms(conn.path, options)
    conn.irs = irs
    conn.rcv_nxt = conn.last_ack_sent = rcv_nxt = irs + 1
    conn.rcv_buffer = buffer = terms.window
    conn.rcv_adv = rcv_nxt + buffer
    if offer.wscale is not None:
        conn.snd_wscale = offer.wscale
        conn.rcv_wscale = terms.wscale
    conn.rcv_mss = terms.mss
    most = _MAX_FIELD << conn.rcv_wscale
    if conn.rcv_space > most:
        conn.rcv_space = most
    if options.receive_buffer is None:
        conn.rcv_tune_at = _LONG_AGO
    conn.sack_enabled = offer.sack
    conn.peer_mss = offer.mss
    if offer.tsval is not None:
        conn.ts_enabled = True
        conn.ts_recent = offer.tsval
        conn.ts_recent_at = now
    if offer.user_timeout is not None:
        on_user_timeout(conn, offer.user_timeout)
    conn.mss = begin_path_mtu(conn, now)
    conn.cc = congestion_control(options.cc, _start(conn, now))
    if offer.ecn:
        ecn_setup.settle(conn, offer.ecn)


def _start(conn: Connection, now: float) -> Start:
    """How the congestion control begins: the handshake settled the MSS."""
    window = initial_window(conn.mss, conn.options.initial_window_segments)
    lost = conn.retransmissions > 0
    return Start(
        conn.mss,
        # RFC 5681 3.1: "if the SYN or SYN/ACK is lost, the initial window used by a sender after
        # a correctly transmitted SYN MUST be one segment".
        conn.mss if lost else window,
        window,
        now,
        None if lost or conn.syn_sent_at == _LONG_AGO else now - conn.syn_sent_at,
        conn.random,
        conn.sack_enabled,
    )


def syn_acknowledged(conn: Connection, seq: int, ack: int, window: int, now: float) -> None:
    """Our SYN arrived: take its round trip, and leave SYN-SENT or SYN-RECEIVED. The segment at
    `seq` that told it offers `window` bytes."""
    _take_round_trip(conn, now)
    conn.snd_una = una = conn.iss + 1
    if conn.snd_nxt < una:  # data may have followed a SYN+ACK (RFC 7413)
        conn.snd_nxt = una
    conn.heard_at = now
    conn.rexmt_at = math.inf
    conn.stalled_since = math.inf
    conn.soft_error = None
    conn.error_news = False
    conn.snd_wnd = window
    if window > conn.max_snd_wnd:
        conn.max_snd_wnd = window
    conn.snd_wl1 = seq
    conn.snd_wl2 = ack
    conn.reach(_SYNCHRONIZED)


def _take_round_trip(conn: Connection, now: float) -> None:
    """That of the handshake."""
    if conn.retransmissions == 0:
        if conn.syn_sent_at > _LONG_AGO:  # unknown after a SYN cookie
            conn.rto.sample(now - conn.syn_sent_at)
    else:
        # RFC 6298 5.7: "If the timer expires awaiting the ACK of a SYN segment and the TCP
        # implementation is using an RTO less than 3 seconds, the RTO MUST be re-initialized
        # to 3 seconds when data transmission begins".
        conn.rto.restart(3.0)
        conn.retransmissions = 0


def complete(conn: Connection, window: int, tsval: int | None, now: float) -> None:
    """Of a passive open: the ACK of the handshake has come, and nothing else with it, with this
    window field. Its half-open entry has checked all that `arrive` would; what that would change
    in a connection that has just been made is this."""
    conn.segs_in += 1
    if tsval is not None and conn.ts_enabled:
        conn.ts_recent = unwrap(tsval, conn.ts_recent)
        conn.ts_recent_at = now
    _take_round_trip(conn, now)
    conn.snd_una = conn.snd_wl2 = conn.snd_nxt
    conn.heard_at = now
    conn.snd_wnd = conn.max_snd_wnd = window << conn.snd_wscale
    conn.snd_wl1 = conn.rcv_nxt
    conn.established = True
    conn.begin()


def completes(conn: Connection, segment: Segment, now: float) -> bool:
    """Whether `segment` is that ACK; then that is done."""
    if (
        segment.flags & ~PSH != ACK
        or segment.payload
        or (segment.seq - conn.rcv_nxt) & MASK
        or conn.ecn is not None
        or segment.user_timeout is not None
    ):
        return False
    complete(conn, segment.window, segment.tsval, now)
    return True


def arrive_syn_sent(conn: Connection, segment: Segment, now: float) -> Drop | None:
    """RFC 9293 3.10.7.3, SYN-SENT STATE."""
    flags = segment.flags
    acceptable = False
    # "First, check the ACK bit"
    if flags & ACK:
        segment.ack = unwrap(segment.ack, conn.snd_una)
        acceptable = conn.iss < segment.ack <= conn.snd_max
        if not acceptable:
            if not flags & RST:
                conn.answer_with_reset(segment.ack)
            return Drop.SYN_SENT_BAD_ACK
    # "Second, check the RST bit"; RFC 5961 3.2: only one that acknowledges our SYN counts.
    if flags & RST:
        if not acceptable:
            return Drop.SYN_SENT_RST_NO_ACK
        if ecn_setup.asks_again(conn):
            conn.snd_nxt = conn.iss  # output sends the SYN again
            conn.syn_sent_at = now
            conn.rexmt_at = math.inf
            return None
        conn.fail(refused())
        return None
    # "Fourth, check the SYN bit"
    if not flags & SYN:
        return Drop.SYN_SENT_NO_SYN
    offer = read_offer(segment, conn.path, conn.options)
    if acceptable:
        offer.ecn = ecn_setup.understand_synack(segment, conn.ecn_asked)
    elif not conn.ecn_asked or conn.ecn_asked & ecn_setup.PLAIN:
        offer.ecn = 0
    settle(conn, offer, segment.seq, now)
    if not acceptable:
        # Simultaneous open (MUST-10): our SYN crossed theirs. The SYN+ACK repeats our SYN's
        # sequence number and offers what both sides offered.
        conn.crossed_offer = offer
        conn.fast_open = None
        conn.rexmt_at = math.inf
        conn.snd_nxt = conn.iss
        conn.reach(Milestone.SYN_CROSSED)
        return None
    # RFC 7323 2.2: the window of a segment with SYN is not scaled.
    syn_acknowledged(conn, segment.seq, segment.ack, segment.window, now)
    if conn.fast_open is not None:
        fastopen_setup.on_synack(conn, segment, now)
    ecn_setup.on_synack(conn, segment, offer.ecn, now)
    conn.acks.at_once(Why.OPEN_ACK)
    return None


def output_syn(conn: Connection, now: float) -> None:
    """Send the SYN or, after a crossing, the SYN+ACK: the first time, or again."""
    again = fastopen_setup.repeats_synack(conn)
    if (conn.snd_nxt > conn.iss and not again) or fastopen_setup.waits(conn):
        return
    first = conn.snd_max == conn.iss
    crossed = conn.state is State.SYN_RECEIVED
    ts = (conn.clock(now), conn.timestamp if crossed else 0)
    cookie, room = fastopen_setup.syn_extras(conn, now)
    offer = conn.crossed_offer if crossed else None
    options = syn_options(conn.path, conn.options, ts, offer, cookie=cookie)
    payload, length = fastopen_setup.syn_data(conn, room - len(options))
    if crossed:
        assert conn.crossed_offer is not None
        flags, ack = SYN | ACK | ecn_setup.synack_flags(conn.crossed_offer.ecn), conn.rcv_nxt
        repeated = again or conn.retransmissions > 0
        why = Why.OPEN_REPLY_RETRANSMIT if repeated else Why.OPEN_REPLY
    else:
        flags, ack = SYN | ecn_setup.ask(conn), 0
        why = Why.OPEN if first else Why.OPEN_RETRANSMIT
    conn.transmit(
        conn.template.frame(
            conn.iss,
            ack,
            flags,
            min(conn.rcv_adv - conn.rcv_nxt, 0xFFFF) if crossed else syn_window(conn.options),
            options=options,
            payload=payload,
            payload_length=length,
            offload=conn.path.offload,
            reason=why,
        )
    )
    conn.segs_out += 1
    conn.acks.sent()
    if first:
        conn.syn_sent_at = now
        conn.stalled_since = now
    conn.snd_nxt = max(conn.snd_nxt, conn.iss + 1)
    conn.snd_max = max(conn.snd_max, conn.snd_nxt + length)
    if conn.rexmt_at == math.inf:
        conn.rexmt_at = now + conn.rto.rto
