"""Everything that can be tuned, in one place.

An `Options` belongs to a stack; `replace(**changes)` gives the variant for one listener or one
connection. Linux's names are used where Linux has the same knob.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_ECN_MODES = ("off", "passive", "on", "accurate")


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low:g} and {high:g}, not {value!r}")


@dataclass(frozen=True, slots=True)
class Options:
    """The tunables of a stack, a listener or a connection.

    Raises ValueError, naming the option and its range, for a value out of range.
    """

    # -- buffers, bytes ---------------------------------------------------------------
    receive_buffer: int | None = None
    """What may wait for the application, and so the largest window offered (1 to 2**30), as
    SO_RCVBUF. None: 512 KiB, and more where the application takes more within a round trip."""
    receive_buffer_max: int = 32 * 1024 * 1024
    """As far as the receive buffer grows by itself (1 to 2**30), as Linux's tcp_rmem; 200 ms of
    1 Gbit/s are 25 MB. The window scale is chosen for it."""
    send_buffer: int | None = None
    """What `send` accepts before it is acknowledged (1 to 2**30), as SO_SNDBUF. None: 256 KiB, or
    two congestion windows if that is more."""
    send_buffer_max: int = 32 * 1024 * 1024
    """As far as the send buffer grows by itself (1 to 2**30), as Linux's tcp_wmem."""

    # -- negotiation ------------------------------------------------------------------
    mss: int | None = None
    """MSS to advertise (64 to 65495); None: what the link's MTU allows (RFC 9293 3.7.1)."""
    window_scaling: bool = True
    """Offer and accept the window scale option (RFC 7323 2)."""
    timestamps: bool = True
    """Offer and accept the timestamps option (RFC 7323 3)."""
    sack: bool = True
    """Offer and accept SACK (RFC 2018): holes are reported to the peer."""
    dsack: bool = True
    """Where SACK is in use, report duplicates as well (RFC 2883), so that the peer finds out which
    of its retransmissions were needless."""
    ecn: str = "passive"
    """Explicit congestion notification, by which routers mark packets instead of dropping them.
    "off": none; "passive": RFC 3168, if the peer asks for it; "on": ask for it as well;
    "accurate": ask for and grant RFC 9768's, which tells how many packets were marked, else
    RFC 3168's. Linux's tcp_ecn says 0, 2, 1 and 3 for these."""

    # -- sending ----------------------------------------------------------------------
    nodelay: bool = True
    """Send small segments at once; False: Nagle's algorithm (RFC 9293 3.7.4)."""
    cc: str | Callable[[Any], Any] = "cubic"
    """The congestion control: "cubic" (RFC 9438), "reno" (RFC 5681), "bbr", or a class of one's own
    (`aiotcp.tcp.congestion.CongestionControl`); see docs/congestion.md."""
    initial_window_segments: int = 10
    """IW = min(N*MSS, max(2*MSS, N*1460)) (RFC 6928 2); 1 to 100."""
    hop_limit: int = 64
    """TTL or hop limit of every packet (MUST-49); 1 to 255."""
    traffic_class: int = 0
    """Octet whose upper six bits, the DSCP, are every packet's (MUST-48); the lower two are not
    looked at, since they belong to `ecn`; 0 to 255."""

    # -- path MTU ---------------------------------------------------------------------
    mtu_probing: str = "blackhole"
    """Packetization-layer path MTU discovery (RFC 4821), as Linux' tcp_mtu_probing: "off";
    "blackhole", once full-sized segments have timed out repeatedly; "on", always: connections
    begin with `base_mtu` and probe upwards."""
    base_mtu: int = 1200
    """An IP packet of this size, bytes, passes nearly everywhere (RFC 8899 5.1.2, BASE_PLPMTU);
    552 to 65535, and 1280 at least where the path is IPv6."""
    mtu_expires_s: float = 600.0
    """How long a path MTU below the link's is believed before more is tried (RFC 1191 6.3: at
    least 300); 300 or more, infinity for ever."""
    max_path_mtus: int = 4096
    """Destinations whose path MTU the stack remembers; the oldest gives way beyond. 1 to 2**20."""

    # -- acknowledging ----------------------------------------------------------------
    delayed_ack_s: float = 0.04
    """How long an acknowledgment may wait for company (MUST-40: below 0.5); 0 to 0.5."""
    quickack: bool = False
    """Acknowledge each batch of segments at once: TCP_QUICKACK, here until it is cleared."""

    # -- retransmission, seconds and counts -------------------------------------------
    rto_initial_s: float = 1.0
    """RTO before the first sample (RFC 6298 2.1); 0.001 to 60."""
    rto_min_s: float = 0.2
    """Floor of the RTO (RFC 6298 2.4 says 1 s; practice says 0.2 s); 0.001 to 60."""
    rto_max_s: float = 60.0
    """Ceiling of the RTO (RFC 6298 2.5: at least 60 s); 1 to 600, and not below the floor."""
    retries1: int = 3
    """R1: after so many retransmissions a soft error is reported (SHLD-10: at least 3)."""
    retries2: int = 15
    """R2: after so many retransmissions the connection is given up (SHLD-11: >= 100 s)."""
    syn_retries: int = 7
    """R2 for a SYN: 7 retransmissions take 183 s (MUST-23: at least 3 minutes)."""
    synack_retries: int = 5
    """Retransmissions of a SYN+ACK before a half-open entry is dropped."""
    user_timeout_s: float | None = None
    """Give up when data stays unacknowledged this long (ST-25), however many retransmissions that
    takes; 0.001 to 30 days. None: R2 alone."""
    uto: bool = False
    """Advertise our user timeout, or 5 minutes, to the peer, and unless `user_timeout_s` was set
    adopt the longer of that and the peer's, within 100 s and 1 hour (RFC 5482). What the peer
    advertises is then known as `connection.uto.remote_s`."""

    # -- keep-alive (RFC 9293 3.8.4) ----------------------------------------------------
    keepalive: bool = False
    """Probe the peer of an idle connection, and give up if it does not answer (MUST-24, MUST-25).
    A user timeout, if there is one, then says when, and not the number of probes."""
    keepalive_idle_s: float = 7200.0
    """Silence before the first probe (MUST-27, MUST-28); 1 to 32767."""
    keepalive_interval_s: float = 75.0
    """Between probes; 1 to 32767."""
    keepalive_probes: int = 9
    """Give up after so many without an answer; 1 to 127."""

    # -- limits -----------------------------------------------------------------------
    time_wait_s: float = 60.0
    """2MSL, the length of TIME-WAIT (RFC 9293 3.4.2); 0 switches it off, for tests only."""
    fin_timeout_s: float = 60.0
    """How long an orphan stays in FIN-WAIT-2 (ST-29)."""
    syn_cookies: str = "auto"
    """Answer SYNs beyond a listener's backlog without keeping anything of them (RFC 4987 3.6):
    "auto"; "off": drop them; "always": answer all so, for tests only."""
    max_connections: int = 65536
    """Connections of the stack, half-open entries and TIME-WAIT apart: beyond it no listener takes
    a new one, and SYNs are dropped; `connect` is not limited. 1 to 2**24."""
    max_time_wait: int = 65536
    """TIME-WAIT entries of the stack; the oldest gives way beyond."""
    memory_limit: int = 512 * 1024 * 1024
    """What receive queues, reassembly and send buffers of all connections of the stack may hold,
    bytes. From three quarters of it on, windows and buffers are small and nothing is kept out of
    order; at the limit, data for programs that do not read is dropped. 2**16 to 2**40."""
    max_orphans: int = 8192
    """Connections of the stack that their program has closed and TCP has not: beyond it the oldest
    is reset. 0 to 2**24."""
    orphan_retries: int = 8
    """R2 of an orphan, where it is less than `retries2`; answers of a peer that keeps a zero window
    do not start the count anew. 1 to 255."""
    challenge_acks: int = 10
    """Challenge ACKs per connection in 5 seconds (RFC 5961 7)."""
    challenge_ack_rate: int = 1000
    """Challenge ACKs of the stack per second, about: the number is drawn anew for each second, so
    that nobody can count what is left of it. 1 to 2**24."""
    rst_rate: int = 1000
    """RSTs per second, about, for segments that belong to no connection; 1 to 2**24."""
    icmp_rate: int = 1000
    """ICMP replies per second, about (RFC 1812 4.3.2.8, RFC 4443 2.4 f); 1 to 2**24."""

    def __post_init__(self) -> None:
        if self.receive_buffer is not None:
            _check("receive_buffer", self.receive_buffer, 1, 2**30)
        if self.send_buffer is not None:
            _check("send_buffer", self.send_buffer, 1, 2**30)
        _check("receive_buffer_max", self.receive_buffer_max, 1, 2**30)
        _check("send_buffer_max", self.send_buffer_max, 1, 2**30)
        if self.mss is not None:
            _check("mss", self.mss, 64, 65495)
        if self.ecn not in _ECN_MODES:
            raise ValueError(f"ecn must be one of {', '.join(_ECN_MODES)}, not {self.ecn!r}")
        _check("initial_window_segments", self.initial_window_segments, 1, 100)
        _check("hop_limit", self.hop_limit, 1, 255)
        _check("traffic_class", self.traffic_class, 0, 255)
        if self.mtu_probing not in ("off", "blackhole", "on"):
            raise ValueError(f"mtu_probing must be off, blackhole or on, not {self.mtu_probing!r}")
        _check("base_mtu", self.base_mtu, 552, 65535)
        _check("mtu_expires_s", self.mtu_expires_s, 300, math.inf)
        _check("max_path_mtus", self.max_path_mtus, 1, 2**20)
        _check("delayed_ack_s", self.delayed_ack_s, 0, 0.499)
        _check("rto_initial_s", self.rto_initial_s, 0.001, 60)
        _check("rto_min_s", self.rto_min_s, 0.001, 60)
        _check("rto_max_s", self.rto_max_s, max(1, self.rto_min_s), 600)
        _check("retries1", self.retries1, 3, 255)
        _check("retries2", self.retries2, 3, 255)
        _check("syn_retries", self.syn_retries, 1, 255)
        _check("synack_retries", self.synack_retries, 1, 255)
        if self.user_timeout_s is not None:
            _check("user_timeout_s", self.user_timeout_s, 0.001, 86400 * 30)
        _check("keepalive_idle_s", self.keepalive_idle_s, 1, 32767)
        _check("keepalive_interval_s", self.keepalive_interval_s, 1, 32767)
        _check("keepalive_probes", self.keepalive_probes, 1, 127)
        _check("time_wait_s", self.time_wait_s, 0, 600)
        _check("fin_timeout_s", self.fin_timeout_s, 0.1, 86400)
        if self.syn_cookies not in ("auto", "off", "always"):
            raise ValueError(f"syn_cookies must be auto, off or always, not {self.syn_cookies!r}")
        _check("max_connections", self.max_connections, 1, 2**24)
        _check("max_time_wait", self.max_time_wait, 0, 2**24)
        _check("memory_limit", self.memory_limit, 2**16, 2**40)
        _check("max_orphans", self.max_orphans, 0, 2**24)
        _check("orphan_retries", self.orphan_retries, 1, 255)
        _check("challenge_acks", self.challenge_acks, 1, 1000)
        _check("challenge_ack_rate", self.challenge_ack_rate, 1, 2**24)
        _check("rst_rate", self.rst_rate, 1, 2**24)
        _check("icmp_rate", self.icmp_rate, 1, 2**24)
        if not callable(self.cc) and self.cc not in CONGESTION_CONTROLS:
            known = ", ".join(sorted(CONGESTION_CONTROLS))
            raise ValueError(f"cc must be one of {known}, or a class, not {self.cc!r}")

    def replace(self, **changes: Any) -> Options:
        """A copy with `changes`. Raises TypeError for a name that is no option."""
        return dataclasses.replace(self, **changes)


CONGESTION_CONTROLS = frozenset({"bbr", "cubic", "reno"})
"""The names that `Options.cc` knows."""
