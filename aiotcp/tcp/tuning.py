"""Options that change while a connection lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotcp.tcp.keepalive import KeepAlive

if TYPE_CHECKING:
    from aiotcp.options import Options
    from aiotcp.tcp.connection import Connection


def tune(conn: Connection, options: Options) -> None:
    """Put `options` in force, as far as they can be at this time: what was agreed in the handshake
    stays, and so does the congestion control."""
    conn.options = options
    conn.nodelay = options.nodelay
    conn.acks.delay_s = options.delayed_ack_s
    conn.acks.set_quick(options.quickack)
    conn.template.set_ip(hop_limit=options.hop_limit, traffic_class=options.traffic_class)
    fresh = keepalive_of(options)
    if fresh is None or conn.keepalive is None:
        conn.keepalive = fresh
    else:  # the count of unanswered probes goes on
        conn.keepalive.idle_s = fresh.idle_s
        conn.keepalive.interval_s = fresh.interval_s
        conn.keepalive.probes = fresh.probes


def keepalive_of(options: Options) -> KeepAlive | None:
    """What `options` ask for; None for most connections, which then pay nothing (MUST-25)."""
    if not options.keepalive:
        return None
    return KeepAlive(
        options.keepalive_idle_s, options.keepalive_interval_s, options.keepalive_probes
    )
