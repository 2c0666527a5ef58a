"""Initial sequence numbers that grow with time and that outsiders cannot compute (RFC 6528)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from aiotcp.tcp.digest import blake2b
from aiotcp.tcp.seq import MASK

_TICKS_PER_S: Final = 250_000
"""RFC 9293 3.4.1, MUST-8: a clock that ticks about every 4 microseconds."""


_halves: Final[Callable[[bytes], tuple[int, int]]] = struct.Struct("!II").unpack
"""Of 64 bits, each for a number of its own, of which the other one tells nothing."""


def initial_numbers(secret: bytes, flow: bytes, now: float) -> tuple[int, int]:
    """`initial_sequence_number` and `timestamp_offset` by one hash."""
    number, offset = _halves(blake2b(flow, key=secret, digest_size=8).digest())
    return int(now * _TICKS_PER_S) + number & MASK, offset


def initial_sequence_number(secret: bytes, flow: bytes, now: float) -> int:
    """ISN = M + F(localip, localport, remoteip, remoteport, secretkey) (RFC 6528 3).

    `flow` holds the addresses and ports, `secret` 16 to 64 random bytes of this stack.
    """
    return initial_numbers(secret, flow, now)[0]


def timestamp_offset(secret: bytes, flow: bytes) -> int:
    """Where this connection's timestamp clock starts (RFC 7323 7.1: random per connection)."""
    return initial_numbers(secret, flow, 0.0)[1]
