"""Initial sequence numbers that grow with time and that outsiders cannot compute (RFC 6528)."""

from __future__ import annotations

from typing import Final

from aiotcp.tcp.digest import blake2b
from aiotcp.tcp.seq import MASK

_TICKS_PER_S: Final = 250_000
"""RFC 9293 3.4.1, MUST-8: a clock that ticks about every 4 microseconds."""


def _keyed(secret: bytes, flow: bytes) -> int:
    """64 bits: half of them for each number, which tells nothing of the other one."""
    return int.from_bytes(blake2b(flow, key=secret, digest_size=8).digest(), "big")


def initial_numbers(secret: bytes, flow: bytes, now: float) -> tuple[int, int]:
    """`initial_sequence_number` and `timestamp_offset` by one hash."""
    keyed = _keyed(secret, flow)
    return int(now * _TICKS_PER_S) + (keyed >> 32) & MASK, keyed & MASK


def initial_sequence_number(secret: bytes, flow: bytes, now: float) -> int:
    """ISN = M + F(localip, localport, remoteip, remoteport, secretkey) (RFC 6528 3).

    `flow` holds the addresses and ports, `secret` 16 to 64 random bytes of this stack.
    """
    return initial_numbers(secret, flow, now)[0]


def timestamp_offset(secret: bytes, flow: bytes) -> int:
    """Where this connection's timestamp clock starts (RFC 7323 7.1: random per connection)."""
    return _keyed(secret, flow) & MASK
