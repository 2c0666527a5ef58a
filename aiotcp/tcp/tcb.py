"""The transmission control block: what one connection knows (RFC 9293 3.3.1).

Arrival, output, opening and the timers all work on these variables; `Connection` adds the life
story and the calls of the user. Names are the RFCs'. Sequence numbers are plain growing integers
(see `seq`), sizes are bytes, times seconds.
"""

from __future__ import annotations

import enum  # noqa: F401 (compiled, what derives from Words derives from this)
import math
from math import floor
from typing import TYPE_CHECKING, Final

from aiotcp.reasons import Why
from aiotcp.tcp.ackpolicy import AckPolicy
from aiotcp.tcp.autotune import ReceiveTuning
from aiotcp.tcp.challenge import ChallengeLimit, SharedLimit
from aiotcp.tcp.delivery import DeliveryRate
from aiotcp.tcp.flow import Endpoint, local_endpoint, remote_endpoint
from aiotcp.tcp.pacer import Pacer
from aiotcp.tcp.pathmtu import Discovery
from aiotcp.tcp.queueshare import QueueShare
from aiotcp.tcp.reassembly import NOTHING_HELD, Reassembly
from aiotcp.tcp.recovery import Recovery
from aiotcp.tcp.rto import RtoEstimator
from aiotcp.tcp.scoreboard import Scoreboard
from aiotcp.tcp.sendbuffer import Buffer, SendBuffer
from aiotcp.tcp.tuning import keepalive_of
from aiotcp.tcp.usertimeout import UserTimeout
from aiotcp.words import Words

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiotcp.tcp.accecn import AccurateEcn
    from aiotcp.tcp.congestion import CongestionControl
    from aiotcp.tcp.cork import Cork
    from aiotcp.tcp.ecn import ClassicEcn
    from aiotcp.tcp.fastopen_setup import Accepted, Asking
    from aiotcp.tcp.opening import Offer
    from aiotcp.tcp.pmtucache import PathMtuCache
    from aiotcp.tcp.terms import Terms
    from aiotcp.wire.alike import Frames
    from aiotcp.wire.tcp import HeaderTemplate


class State(Words):
    """RFC 9293 3.3.2."""

    CLOSED = "CLOSED"
    LISTEN = "LISTEN"
    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSE_WAIT = "CLOSE-WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"


class Milestone(Words):
    """What the life of a connection waits for; each happens at most once."""

    SYN_CROSSED = "syn_crossed"
    """A SYN without ACK answered our SYN: simultaneous open."""
    SYNCHRONIZED = "synchronized"
    """Our SYN is acknowledged and theirs is known."""
    WE_CLOSE = "we_close"
    """The user will send no more."""
    THEY_CLOSE = "they_close"
    """The peer's FIN was reached, everything before it included."""
    FIN_ACKED = "fin_acked"
    """Our FIN is acknowledged."""


class Path:
    """What the way to the peer looks like from here."""

    __slots__ = ("default_mss", "gso_max_bytes", "ip_header", "mss", "mtu", "offload")

    def __init__(self, mtu: int, ip_header: int, gso_max_bytes: int, offload: bool) -> None:
        self.mtu = mtu
        """Largest IP packet that the link takes, bytes; for the path's see `Connection.pmtu`."""
        self.ip_header = ip_header
        """20 for IPv4, 40 for IPv6."""
        self.gso_max_bytes = gso_max_bytes
        """Largest frame the link cuts for us, IP packet bytes; 0 where it does not."""
        self.offload = offload
        """Whether the link completes checksums."""
        self.mss = mtu - ip_header - 20
        """RFC 6691: the MTU less the fixed headers; options are never subtracted here."""
        self.default_mss = 536 if ip_header == 20 else 1220
        """MUST-15: what a peer that sends no MSS option takes."""


# Looked up once: a member of an enumeration costs as much as a call.
_CLOSED: Final = State.CLOSED
_RTO_RETRANSMIT: Final = Why.RTO_RETRANSMIT
_NEVER: Final = math.inf
_LONG_AGO: Final = -math.inf


class Tcb:
    """The variables of one connection."""

    cc: CongestionControl
    """Made by `opening.settle`; before that, if at all, one that only tells a window."""

    __slots__ = (
        "_challenges",
        "_pacer",
        "_pmtu",
        "ack_noted",
        "acks",
        "acks_noted",
        "calm",
        "cc",
        "closed_by_user",
        "cork",
        "crossed_offer",
        "data_segs_in",
        "data_segs_out",
        "dsack_dups",
        "dsacks",
        "ecn",
        "ecn_asked",
        "error_news",
        "fast_open",
        "fast_open_data",
        "fin_reached",
        "fin_seq",
        "flow",
        "force_retransmit",
        "fresh",
        "heard_at",
        "irs",
        "iss",
        "keepalive",
        "last_ack_sent",
        "last_data_recv_at",
        "last_sent_at",
        "max_snd_wnd",
        "more",
        "mss",
        "mtu_at",
        "mtu_mark",
        "nodelay",
        "options",
        "pace_at",
        "paced",
        "parting",
        "path",
        "paths",
        "peer_fin",
        "peer_mss",
        "probe_due",
        "probes",
        "queue_share",
        "rates",
        "rcv_adv",
        "rcv_buffer",
        "rcv_mss",
        "rcv_nxt",
        "rcv_ooopack",
        "rcv_space",
        "rcv_tune_at",
        "rcv_tuning",
        "rcv_up",
        "rcv_wscale",
        "reassembly",
        "received",
        "received_bytes",
        "recovery",
        "reo_at",
        "retransmissions",
        "rexmt_at",
        "rexmt_why",
        "rto",
        "rtt_seq",
        "sack_enabled",
        "scoreboard",
        "segs_in",
        "segs_out",
        "sending",
        "shared_challenges",
        "snd_max",
        "snd_nxt",
        "snd_una",
        "snd_up",
        "snd_wl1",
        "snd_wl2",
        "snd_wnd",
        "snd_wscale",
        "soft_error",
        "stalled_since",
        "state",
        "syn_sent_at",
        "template",
        "tlp_at",
        "tlp_due",
        "total_retrans",
        "total_retransmitted",
        "total_rto",
        "transmit_run",
        "ts_enabled",
        "ts_offset",
        "ts_recent",
        "ts_recent_at",
        "unsettled",
        "urgent_news",
        "uto",
    )

    def __init__(
        self,
        flow: bytes,
        terms: Terms,
        template: HeaderTemplate,
        paths: PathMtuCache,
        challenges: SharedLimit | None,
        iss: int,
        ts_offset: int,
        now: float,
    ) -> None:
        never, long_ago = _NEVER, _LONG_AGO
        path, options = terms.path, terms.options
        path_mss, default_mss = path.mss, path.default_mss
        self.flow = flow
        """The stack's key: addresses and ports as inbound packets carry them."""
        self.path = path
        self.template = template
        self.transmit_run: Callable[[Frames], None] | None = None
        """Sends several frames that are alike but for their size, if there is such a way."""
        self.options = options
        self.state = _CLOSED
        self.calm = False
        """Known to be as `usual.is_calm` says. Cleared by `Connection`, in all that may change it:
        every arrival that is not predicted, timer, call, and transition."""
        self.parting = False
        """Calm but for our FIN, which is to leave. Cleared with `calm`, and by the next output."""
        self.more = False
        """The user has more to send than `sending` has room for."""
        self.fresh = False
        """What the user sends is in other memory each time, as of who reads a file or encrypts."""
        self.nodelay = options.nodelay

        # -- sending: snd_una <= snd_nxt <= snd_max --------------------------------------
        self.iss = iss
        self.snd_una = iss
        """Oldest unacknowledged; equal to `iss` until our SYN is acknowledged."""
        self.snd_nxt = iss
        """Next to be sent for the first time."""
        self.snd_max = iss
        """One above the highest ever sent: beyond `snd_nxt` only by a window probe."""
        self.acks_noted = 0
        """Acknowledgments of this batch that `snd_una` is still to follow (see `usualacks`)."""
        self.ack_noted = 0
        """The number of the last of them."""
        self.snd_wnd = 0
        """Window of the peer, scaled: it accepts below `snd_una + snd_wnd`."""
        self.max_snd_wnd = 0
        """The largest `snd_wnd` so far (RFC 9293 3.8.6.2.1, RFC 5961 5)."""
        self.snd_wl1 = 0
        """Sequence number of the segment that last updated `snd_wnd`."""
        self.snd_wl2 = 0
        """Acknowledgment number of that segment."""
        self.snd_wscale = 0
        self.snd_up: int | None = None
        """One above our urgent data (MUST-62); None without."""
        self.mss = path_mss if path_mss < default_mss else default_mss
        """Eff.snd.MSS: payload bytes of a full segment, options taken off (MUST-16)."""
        self.peer_mss = default_mss
        """What the peer's MSS option said, or its default."""
        self._pmtu: Discovery | None = None
        self.paths = paths
        """What the stack knows of all its paths."""
        self.mtu_mark = never
        """An acknowledgment of so much tells something of the path's MTU."""
        self.mtu_at = never
        """When new data has to do with the path's MTU."""
        self.syn_sent_at = long_ago
        self.crossed_offer: Offer | None = None
        """Simultaneous open, and Fast Open's server: what the peer's SYN offered."""
        self.fast_open: Asking | Accepted | None = None
        """Until the handshake is complete: what RFC 7413 makes different."""
        self.fast_open_data = False
        """Data on the SYN, ours or theirs, was taken (RFC 7413), as TCPI_OPT_SYN_DATA has it."""
        self.sending = SendBuffer(iss + 1, terms.send_limit)
        self.scoreboard = Scoreboard()
        self.fin_seq: int | None = None
        """Sequence number of our FIN, known as soon as nothing more will be written."""
        self.last_sent_at = long_ago
        """When data last left, for the restart of an idle connection."""

        # -- receiving: rcv_nxt <= rcv_adv ------------------------------------------------
        self.irs = 0
        self.rcv_nxt = 0
        self.rcv_adv = 0
        """Right edge of the window we offered; never moves left (SHLD-14)."""
        self.rcv_buffer = terms.receive_buffer
        """`rcv_space`, as the last segment offered it: a SYN can't offer all of it."""
        self.rcv_space = terms.receive_buffer
        """What may wait for the user, as far as the window field can say it, scaled."""
        self.rcv_tuning: ReceiveTuning | None = None
        """What makes `rcv_space` grow; None if it is fixed, or nothing came yet."""
        self.rcv_tune_at = never
        """When text is a reason to measure again."""
        self.queue_share: QueueShare | None = None
        """What of the link's queue is ours; None where it holds whatever is offered."""
        self.rcv_mss = path_mss
        """The MSS that we advertised."""
        self.rcv_wscale = 0
        self.rcv_up: int | None = None
        """One above the peer's urgent data; None without, or when it is passed."""
        self.urgent_news = False
        """The urgent pointer advanced and the user was not told yet (MUST-32)."""
        self.peer_fin: int | None = None
        """Sequence number of the peer's FIN, as soon as it is seen, in order or not."""
        self.fin_reached = False
        """The peer's FIN has had its turn: `rcv_nxt` is beyond it."""
        self.received: list[Buffer] = []
        """In order, not yet taken by the user; views are good for the batch, then copied."""
        self.received_bytes = 0
        self.unsettled = 0
        """How many chunks at the end of `received` may still be in the link's memory."""
        self.reassembly = NOTHING_HELD
        """What came ahead of its turn: an object of its own once something did."""
        self.dsacks: tuple[tuple[int, int], ...] = ()
        """What arrived again, to be reported once (RFC 2883)."""
        self.acks = AckPolicy(options.delayed_ack_s, options.quickack)
        self.closed_by_user = False
        """The user reads no more: new data is answered with RST (SHLD-3)."""

        # -- options in force (RFC 7323, RFC 2018) -----------------------------------------
        self.ts_enabled = False
        self.ts_offset = ts_offset
        self.ts_recent = 0
        """TS.Recent, unwrapped."""
        self.ts_recent_at = long_ago
        self.last_ack_sent = 0
        self.sack_enabled = False
        self.ecn: ClassicEcn | AccurateEcn | None = None
        """ECN as both sides agreed to use it; None: they did not."""
        self.ecn_asked = 0
        """What our SYNs have asked for, in the terms of `ecn_setup`."""

        # -- loss, congestion, timers -------------------------------------------------------
        self.rto = RtoEstimator(options.rto_initial_s, options.rto_min_s, options.rto_max_s)
        self.rtt_seq = iss
        """An acknowledgment beyond this gives the next round-trip sample: one for each window,
        however many frames or acknowledgments that takes (RFC 6298 3)."""
        self.recovery = Recovery(iss)
        self.rates = DeliveryRate(now)
        self._pacer: Pacer | None = None
        self.paced = terms.paced
        """The options ask for pacing, whatever the congestion control does."""
        self.shared_challenges = challenges
        """The stack's limit, on top of our own."""
        self._challenges: ChallengeLimit | None = None
        self.rexmt_at = never
        """When the send timer fires: retransmission, window probe or silly-window override."""
        self.tlp_at = never
        """When a tail loss probe is due (RFC 8985 7)."""
        self.tlp_due = False
        """The timer asks for one."""
        self.reo_at = never
        """When what was overtaken by later segments counts as lost (RFC 8985 6.2)."""
        self.pace_at = never
        """When pacing releases what waits for it."""
        self.rexmt_why = _RTO_RETRANSMIT
        """Label for what the scoreboard holds as lost."""
        self.retransmissions = 0
        """Consecutive ones without progress: counted against R1 and R2."""
        self.force_retransmit = False
        """A fast retransmit is due: its segment leaves whatever `cwnd` says (RFC 5681 3.2)."""
        self.probe_due = False
        """The timer asks for a window probe, or for what silly-window avoidance held back."""
        self.probes = 0
        """Consecutive window probes: each doubles the wait for the next."""
        self.stalled_since = never
        """When the peer last owed us an answer that it has not given: the user timeout's start."""
        self.heard_at = long_ago
        """When the last segment came that shows the peer alive: data or an acknowledgment."""
        self.keepalive = keepalive_of(options) if options.keepalive else None
        """None: off (MUST-25)."""
        self.uto = UserTimeout(options.user_timeout_s) if options.uto else None
        """RFC 5482; None: not enabled."""
        self.cork: Cork | None = None
        """None: no cork."""

        self.soft_error: OSError | None = None
        """The last error that did not end the connection: from ICMP (SHLD-25), or R1 (SHLD-9).
        None once data is acknowledged again."""
        self.error_news = False
        """There is a soft error that the user was not told of yet (MUST-47)."""

        # -- totals -------------------------------------------------------------------------
        self.total_retransmitted = 0
        """Bytes."""
        self.total_retrans = 0
        """Segments. These and the following under the names of Linux's tcp_info."""
        self.segs_in = self.segs_out = 0
        self.data_segs_in = self.data_segs_out = 0
        self.rcv_ooopack = 0
        self.dsack_dups = 0
        self.total_rto = 0
        self.last_data_recv_at = long_ago

    # -- what most connections never need, made when it is asked for -----------------------

    @property
    def local(self) -> Endpoint:
        return local_endpoint(self.flow)

    @property
    def remote(self) -> Endpoint:
        return remote_endpoint(self.flow)

    @property
    def challenges(self) -> ChallengeLimit:
        if self._challenges is None:
            self._challenges = ChallengeLimit(self.options.challenge_acks, self.shared_challenges)
        return self._challenges

    @property
    def pmtu(self) -> Discovery:
        """What is known of the path's MTU, once both SYNs are."""
        if self._pmtu is None:
            self._pmtu = Discovery(self)
        return self._pmtu

    @pmtu.setter
    def pmtu(self, found: Discovery) -> None:
        self._pmtu = found

    @property
    def pacer(self) -> Pacer:
        if self._pacer is None:
            self._pacer = Pacer()
        return self._pacer

    def hold(self, start: int, payload: Buffer) -> bool | None:
        """Keep text that came ahead of its turn: see `Reassembly.insert`."""
        if self.reassembly is NOTHING_HELD:
            # What was offered must find room, even if `rcv_space` has become less.
            self.reassembly = Reassembly(2 * max(self.rcv_space, self.rcv_adv - self.rcv_nxt))
        return self.reassembly.insert(start, payload)

    # -- small facts, derived ---------------------------------------------------------------

    @property
    def send_edge(self) -> int:
        """Right edge of the peer's window."""
        return self.snd_una + self.snd_wnd

    @property
    def fin_acked(self) -> bool:
        return self.fin_seq is not None and self.snd_una > self.fin_seq

    @property
    def unsent(self) -> int:
        """Sequence numbers that wait to be sent for the first time, a FIN included."""
        if self.fin_seq is None:
            return self.sending.end - self.snd_nxt
        return self.fin_seq + 1 - self.snd_nxt

    @property
    def total_received(self) -> int:
        """Bytes that arrived in order."""
        return max(self.rcv_nxt - self.irs - 1, 0) - self.fin_reached

    @property
    def timestamp(self) -> int:
        """The peer's timestamp to echo, for the wire."""
        return self.ts_recent & 0xFFFF_FFFF

    def clock(self, now: float) -> int:
        """Our timestamp: milliseconds from a random start (RFC 7323 5.4, 7.1)."""
        # Half of what int() takes.
        return (floor(now * 1000) + self.ts_offset) & 0xFFFF_FFFF
