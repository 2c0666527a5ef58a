"""Sequence numbers: mod 2**32 on the wire, plain growing integers inside.

The core never compares modular numbers. A number from the wire is unwrapped on arrival to the
integer nearest to one that is known (`rcv_nxt`, `snd_una`, the last timestamp), and wrapped on
departure, so `<` is right everywhere in between (RFC 9293 3.4).
"""

from __future__ import annotations

from typing import Final

MASK: Final = 0xFFFF_FFFF
_HALF: Final = 1 << 31


def unwrap(number: int, near: int) -> int:
    """The integer congruent to `number` mod 2**32 that is nearest to `near`."""
    return near + ((number - near + _HALF) & MASK) - _HALF


def wrap(number: int) -> int:
    """`number` as the 32 bits of the wire."""
    return number & MASK
