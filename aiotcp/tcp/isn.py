"""Initial sequence numbers that grow with time and that outsiders cannot compute (RFC 6528)."""

from __future__ import annotations

from hashlib import blake2b

_TICKS_PER_S = 250_000
"""RFC 9293 3.4.1, MUST-8: a clock that ticks about every 4 microseconds."""


def _keyed(secret: bytes, flow: bytes, purpose: bytes) -> int:
    digest = blake2b(flow, key=secret, digest_size=4, person=purpose)
    return int.from_bytes(digest.digest(), "big")


def initial_sequence_number(secret: bytes, flow: bytes, now: float) -> int:
    """ISN = M + F(localip, localport, remoteip, remoteport, secretkey) (RFC 6528 3).

    `flow` holds the addresses and ports, `secret` 16 to 64 random bytes of this stack.
    """
    return (int(now * _TICKS_PER_S) + _keyed(secret, flow, b"aiotcp-isn")) & 0xFFFF_FFFF


def timestamp_offset(secret: bytes, flow: bytes) -> int:
    """Where this connection's timestamp clock starts (RFC 7323 7.1: random per connection)."""
    return _keyed(secret, flow, b"aiotcp-ts")
