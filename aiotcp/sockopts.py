"""Socket options: what each means for a connection or a listener of the stack.

Most are options of `aiotcp.options.Options` under their socket names: set on a listener, they hold
for the connections that it accepts from then on, as with Linux. Numbers are the kernel's ints; what
is measured in seconds there is whole seconds here.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from operator import index
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from aiotcp.options import CONGESTION_CONTROLS, Options
from aiotcp.tcp.buffers import initial_receive_buffer, initial_send_buffer, send_limit
from aiotcp.tcp.connection import Connection
from aiotcp.tcp.listener import Listener

_T = TypeVar("_T")

Key: TypeAlias = tuple[int, int]
"""Level and name."""

Value: TypeAlias = int | bytes | bytearray | memoryview
"""Of an option; any other buffer does as well."""

INT = struct.Struct("@i")
LINGER = struct.Struct("@ii")
ZERO = INT.pack(0)
_U64 = struct.Struct("=Q")
_U64_MAX = 2**64 - 1
_U32 = struct.Struct("=I")
_U32_MAX = 2**32 - 1
_BBR_INFO = struct.Struct("=5I")
_CA_NAME_MAX = 16
_INT_MAX = 2**31 - 1
_BUFFER_MAX = 2**30
_SHORT_FIN_TIMEOUT_S = 0.1

_UNNAMED = {"SO_MAX_PACING_RATE": 47, "TCP_CC_INFO": 26, "TCP_FASTOPEN_CONNECT": 30}
"""Linux's numbers that Python's socket module does not have, or not in every version."""


def _number_of(name: str) -> int | None:
    of_linux = _UNNAMED.get(name) if sys.platform == "linux" else None
    number: int | None = getattr(socket, name, of_linux)
    return number


def numbered(table: Mapping[tuple[str, str], _T]) -> dict[Key, _T]:
    """The table with this system's numbers for the names of levels and options.

    Options that the system has no name for are left out: no program can ask for them there, and
    the number that another system gives them stands for something else.
    """
    return {
        (level, number): value
        for (level_name, name), value in table.items()
        if (level := _number_of(level_name)) is not None
        and (number := _number_of(name)) is not None
    }


class Target(Protocol):
    """What has options: a connection, a listener, or `Detached`."""

    options: Options

    def configure(self, **changes: Any) -> None:
        """Change some of them. Raises ValueError for what is out of range."""


class Detached:
    """The target of a socket that belongs to neither connection nor listener."""

    def __init__(self) -> None:
        self.options = Options()

    def configure(self, **changes: Any) -> None:
        self.options = self.options.replace(**changes)


# Arguments, with the errors of Python's socket module


def _c_int(value: int) -> int:
    number = index(value)
    if number > _INT_MAX:
        raise OverflowError("signed integer is greater than maximum")
    if number < -_INT_MAX - 1:
        raise OverflowError("signed integer is less than minimum")
    return number


def key_arguments(level: int, optname: int) -> Key:
    """Raises TypeError, OverflowError."""
    return _c_int(level), _c_int(optname)


def length_argument(buflen: int) -> int:
    """The third argument of getsockopt(). Raises TypeError, OverflowError, OSError."""
    length = _c_int(buflen)
    if not 0 <= length <= 1024:
        raise OSError("getsockopt buflen out of range")
    return length


def value_argument(value: Value | None, optlen: tuple[int, ...]) -> bytes | None:
    """The third argument of setsockopt() as bytes; None if that is None, and a fourth follows.
    Raises TypeError."""
    if value is None and len(optlen) == 1:
        _c_int(optlen[0])
        return None
    if optlen:
        raise TypeError(f"setsockopt() takes exactly 3 arguments ({3 + len(optlen)} given)")
    if hasattr(value, "__index__"):
        number = index(value)  # type: ignore[arg-type]  # it has __index__
        if -_INT_MAX - 1 <= number <= _INT_MAX:
            return INT.pack(number)
    try:
        return bytes(memoryview(value))  # type: ignore[arg-type]  # what is none raises
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"a bytes-like object is required, not {kind!r}") from None


class Option(NamedTuple):
    """An option that acts."""

    get: Callable[[Target], int]
    set: Callable[[Target, int], None]
    """Raises ValueError for what is out of range."""
    inherited: bool = True
    """A connection gets it from its listener; otherwise it has no effect there."""


class BytesOption(NamedTuple):
    """An option that is more than an int."""

    get: Callable[[Target, float, int], bytes]
    """Of a target, at a time, for a caller who has room for so many bytes."""
    set: Callable[[Target, bytes], None] | None = None
    """Raises ValueError for what is out of range, FileNotFoundError for a name that is unknown."""


def _number(name: str, default: int | None = None) -> Option:
    """Option `name`, a count or a size. `default` is what -1 stands for."""

    def set_(target: Target, value: int) -> None:
        target.configure(**{name: default if value == -1 and default is not None else value})

    return Option(lambda target: int(getattr(target.options, name)), set_)


def _flag(name: str) -> Option:
    return Option(
        lambda target: int(getattr(target.options, name)),
        lambda target, value: target.configure(**{name: bool(value)}),
    )


def _traffic_class() -> Option:
    """IP_TOS, IPV6_TCLASS: as on Linux, a TCP socket sets DSCP, and ECN is TCP's own business."""

    def set_(target: Target, value: int) -> None:
        if not -1 <= value <= 255:
            raise ValueError(f"traffic class must be between 0 and 255, not {value}")
        own = target.options.traffic_class & 3
        target.configure(traffic_class=max(value, 0) & 0xFC | own)

    return Option(lambda target: target.options.traffic_class, set_)


def _set_user_timeout(target: Target, milliseconds: int) -> None:
    target.configure(user_timeout_s=milliseconds / 1000 if milliseconds else None)


def _set_nodelay(target: Target, value: int) -> None:
    """ "Setting this option forces an explicit flush of pending output, even if TCP_CORK is
    currently set" (tcp(7))."""
    target.configure(nodelay=bool(value))
    if value and isinstance(target, Connection) and target.cork is not None:
        target.cork.flush()


def _get_cork(target: Target) -> int:
    return int(isinstance(target, Connection) and target.cork is not None)


def _set_cork(target: Target, value: int) -> None:
    if isinstance(target, Connection):
        target.set_cork(bool(value))


def _get_maxseg(target: Target) -> int:
    """What a connection sends at most, options taken off; else what is to be advertised."""
    if isinstance(target, Connection):
        return target.mss
    return target.options.mss or 536


def _set_maxseg(target: Target, value: int) -> None:
    """Acts on the SYN+ACKs of a listener. On a connection it comes too late, and as on Linux
    that is no error. 0: what the MTU allows."""
    target.configure(mss=value or None)


def _get_sndbuf(target: Target) -> int:
    if isinstance(target, Connection):
        return send_limit(target)
    return initial_send_buffer(target.options)


def _buffer_size(value: int, least: int) -> int:
    """As Linux, which takes what it can have instead of a value out of range, and a negative one
    for a very large one."""
    return max(value, least) if 0 <= value <= _BUFFER_MAX else _BUFFER_MAX


def _set_sndbuf(target: Target, value: int) -> None:
    """From now on it is what the program says. Linux doubles it, and tells so, for its own overhead
    in the same memory; what counts here are bytes of payload."""
    target.configure(send_buffer=_buffer_size(value, 2304))


def _get_rcvbuf(target: Target) -> int:
    if isinstance(target, Connection):
        return target.rcv_space
    return initial_receive_buffer(target.options)


def _set_rcvbuf(target: Target, value: int) -> None:
    """As SO_SNDBUF. On a connection the window scale of its SYN is the limit."""
    target.configure(receive_buffer=_buffer_size(value, 1152))


def _get_linger2(target: Target) -> int:
    seconds = target.options.fin_timeout_s
    return -1 if seconds <= _SHORT_FIN_TIMEOUT_S else max(round(seconds), 1)


def _set_linger2(target: Target, seconds: int) -> None:
    """How long an orphan stays in FIN-WAIT-2. 0 is the default, less than that as short as can
    be (there Linux resets at once), and 2 minutes are the most, as there."""
    if seconds == 0:
        target.configure(fin_timeout_s=Options().fin_timeout_s)
    else:
        target.configure(fin_timeout_s=min(max(seconds, _SHORT_FIN_TIMEOUT_S), 120))


def _get_congestion(target: Target, now: float, size: int) -> bytes:
    if isinstance(target, Connection):
        from aiotcp.tcpinfo import control_name

        name = control_name(target)
    else:
        cc = target.options.cc
        name = cc if isinstance(cc, str) else getattr(cc, "name", "")
    return name.encode()[:_CA_NAME_MAX].ljust(_CA_NAME_MAX, b"\0")


def _set_congestion(target: Target, value: bytes) -> None:
    """A connection goes on from the window that it has."""
    name = value.partition(b"\0")[0].decode("ascii", "replace")
    if name not in CONGESTION_CONTROLS:
        raise FileNotFoundError(errno.ENOENT, f"no congestion control is called {name!r}")
    target.configure(cc=name)


def _get_tcp_info(target: Target, now: float, size: int) -> bytes:
    from aiotcp.tcpinfo import TcpInfo, TcpState, listener_info, tcp_info

    if isinstance(target, Connection):
        info = tcp_info(target, now)
    elif isinstance(target, Listener):
        info = listener_info(target)
    else:
        info = TcpInfo(state=TcpState.CLOSE)
    return info.pack()


def _get_cc_info(target: Target, now: float, size: int) -> bytes:
    """union tcp_cc_info: nothing but for BBR, which has struct tcp_bbr_info."""
    from aiotcp.tcpinfo import control_name

    if not isinstance(target, Connection) or control_name(target) != "bbr":
        return b""
    info = target.cc.info()
    bandwidth, min_rtt = int(info["bw"]), min(info["min_rtt"], 4000.0)
    return _BBR_INFO.pack(
        bandwidth & _U32_MAX,
        bandwidth >> 32,
        round(min_rtt * 1e6),
        round(info["pacing_gain"] * 256),
        round(info["cwnd_gain"] * 256),
    )


def _get_max_pacing_rate(target: Target, now: float, size: int) -> bytes:
    rate = target.options.max_pacing_rate
    if size < _U64.size:
        return _U32.pack(_U32_MAX if rate is None else min(rate, _U32_MAX))
    return _U64.pack(_U64_MAX if rate is None else rate)


def _set_max_pacing_rate(target: Target, value: bytes) -> None:
    """As an int or as a long; all ones for no limit."""
    if len(value) >= _U64.size:
        rate = _U64.unpack_from(value)[0]
        unlimited = rate == _U64_MAX
    else:
        rate = _U32.unpack(value[:4].ljust(4, b"\0"))[0]
        unlimited = rate == _U32_MAX
    target.configure(max_pacing_rate=None if unlimited else min(rate, 2**40))


def _get_fastopen(target: Target) -> int:
    return target.options.tfo_queue if target.options.tfo in ("server", "on") else 0


def _set_fastopen(target: Target, value: int) -> None:
    """As listen(2)'s backlog: how many connections may be pending; 0 switches it off."""
    if isinstance(target, Connection) or value < 0:
        raise ValueError("TCP_FASTOPEN is for listeners, and 0 or more")
    client = target.options.tfo in ("client", "on")
    if value:
        target.configure(tfo="on" if client else "server", tfo_queue=min(value, 65535))
    else:
        target.configure(tfo="client" if client else "off")


def _get_fastopen_connect(target: Target) -> int:
    return int(target.options.tfo in ("client", "on"))


def _set_fastopen_connect(target: Target, value: int) -> None:
    """Too late: what has a socket here was opened by `Options.tfo`."""
    raise ValueError("TCP_FASTOPEN_CONNECT comes before connect(): see Options.tfo")


_hop_limit = _number("hop_limit", default=Options().hop_limit)

ACTING: dict[Key, Option] = numbered(
    {
        ("SOL_SOCKET", "SO_SNDBUF"): Option(_get_sndbuf, _set_sndbuf),
        ("SOL_SOCKET", "SO_RCVBUF"): Option(_get_rcvbuf, _set_rcvbuf),
        ("SOL_SOCKET", "SO_KEEPALIVE"): _flag("keepalive"),
        # Urgent data stays in its place in the stream, as RFC 6093 6 wants: there is no other.
        ("SOL_SOCKET", "SO_OOBINLINE"): Option(lambda _: 1, lambda _, __: None),
        # asyncio sets it on every connection, whatever the listener had.
        ("IPPROTO_TCP", "TCP_NODELAY"): Option(
            lambda target: int(target.options.nodelay), _set_nodelay, inherited=False
        ),
        ("IPPROTO_TCP", "TCP_CORK"): Option(_get_cork, _set_cork, inherited=False),
        # On Linux it lapses after some segments, and reads 1 until that happens for the first time.
        # Here it stays as it is set; programs that repeat it, as they must there, lose nothing.
        ("IPPROTO_TCP", "TCP_QUICKACK"): _flag("quickack"),
        ("IPPROTO_TCP", "TCP_KEEPIDLE"): _number("keepalive_idle_s"),
        ("IPPROTO_TCP", "TCP_KEEPALIVE"): _number("keepalive_idle_s"),  # macOS' name for it
        ("IPPROTO_TCP", "TCP_KEEPINTVL"): _number("keepalive_interval_s"),
        ("IPPROTO_TCP", "TCP_KEEPCNT"): _number("keepalive_probes"),
        ("IPPROTO_TCP", "TCP_SYNCNT"): _number("syn_retries"),
        ("IPPROTO_TCP", "TCP_USER_TIMEOUT"): Option(
            lambda target: round((target.options.user_timeout_s or 0) * 1000), _set_user_timeout
        ),
        ("IPPROTO_TCP", "TCP_MAXSEG"): Option(_get_maxseg, _set_maxseg),
        ("IPPROTO_TCP", "TCP_LINGER2"): Option(_get_linger2, _set_linger2),
        ("IPPROTO_TCP", "TCP_FASTOPEN"): Option(_get_fastopen, _set_fastopen),
        ("IPPROTO_TCP", "TCP_FASTOPEN_CONNECT"): Option(
            _get_fastopen_connect, _set_fastopen_connect
        ),
        ("IPPROTO_IP", "IP_TOS"): _traffic_class(),
        ("IPPROTO_IP", "IP_TTL"): _hop_limit,
        ("IPPROTO_IPV6", "IPV6_TCLASS"): _traffic_class(),
        ("IPPROTO_IPV6", "IPV6_UNICAST_HOPS"): _hop_limit,
    }
)

STRUCTURED: dict[Key, BytesOption] = numbered(
    {
        ("SOL_SOCKET", "SO_MAX_PACING_RATE"): BytesOption(
            _get_max_pacing_rate, _set_max_pacing_rate
        ),
        ("IPPROTO_TCP", "TCP_CONGESTION"): BytesOption(_get_congestion, _set_congestion),
        ("IPPROTO_TCP", "TCP_INFO"): BytesOption(_get_tcp_info),
        ("IPPROTO_TCP", "TCP_CC_INFO"): BytesOption(_get_cc_info),
    }
)

REMEMBERED: dict[Key, bytes] = numbered(
    {
        ("SOL_SOCKET", "SO_LINGER"): LINGER.pack(0, 0),
        ("SOL_SOCKET", "SO_REUSEADDR"): INT.pack(1),
        ("SOL_SOCKET", "SO_REUSEPORT"): ZERO,
        ("SOL_SOCKET", "SO_BROADCAST"): ZERO,
        ("SOL_SOCKET", "SO_PRIORITY"): ZERO,
        ("IPPROTO_TCP", "TCP_NODELAY"): INT.pack(1),
        ("IPPROTO_TCP", "TCP_CORK"): ZERO,
        ("IPPROTO_TCP", "TCP_DEFER_ACCEPT"): ZERO,
        ("IPPROTO_TCP", "TCP_NOTSENT_LOWAT"): ZERO,
        ("IPPROTO_IP", "IP_TOS"): ZERO,
        ("IPPROTO_IP", "IP_TTL"): INT.pack(Options().hop_limit),
        ("IPPROTO_IPV6", "IPV6_V6ONLY"): INT.pack(1),
    }
)
"""Options that can be set to no effect (IPv4's on an IPv6 connection among them), and what they
read as until then: Linux's defaults."""

FLAGS: frozenset[Key] = frozenset(
    numbered(
        dict.fromkeys(
            (
                ("SOL_SOCKET", "SO_REUSEADDR"),
                ("SOL_SOCKET", "SO_REUSEPORT"),
                ("SOL_SOCKET", "SO_BROADCAST"),
                ("IPPROTO_IPV6", "IPV6_V6ONLY"),
            )
        )
    )
)
"""Those of them that read as 0 or 1."""


def acting(key: Key, target: Target, family: socket.AddressFamily) -> Option | None:
    """The option if it acts on `target`, whose addresses are of `family`."""
    if key[0] == socket.IPPROTO_IP and family != socket.AF_INET:
        return None
    option = ACTING.get(key)
    if option is None or option.inherited or isinstance(target, Connection):
        return option
    return None
