"""Frames that are alike: what they share is made once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import TypeAlias, final

from aiotcp.mypyc import mypyc_attr
from aiotcp.wire import checksum
from aiotcp.wire.frame import Buffer, Frame
from aiotcp.wire.tcp import ACK, HeaderTemplate, pack_timestamps


@final
@mypyc_attr(acyclic=True)
class Run:
    """Packets with partial checksums that leave together, as a sequence of frames.

    Each follows the one before, and they differ in sequence number and text alone; but the last one
    may be shorter, and have PSH. Only that and the first are made; the others, when somebody asks
    for them: in memory nobody does.
    """

    __slots__ = ("between", "count", "first", "last", "length")

    def __init__(self, first: Frame, between: Buffer, last: Frame) -> None:
        """`between` is the text of those between them; `last` has its own in one piece."""
        header_bytes = len(first.header)
        others = len(between) // (first.length - header_bytes)
        self.first = first
        self.between = between
        self.last = last
        self.count = others + 2
        """Packets."""
        self.length = first.length + others * header_bytes + len(between) + last.length
        """Bytes of all of them, headers included."""

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames())

    def __getitem__(self, index: int) -> Frame:
        return self.frames()[index]

    def frames(self) -> list[Frame]:
        """All of them."""
        first, between = self.first, self.between
        header, length, start = first.header, first.length, first.checksum_start
        size = length - len(header)
        before, after = header[: start + 4], header[start + 8 :]
        seq = int.from_bytes(header[start + 4 : start + 8], "big") + size
        found = [first]
        for at in range(0, len(between), size):
            number = (seq + at & 0xFFFFFFFF).to_bytes(4, "big")
            text = [between[at : at + size]]
            found.append(Frame(before + number + after, text, length, 0, start, first.reason))
        found.append(self.last)
        return found


Frames: TypeAlias = Sequence[Frame] | Run


def run(
    template: HeaderTemplate,
    seq: int,
    ack: int,
    flags: int,
    window: int,
    tsval: int,
    tsecr: int,
    text: Buffer,
    size: int,
    reason: str,
) -> Run:
    """`text` in packets of `size` bytes each, two or more; their checksums are left to the link.
    `flags` are the last one's; the others have ACK."""
    first = template.frame(
        seq,
        ack,
        ACK,
        window,
        options=pack_timestamps(tsval, tsecr),
        payload=[text[:size]],
        payload_length=size,
        offload=True,
        reason=reason,
    )
    length = len(text)
    end = length - (length % size or size)
    rest = [text[end:]]
    seq += end
    last = template.plain(seq, ack, flags, window, tsval, tsecr, rest, length - end, True, reason)
    return Run(first, text[size:end], last)


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
