"""Frames that are alike: what they share is made once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

from aiotcp.wire import checksum
from aiotcp.wire.frame import Buffer, Frame
from aiotcp.wire.tcp import HeaderTemplate


def frames(
    template: HeaderTemplate,
    seq: int,
    ack: int,
    flags: int,
    window: int,
    payloads: Sequence[Sequence[Buffer]],
    payload_length: int,
    *,
    options: bytes,
    gso_size: int,
    offload: bool,
    reason: str,
) -> list[Frame]:
    """Segments one behind the other from `seq` on, as `HeaderTemplate.frame` makes them, which
    differ in that number and their payload alone, of `payload_length` bytes each."""
    first = template.frame(
        0,
        ack,
        flags,
        window,
        options=options,
        payload_length=payload_length,
        gso_size=gso_size,
        offload=True,
    )
    header, length, start = first.header, first.length, first.checksum_start
    before, after = header[: start + 4], header[start + 8 :]
    if offload:
        numbers = range(seq, seq + len(payloads) * payload_length, payload_length)
        headers = [before + (each & 0xFFFFFFFF).to_bytes(4, "big") + after for each in numbers]
        alike = repeat(length), repeat(gso_size), repeat(start), repeat(reason)
        return list(map(Frame, headers, payloads, *alike))
    found: list[Frame] = []
    middle, after = header[start + 8 : start + 16], header[start + 18 :]
    # The field holds the pseudo-header's sum; the rest is that of the words.
    rest = checksum.sum_buffers((header[start:],))
    odd = payload_length & 1
    for payload in payloads:
        number = seq & 0xFFFFFFFF
        if len(payload) == 1:
            text = checksum.residue(payload[0])
            if odd:
                text <<= 8
        else:
            text = checksum.sum_buffers(payload)
        field = -(rest + number + text) % 0xFFFF
        header = before + number.to_bytes(4, "big") + middle + field.to_bytes(2, "big") + after
        found.append(Frame(header, payload, length, gso_size, 0, reason))
        seq += payload_length
    return found
