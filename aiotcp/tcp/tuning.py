"""Options that change while a connection lives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from aiotcp.tcp.buffers import change_receive_buffer, least_send_limit
from aiotcp.tcp.congestion import Start, initial_window
from aiotcp.tcp.controls import congestion_control
from aiotcp.tcp.usertimeout import UserTimeout

if TYPE_CHECKING:
    from aiotcp.options import Options
    from aiotcp.tcp.connection import Connection
    from aiotcp.tcp.keepalive import KeepAlive


_TOLD_BY_SYN: Final = frozenset({"receive_buffer", "receive_buffer_max"})


def tune(conn: Connection, changes: Mapping[str, Any]) -> None:
    """Change options, as far as they can be at this time: what was agreed in the handshake
    stays."""
    before = conn.options
    if not conn.established:  # the SYN has told a window scale
        changes = {name: value for name, value in changes.items() if name not in _TOLD_BY_SYN}
    conn.options = options = before.replace(**changes)
    if options.receive_buffer != before.receive_buffer:
        change_receive_buffer(conn)
    if conn.sending.whole_bytes >= 0:
        conn.sending.whole_bytes = least_send_limit(options)
    conn.nodelay = options.nodelay
    conn.paced = asks_for_pacing(options)
    if options.cc != before.cc and conn.established:
        change_control(conn)
    conn.rto.bound(options.rto_min_s, options.rto_max_s)
    conn.challenges.limit = options.challenge_acks
    conn.acks.delay_s = options.delayed_ack_s
    conn.acks.set_quick(options.quickack)
    conn.template.set_ip(hop_limit=options.hop_limit, traffic_class=options.traffic_class)
    if not options.uto:
        conn.uto = None
    elif conn.uto is None:
        conn.uto = UserTimeout(options.user_timeout_s)
    elif "user_timeout_s" in changes:
        conn.uto.set_by_user(options.user_timeout_s)
    fresh = keepalive_of(options)
    if fresh is None or conn.keepalive is None:
        conn.keepalive = fresh
    else:  # the count of unanswered probes goes on
        conn.keepalive.idle_s = fresh.idle_s
        conn.keepalive.interval_s = fresh.interval_s
        conn.keepalive.probes = fresh.probes


def import_for(options: Options) -> None:
    """What connections of a listener with `options` are going to need: to be called while a program
    can surely read it, before it changes its root or its user."""
    if options.keepalive:
        from aiotcp.tcp import keepalive  # noqa: F401
    if options.ecn == "accurate":
        from aiotcp.tcp import accecn  # noqa: F401
    if options.cc == "reno":
        from aiotcp.tcp import reno  # noqa: F401
    elif options.cc == "bbr":
        from aiotcp.tcp import bbr  # noqa: F401


def asks_for_pacing(options: Options) -> bool:
    """Whether a congestion control without a rate of its own is to be paced, or one with a rate
    to be held back."""
    return options.pacing or options.max_pacing_rate is not None


def change_control(conn: Connection) -> None:
    """Another congestion control goes on from the window, the threshold and the round trip that
    are known (TCP_CONGESTION)."""
    before = conn.cc
    window = initial_window(conn.mss, conn.options.initial_window_segments)
    start = Start(
        mss=conn.mss,
        initial_window=before.cwnd,
        restart_window=window,
        # Of what it begins with, the latest news. It is told the time with the next acknowledgment.
        now=max(conn.opened_at, conn.last_sent_at, conn.heard_at),
        rtt=conn.rto.min_rtt or None,
        random=conn.random,
        selective=conn.sack_enabled,
    )
    conn.cc = congestion_control(conn.options.cc, start)
    conn.cc.ssthresh = before.ssthresh


def on_user_timeout(conn: Connection, seconds: int) -> None:
    """The peer advertises its user timeout (RFC 5482 3.1): adapt ours, if that is wanted."""
    if conn.uto is not None:
        adapted = conn.uto.on_option(seconds, conn.rto.rto)
        if adapted is not None:
            conn.options = conn.options.replace(user_timeout_s=adapted)


def keepalive_of(options: Options) -> KeepAlive | None:
    """What `options` ask for; None for most connections, which then pay nothing (MUST-25)."""
    if not options.keepalive:
        return None
    from aiotcp.tcp.keepalive import KeepAlive  # few have one

    return KeepAlive(
        options.keepalive_idle_s, options.keepalive_interval_s, options.keepalive_probes
    )
