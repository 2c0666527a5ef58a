"""The receive window: how much to offer, and when it is worth telling (RFC 9293 3.8.6)."""

from __future__ import annotations

from typing import Final

_MAX_FIELD: Final = 0xFFFF


def scale_for(buffer: int) -> int:
    """The smallest shift with which the window field can offer `buffer` bytes (RFC 7323 2.3)."""
    return min(max((buffer - 1) // _MAX_FIELD, 0).bit_length(), 14)


def advertise(rcv_nxt: int, edge: int, held: int, buffer: int, mss: int, shift: int) -> int:
    """The window field to send, in units of `1 << shift` bytes.

    `edge` is the right edge offered so far, `held` what waits for the application out of
    `buffer` bytes. The edge moves right only by min(MSS, buffer/2) or more (MUST-39), and never
    left (SHLD-14): where the scale cannot express the old edge, it is rounded up (RFC 7323 2.4),
    unless that would let the peer send twice the buffer.
    """
    free = buffer - held
    offered = edge - rcv_nxt
    gain = free - offered
    if gain >= mss or gain >= buffer // 2:
        field = free >> shift if free > 0 else 0
        if field << shift >= offered:
            return field if field < _MAX_FIELD else _MAX_FIELD
    if offered <= 0:
        return 0
    up = -(-offered >> shift)
    if (up << shift) > 2 * buffer - held:
        up = offered >> shift
    return up if up < _MAX_FIELD else _MAX_FIELD


def worth_update(rcv_nxt: int, edge: int, held: int, buffer: int, mss: int) -> bool:
    """Whether the application's reading opened the window enough to send a segment for it.

    RFC 9293 3.8.6.2.2 asks for min(MSS, buffer/2) at the least, and a peer that has no room for a
    segment waits for just that. One that still has room learns of more with the next
    acknowledgment. A segment for the update alone is then worth it for half the buffer; for a
    quarter of it, if that is two segments; or for two segments if the buffer is small or the
    window nearly closed.
    """
    offered = edge - rcv_nxt
    gain = buffer - held - offered
    if 2 * gain >= buffer:
        return True
    if gain < 2 * mss:
        return offered < mss <= gain
    return 4 * gain >= buffer or 8 * offered <= buffer or buffer <= 8 * mss
