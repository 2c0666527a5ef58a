"""Everything that can be tuned, in one place.

An `Options` belongs to a stack; `replace(**changes)` gives the variant for one listener or one
connection. Linux's names are used where Linux has the same knob. docs/options.md is generated from
here, and `aiotcp-serve -o name=value` reads here what there is: each option has its range in its
annotation and below it what it means, in which unit, and why the default is what it is.
"""

# No `from __future__ import annotations`: what each option takes is read from its annotation, and
# strings would have to be compiled again for that, a tenth of what `import aiotcp` takes.
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    TypeAlias,
    TypeVar,
    dataclass_transform,
    get_args,
    get_origin,
)

from aiotcp.ranges import Kind, Names, Range

CONGESTION_CONTROLS = frozenset({"bbr", "cubic", "reno"})
"""The names that `Options.cc` knows."""

_OF_STACK = "of the stack"

_Count: TypeAlias = Annotated[int, Range(1, 255)]
_StackCount: TypeAlias = Annotated[int, Range(1, 2**24), _OF_STACK]

_T = TypeVar("_T")


class _Later:
    """What `dataclasses` adds to a class of its kind: made when somebody asks for it, and kept."""

    __slots__ = ("_name", "_owner")

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        self._owner = owner

    def __get__(self, instance: object, owner: type) -> Any:
        from dataclasses import dataclass

        own = self._owner  # `owner` may derive from it
        body = {"__annotations__": dict(own.__annotations__), **_DEFAULTS}
        twin: Any = dataclass(frozen=True, init=False, repr=False, eq=False)(
            type(own.__name__, (), body)
        )
        made = getattr(twin, self._name)
        setattr(own, self._name, made)
        return made


@dataclass_transform(frozen_default=True, kw_only_default=True)
def _frozen(cls: type[_T]) -> type[_T]:
    """A frozen dataclass with slots, to programs and to `dataclasses`. What makes it one is written
    below, once for all fields: `dataclass` writes and compiles methods for each class, which with
    its module took a tenth of `import aiotcp`."""
    body = dict(vars(cls))
    names = tuple(cls.__annotations__)
    for name in names:
        _DEFAULTS[name] = body.pop(name)
    for name in ("__dict__", "__weakref__"):
        del body[name]
    later = {"__dataclass_fields__": _Later(), "__dataclass_params__": _Later()}
    kind: Any = type(cls)
    made: type[_T] = kind(
        cls.__name__,
        cls.__bases__,
        {"__slots__": names, "__match_args__": names, **later, **body},
    )
    return made


_DEFAULTS: dict[str, Any] = {}


@_frozen
class Options:
    """The tunables of a stack, a listener or a connection.

    Raises ValueError, naming the option and its range, for a value out of range, and TypeError for
    one of another type.
    """

    # -- Sending --------------------------------------------------------------------------
    cc: Annotated[str | Callable[[Any], Any], Names(sorted(CONGESTION_CONTROLS))] = "cubic"
    """The congestion control: "cubic" (RFC 9438), "reno" (RFC 5681), "bbr"
    (draft-ietf-ccwg-bbr-05), or a class of one's own; see docs/congestion.md. The default is
    Linux's. On a socket, TCP_CONGESTION."""
    pacing: bool = False
    """Spread what the window allows over the round trip, with every congestion control, as Linux's
    fq does; see docs/congestion.md. Off: BBR paces by itself, and the others send when
    acknowledgments come, which costs no timer."""
    max_pacing_rate: Annotated[int | None, Range(1, 2**40)] = None
    """Send at this rate at most, payload bytes per second, with every congestion control, as
    SO_MAX_PACING_RATE; what waits for a time no longer than a timer's is sent together, two
    segments or more. None: no limit."""
    initial_window_segments: Annotated[int, Range(1, 100)] = 10
    """Initial window, in segments: `min(N*MSS, max(2*MSS, N*1460))` bytes, with the N of RFC 6928
    2, which is Linux's, too."""
    nodelay: bool = True
    """Send small segments at once; off: Nagle's algorithm (RFC 9293 3.7.4). On, as asyncio sets
    TCP_NODELAY on every connection."""

    # -- Buffers --------------------------------------------------------------------------
    receive_buffer: Annotated[int | None, Range(1, 2**30)] = None
    """What may wait for the application, bytes, and so the largest window offered, as SO_RCVBUF.
    None: 512 KiB, and more where the application takes more within a round trip."""
    receive_buffer_max: Annotated[int, Range(1, 2**30)] = 32 * 1024 * 1024
    """As far as the receive buffer grows by itself, bytes, as the last of Linux's tcp_rmem. 200 ms
    of 1 Gbit/s are 25 MB. The window scale is chosen for it."""
    send_buffer: Annotated[int | None, Range(1, 2**30)] = None
    """What `send` accepts before it is acknowledged, bytes, as SO_SNDBUF. None: 256 KiB, or two
    congestion windows if that is more."""
    send_buffer_max: Annotated[int, Range(1, 2**30)] = 32 * 1024 * 1024
    """As far as the send buffer grows by itself, bytes, as the last of Linux's tcp_wmem; the same
    as for receiving."""

    # -- Acknowledging --------------------------------------------------------------------
    delayed_ack_s: Annotated[float, Range(0, 0.499)] = 0.04
    """How long an acknowledgment may wait for company, seconds (MUST-40: below 0.5). Linux's
    TCP_DELACK_MIN; a longer wait slows peers that have Nagle's algorithm."""
    quickack: bool = False
    """Acknowledge each batch of segments at once: TCP_QUICKACK, here until it is cleared. Off: one
    for every second segment is what RFC 5681 4.2 asks for."""

    # -- What SYNs agree on ---------------------------------------------------------------
    mss: Annotated[int | None, Range(64, 65495)] = None
    """MSS to advertise, bytes, as TCP_MAXSEG. None: what the link's MTU allows (RFC 9293 3.7.1)."""
    window_scaling: bool = True
    """Offer and accept the window scale option (RFC 7323 2), as Linux's tcp_window_scaling.
    Without it 64 KiB are all that fits into a round trip."""
    timestamps: bool = True
    """Offer and accept the timestamps option (RFC 7323 3), as Linux's tcp_timestamps, against old
    duplicates and for round trips that retransmissions leave ambiguous."""
    sack: bool = True
    """Offer and accept SACK (RFC 2018), as Linux's tcp_sack. Without it one loss is repaired in a
    round trip, not all."""
    dsack: bool = True
    """Where SACK is in use, report duplicates as well (RFC 2883), as Linux's tcp_dsack, so that the
    peer finds out which of its retransmissions were needless."""
    ecn: Annotated[str, Names(("off", "passive", "on", "accurate"))] = "passive"
    """Explicit congestion notification, by which routers mark packets instead of dropping them.
    "off": none; "passive": RFC 3168, if the peer asks for it; "on": ask for it as well;
    "accurate": ask for and grant RFC 9768's, which tells how many packets were marked, else
    RFC 3168's. Linux's tcp_ecn says 0, 2, 1 and 3 for these, and 2 by default: asking could meet
    a middlebox that drops such SYNs."""

    # -- Data on SYNs: TCP Fast Open ------------------------------------------------------
    tfo: Annotated[str, Names(("off", "client", "server", "on"))] = "off"
    """TCP Fast Open (RFC 7413), which saves a round trip. "client": ask servers for a cookie, and
    with one let programs write before there is a connection; "server": give and take cookies; "on":
    both; as 1, 2 and 3 in Linux's tcp_fastopen. With a cookie `connect` succeeds at once, and
    whether anybody is there shows later, as with TCP_FASTOPEN_CONNECT; the SYN leaves with the
    first data, or after 10 ms. Off, since it is only for protocols that survive it if the first
    data is delivered twice: the network may repeat a SYN (6.1)."""
    tfo_queue: Annotated[int, Range(1, 65535)] = 100
    """Connections of a listener whose handshake is not complete and whose program is at work
    already: TCP_FASTOPEN. Beyond it handshakes are as usual. As many as the default backlog."""
    tfo_key: str | None = None
    """The key of a server's cookies: 32 hexadecimal digits, as in Linux's tcp_fastopen_key, where
    hyphens may stand between; or two keys with a comma between them, of which the second only
    checks, for a change of keys. Machines behind one address need the same (RFC 7413 6.3.4). None:
    the stack's own, new every day."""

    # -- Retransmission, and when to give up ----------------------------------------------
    rto_initial_s: Annotated[float, Range(0.001, 60)] = 1.0
    """RTO before the first sample, seconds (RFC 6298 2.1)."""
    rto_min_s: Annotated[float, Range(0.001, 60)] = 0.2
    """Floor of the RTO, seconds. RFC 6298 2.4 says 1; practice, and Linux's TCP_RTO_MIN, say 0.2,
    which is well above any acknowledgment's delay."""
    rto_max_s: Annotated[float, Range(1, 600)] = 60.0
    """Ceiling of the RTO, seconds, and not below the floor (RFC 6298 2.5: at least 60)."""
    retries1: Annotated[int, Range(3, 255)] = 3
    """R1: after so many retransmissions a soft error is reported (SHLD-10: at least 3); Linux's
    tcp_retries1."""
    retries2: Annotated[int, Range(3, 255)] = 15
    """R2: after so many retransmissions the connection is given up; Linux's tcp_retries2. SHLD-11
    asks for 100 s or more; these take 9 minutes at least."""
    syn_retries: _Count = 7
    """R2 for a SYN, as Linux's tcp_syn_retries and TCP_SYNCNT: one more than there, since
    with the ceiling of 60 s 6 retransmissions take 123 s, 7 take 183 (MUST-23: 3 minutes)."""
    user_timeout_s: Annotated[float | None, Range(0.001, 86400 * 30)] = None
    """Give up when data stays unacknowledged so many seconds (ST-25), however many retransmissions
    that takes, as TCP_USER_TIMEOUT. None: R2 alone."""
    uto: bool = False
    """Advertise our user timeout, or 5 minutes, to the peer, and unless `user_timeout_s` was set
    adopt the longer of that and the peer's, within 100 s and 1 hour (RFC 5482). What the peer
    advertises is then known as `connection.uto.remote_s`. Off, as few have it: Linux does not."""

    # -- Keep-alive -----------------------------------------------------------------------
    keepalive: bool = False
    """Probe the peer of an idle connection, and give up if it does not answer, as SO_KEEPALIVE;
    off (MUST-25). A user timeout, if there is one, then says when, and not the number of probes."""
    keepalive_idle_s: Annotated[float, Range(1, 32767)] = 7200.0
    """Silence before the first probe, seconds (MUST-28: two hours or more), as TCP_KEEPIDLE."""
    keepalive_interval_s: Annotated[float, Range(1, 32767)] = 75.0
    """Between probes, seconds, as TCP_KEEPINTVL."""
    keepalive_probes: Annotated[int, Range(1, 127)] = 9
    """Give up after so many without an answer, as TCP_KEEPCNT."""

    # -- Path MTU and IP header -----------------------------------------------------------
    mtu_probing: Annotated[str, Names(("off", "blackhole", "on"))] = "blackhole"
    """Packetization-layer path MTU discovery (RFC 4821), as Linux's tcp_mtu_probing: "off";
    "blackhole", once full-sized segments have timed out repeatedly; "on", always: connections
    begin with `base_mtu` and probe upwards. Linux's default is off, and a path that drops large
    packets without a word stops it."""
    base_mtu: Annotated[int, Range(552, 65535)] = 1200
    """An IP packet of so many bytes passes nearly everywhere (RFC 8899 5.1.2, BASE_PLPMTU); 1280 at
    least where the path is IPv6."""
    mtu_expires_s: Annotated[float, Range(300, math.inf)] = 600.0
    """How long a path MTU below the link's is believed before more is tried, seconds; infinity for
    ever. RFC 1191 6.3 says 300 at least and recommends 600, as Linux's route/mtu_expires has it."""
    hop_limit: _Count = 64
    """TTL or hop limit of every packet (MUST-49), as IP_TTL. 64 is what RFC 1700 and all systems
    have settled on."""
    traffic_class: Annotated[int, Range(0, 255)] = 0
    """Octet whose upper six bits, the DSCP, are every packet's (MUST-48), as IP_TOS; the lower two
    are not looked at, since they belong to `ecn`."""

    # -- Listening and closing ------------------------------------------------------------
    synack_retries: _Count = 5
    """Retransmissions of a SYN+ACK before a half-open entry is dropped: 63 s, as with Linux's
    tcp_synack_retries."""
    syn_cookies: Annotated[str, Names(("auto", "off", "always"))] = "auto"
    """Answer SYNs beyond a listener's backlog without keeping anything of them (RFC 4987 3.6), as
    Linux's tcp_syncookies: "auto"; "off": drop them; "always": answer all so, for tests only."""
    time_wait_s: Annotated[float, Range(0, 600)] = 60.0
    """2MSL, the length of TIME-WAIT, seconds, as Linux has it (RFC 9293 3.4.2: MSL is 2 minutes, by
    an engineering choice of 1981); 0 switches it off, for tests only."""
    fin_timeout_s: Annotated[float, Range(0.1, 86400)] = 60.0
    """How long an orphan stays in FIN-WAIT-2, seconds (ST-29), as Linux's tcp_fin_timeout and
    TCP_LINGER2."""
    orphan_retries: _Count = 8
    """R2 of an orphan, where it is less than `retries2`; answers of a peer that keeps a zero window
    do not start the count anew. Linux's tcp_orphan_retries."""
    challenge_acks: Annotated[int, Range(1, 1000)] = 10
    """Challenge ACKs per connection in 5 seconds, as many as RFC 5961 7 suggests."""

    # -- Limits of a stack as a whole -----------------------------------------------------
    max_connections: _StackCount = 65536
    """Connections, half-open entries and TIME-WAIT apart: beyond it no listener takes a new one,
    and SYNs are dropped; `connect` is not limited. At 8 KiB each, 512 MiB."""
    max_time_wait: Annotated[int, Range(0, 2**24), _OF_STACK] = 65536
    """TIME-WAIT entries; the oldest gives way beyond. Linux's tcp_max_tw_buckets."""
    max_orphans: Annotated[int, Range(0, 2**24), _OF_STACK] = 8192
    """Connections that their program has closed and TCP has not: beyond it the oldest is reset.
    Linux's tcp_max_orphans."""
    max_path_mtus: Annotated[int, Range(1, 2**20), _OF_STACK] = 4096
    """Destinations whose path MTU is remembered; the oldest gives way beyond."""
    max_tfo_servers: Annotated[int, Range(1, 2**20), _OF_STACK] = 1024
    """Servers whose cookie, or failure, is remembered; the least recently used gives way beyond, as
    with Linux's metrics of destinations."""
    memory_limit: Annotated[int | None, Range(2**16, 2**40), _OF_STACK] = None
    """What receive queues, reassembly and send buffers of all connections may hold, bytes; Linux's
    tcp_mem. From three quarters of it on, windows and buffers are small and nothing is kept out of
    order; at the limit, data for programs that do not read is dropped, and when a program closes a
    connection, the oldest of those that it has closed and TCP has not is reset. None: of the
    machine's memory, or what a container may use of it, 3/32, which is the last of Linux's tcp_mem;
    where a device has several queues (`--workers`), so much for all of them together, in equal
    parts; 512 MiB for a link that stays in the process, such as `memory.pair()`, so that tests run
    on all machines alike. `aiotcp info --json` tells what became of it."""
    challenge_ack_rate: _StackCount = 1000
    """Challenge ACKs per second, about, as Linux's tcp_challenge_ack_limit: the number is drawn
    anew for each second, so that nobody can count what is left of it."""
    rst_rate: _StackCount = 1000
    """RSTs per second, about, for segments that belong to no connection."""
    icmp_rate: _StackCount = 1000
    """ICMP replies per second, about (RFC 1812 4.3.2.8, RFC 4443 2.4 f); Linux's icmp_msgs_per_sec.
    """

    if not TYPE_CHECKING:  # it knows which arguments there are

        def __init__(self, **options: Any) -> None:
            for name in options:
                kind_of(name)
            put = object.__setattr__
            for name, value in (_DEFAULTS | options).items():
                put(self, name, value)
            self.__post_init__()

        def __setattr__(self, name: str, value: object) -> None:
            from dataclasses import FrozenInstanceError

            raise FrozenInstanceError(f"cannot assign to field {name!r}")

        def __delattr__(self, name: str) -> None:
            from dataclasses import FrozenInstanceError

            raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __post_init__(self) -> None:
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value is not default:
                KINDS[name].check(name, value)
        if self.rto_max_s < self.rto_min_s:
            raise ValueError(
                f"rto_max_s must be between {self.rto_min_s:g} and 600, not {self.rto_max_s!r}"
            )

        self.tfo_keys()

    def tfo_keys(self) -> tuple[bytes, ...]:
        """The keys of `tfo_key`, none if that is None. Raises ValueError for what is none."""
        if self.tfo_key is None:
            return ()
        try:
            keys = [bytes.fromhex(key.replace("-", "")) for key in self.tfo_key.split(",")]
        except ValueError:
            keys = []
        if len(keys) not in (1, 2) or any(len(key) != 16 for key in keys):
            raise ValueError(
                f"tfo_key must be 32 hexadecimal digits, or twice, not {self.tfo_key!r}"
            )
        return tuple(keys)

    def _values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in KINDS])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **dict(zip(KINDS, self._values(), strict=True))), ()

    def __repr__(self) -> str:
        values = zip(KINDS, self._values(), strict=True)
        return f"Options({', '.join(f'{name}={value!r}' for name, value in values)})"

    def replace(self, **changes: Any) -> "Options":
        """A copy with `changes`. Raises TypeError for a name that is no option."""
        for name in changes:
            kind_of(name)
        return type(self)(**dict(zip(KINDS, self._values(), strict=True)) | changes)

    __replace__ = replace

    @classmethod
    def of(cls, options: "Options | Mapping[str, Any] | None") -> "Options":
        """What a stack is given: `options`, or the defaults with a few changes, or just these.

        Raises TypeError for what is neither, and for a name that is no option; ValueError for a
        value out of range.
        """
        if isinstance(options, Options):
            return options
        if options is not None and not isinstance(options, Mapping):
            raise TypeError(f"options must be Options or a mapping of changes, not {options!r}")
        return cls(**(options or {}))

    def variant(self, options: "Options | Mapping[str, Any] | None") -> "Options":
        """What holds for one listener or connection of a stack whose options these are: `options`
        in their place, or these with a few changes, or just these.

        Raises TypeError for what is neither, and for changes with a name that is no option,
        ValueError for a value out of range or for an option of the stack as a whole.
        """
        if options is None:
            return self
        if isinstance(options, Options):
            return options
        if not isinstance(options, Mapping):
            raise TypeError(f"options must be Options or a mapping of changes, not {options!r}")
        for name in options:
            if kind_of(name).of_stack:
                raise ValueError(f"{name} is an option of the stack as a whole: set it there")
        return self.replace(**options)


def kind_of(name: str) -> Kind:
    """What option `name` is. Raises TypeError, with the nearest name, if there is none such."""
    kind = KINDS.get(name)
    if kind is not None:
        return kind
    from difflib import get_close_matches  # for people who mistype only

    near = get_close_matches(str(name), KINDS, 1)
    hint = f": did you mean {near[0]!r}?" if near else ""
    raise TypeError(f"no option is called {name!r}{hint}")


def _kinds() -> dict[str, Kind]:
    kinds = {}
    annotations: dict[str, Any] = Options.__annotations__
    for name, hint in annotations.items():
        extras: list[Any] = []
        if get_origin(hint) is Annotated:
            hint, *extras = get_args(hint)
        types = get_args(hint) or (hint,)
        bounds = next((each for each in extras if isinstance(each, Range | Names)), None)
        kinds[name] = Kind(
            types[0],
            bounds,
            optional=type(None) in types,
            or_class=any(get_origin(each) is Callable for each in types),
            of_stack=_OF_STACK in extras,
        )
    return kinds


KINDS = _kinds()
"""Each option, in the order of the class."""
