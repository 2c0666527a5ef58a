"""SYN cookies: the answer to a SYN that needs no record of it (RFC 4987 3.6 and appendix A).

What must be known again when the handshake completes is in the SYN+ACK, and the ACK brings it
back: the MSS in the initial sequence number, under a keyed hash that only this stack can make;
window scale, SACK and ECN in the lowest bits of the timestamp, if the SYN had one.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, NamedTuple

from aiotcp.tcp.digest import blake2b

PERIOD_S: Final = 64.0
"""The slow counter's: a cookie is good in the period in which it was made and in the next."""

MSS_TABLE: Final = (48, 536, 1220, 1360, 1440, 1452, 1460, 8940)
"""What of the MSS is kept: the largest of these that is not above it. 536 and 1220 are the
defaults, 1360 tunnels, 1440 and 1460 Ethernet with IPv6 and IPv4, 1452 PPPoE, 8940 jumbo frames.
Their number divides the hash's range, so that no index is likelier than another."""

_LOW: Final = 0xFF_FFFF
_NO_SCALE: Final = 15
_SACK: Final = 16
_ECN: Final = 32
_OPTION_BITS: Final = 6
_OPTION_MASK: Final = (1 << _OPTION_BITS) - 1


def _period(now: float) -> int:
    return int(now // PERIOD_S)


def _hash(secret: bytes, flow: bytes, irs: int, period: int) -> int:
    said = flow + irs.to_bytes(4, "big") + period.to_bytes(8, "big", signed=True)
    digest = blake2b(said, key=secret, digest_size=3, person=b"aiotcp-cookie")
    return int.from_bytes(digest.digest(), "big")


def _base(secret: bytes, flow: bytes, irs: int) -> int:
    digest = blake2b(flow, key=secret, digest_size=4, person=b"aiotcp-cookie-is")
    return int.from_bytes(digest.digest(), "big") + irs


def make(secret: bytes, flow: bytes, irs: int, mss: int, now: float) -> int:
    """The initial sequence number that answers the SYN with number `irs` on `flow` (the 4-tuple).

    Appendix A: a hash of the 4-tuple, plus the peer's number, plus the counter in the top eight
    bits, so that the numbers of one 4-tuple grow with time, plus the MSS's place in a table under a
    hash of all that. A guess hits with a probability of 2**-28.
    """
    period = _period(now)
    index = max(bisect_right(MSS_TABLE, mss) - 1, 0)
    low = (_hash(secret, flow, irs, period) + index) & _LOW
    return (_base(secret, flow, irs) + (period << 24) + low) & 0xFFFF_FFFF


def check(secret: bytes, flow: bytes, irs: int, cookie: int, now: float) -> int | None:
    """The MSS in `cookie`, or None if it is none of ours or too old."""
    period = _period(now)
    rest = (cookie - _base(secret, flow, irs)) & 0xFFFF_FFFF
    for made in (period, period - 1):
        low = (rest - (made << 24)) & 0xFFFF_FFFF
        if low > _LOW:
            continue
        index = (low - _hash(secret, flow, irs, made)) & _LOW
        if index < len(MSS_TABLE):
            return MSS_TABLE[index]
    return None


class Extras(NamedTuple):
    """What else a SYN offered and was granted."""

    wscale: int | None
    """The peer's shift; None: no scaling."""
    sack: bool
    ecn: bool


def stamp(clock: int, extras: Extras) -> int:
    """The timestamp nearest below or at `clock` that carries `extras`: it never runs ahead, or the
    connection's next ones would seem to go back (RFC 7323 5.3)."""
    bits = _NO_SCALE if extras.wscale is None else extras.wscale
    bits |= _SACK * extras.sack | _ECN * extras.ecn
    stamped = clock >> _OPTION_BITS << _OPTION_BITS | bits
    if stamped > clock:
        stamped -= 1 << _OPTION_BITS
    return stamped


def read_stamp(tsecr: int) -> Extras:
    """What the echo of a `stamp` brings back; never more than was granted to somebody."""
    bits = tsecr & _OPTION_MASK
    wscale = bits & _NO_SCALE
    return Extras(
        wscale=None if wscale == _NO_SCALE else wscale,
        sack=bool(bits & _SACK),
        ecn=bool(bits & _ECN),
    )
