"""TCP options (RFC 9293 section 3.1, RFC 7323, RFC 2018, RFC 5482, RFC 7413,
RFC 9768).

`wire.tcp` hands on what others need of it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from aiotcp.wire.frame import Buffer

if TYPE_CHECKING:
    from aiotcp.wire.segment import Segment

MAX_OPTIONS_LENGTH: Final = 40

EOL: Final = 0
NOP: Final = 1
MSS: Final = 2
WSCALE: Final = 3
SACK_PERMITTED: Final = 4
SACK: Final = 5
TIMESTAMPS: Final = 8
USER_TIMEOUT: Final = 28
FAST_OPEN: Final = 34
ACCECN0: Final = 172
ACCECN1: Final = 174

# RFC 7323 section 2.3: a larger shift count is received as this one.
MAX_WSCALE: Final = 14

# NOP, NOP, kind 8, length 10: the layout of RFC 7323 appendix A, which everybody sends.
TIMESTAMPS_FIRST: Final = 0x0101080A

# The options of a SYN in Linux's order: kinds and lengths.
MSS_OPTION: Final = 0x0204
SACK_AND_TIMESTAMPS: Final = 0x0402080A
WSCALE_OPTION: Final = 0x010303

_SYN: Final = 2
_FAST_OPEN_LENGTHS: Final = frozenset({2, *range(6, 19, 2)})
"""RFC 7413 4.1.1: a cookie of 4 to 16 bytes, an even number, or none. "Options with invalid Length
values or without the SYN flag set MUST be ignored"."""

_u16: Final = struct.Struct("!H").unpack_from
_two_u32: Final = struct.Struct("!II")
_u32_pair: Final = _two_u32.unpack_from
_sack_blocks: Final[Callable[[Buffer], Iterator[tuple[int, int]]]] = _two_u32.iter_unpack
_syn_layout: Final = struct.Struct("!HHIIII")
_usual_syn: Final = _syn_layout.unpack_from
_pack_usual_syn: Final = _syn_layout.pack
_pack_timestamps: Final = struct.Struct("!III").pack

AccEcnFields: TypeAlias = tuple[int | None, int | None, int | None]


def parse_options(segment: Segment, options: memoryview) -> None:
    """RFC 9293 section 3.1, "Options".

    Unknown options are skipped by their length (MUST-6), and so are known ones of a wrong length.
    A length that cannot be true (0, 1, past the end) ends the parsing; what was read before it
    stands (MUST-7). Of an option that comes twice, the last one counts.
    """
    position = 0
    end = len(options)
    if end == 20:  # nearly always a SYN, as Linux and we ourselves write it
        mss_option, mss, layout, tsval, tsecr, wscale_option = _usual_syn(options)
        if (
            layout == SACK_AND_TIMESTAMPS
            and mss_option == MSS_OPTION
            and wscale_option >> 8 == WSCALE_OPTION
        ):
            segment.mss = mss
            segment.sack_permitted = True
            segment.tsval, segment.tsecr = tsval, tsecr
            segment.wscale = min(wscale_option & 255, MAX_WSCALE)
            return
    while position < end:
        kind = options[position]
        if kind == NOP:
            position += 1
            continue
        if kind == EOL or position + 2 > end:
            return
        length = options[position + 1]
        following = position + length
        if length < 2 or following > end:
            return
        if kind == TIMESTAMPS:
            if length == 10:
                segment.tsval, segment.tsecr = _u32_pair(options, position + 2)
        elif kind == SACK:
            if length >= 10 and length % 8 == 2:
                segment.sack = tuple(_sack_blocks(options[position + 2 : following]))
        elif kind == MSS:
            if length == 4:
                segment.mss = _u16(options, position + 2)[0]
        elif kind == WSCALE:
            if length == 3:
                segment.wscale = min(options[position + 2], MAX_WSCALE)
        elif kind == SACK_PERMITTED:
            if length == 2:
                segment.sack_permitted = True
        elif kind in (ACCECN0, ACCECN1):
            segment.accecn = _parse_accecn(kind, options[position + 2 : following])
        elif kind == USER_TIMEOUT:
            if length == 4:
                segment.user_timeout = _seconds(_u16(options, position + 2)[0])
        elif kind == FAST_OPEN and segment.flags & _SYN and length in _FAST_OPEN_LENGTHS:
            segment.fast_open = bytes(options[position + 2 : following])
        position = following


def _seconds(field: int) -> int | None:
    """RFC 5482 3.3: the upper bit says minutes. Zero is reserved: it "MUST" be ignored (3.4)."""
    return (field & 0x7FFF) * (60 if field & 0x8000 else 1) or None


def _user_timeout_field(seconds: float) -> int:
    """Rounded up, to whole seconds as far as they reach, else to minutes."""
    whole = max(-int(-seconds // 1), 1)
    return whole if whole <= 0x7FFF else 0x8000 | min(-(-whole // 60), 0x7FFF)


def _parse_accecn(kind: int, fields: memoryview) -> AccEcnFields:
    """RFC 9768 3.2.3: "implementations MUST use those whole 3-octet fields that fit within the
    length and ignore the remainder of the option". Order 1 has them the other way round."""
    first, second, third = (
        int.from_bytes(fields[at : at + 3], "big") if at + 3 <= len(fields) else None
        for at in (0, 3, 6)
    )
    return (first, second, third) if kind == ACCECN0 else (third, second, first)


def pack_options(
    *,
    mss: int | None = None,
    wscale: int | None = None,
    sack_permitted: bool = False,
    timestamps: tuple[int, int] | None = None,
    sack: Sequence[tuple[int, int]] = (),
    accecn: bytes = b"",
    user_timeout: float | None = None,
    fast_open: bytes | None = None,
) -> bytes:
    """The options in Linux's layout: whole words, padded by leading NOPs; at most 40 bytes.

    `timestamps` is (TSval, TSecr). Of the `sack` blocks as many are sent, in order, as fit
    (RFC 2018 section 4) behind the others. `accecn` is what `pack_accecn` made, `user_timeout` in
    seconds, `fast_open` a cookie, or empty the request for one. Numbers of sequence space and of
    the timestamp clock may exceed 32 bits. What does not fit the caller finds by the length.
    """
    if (
        mss is None
        and wscale is None
        and not (sack_permitted or sack or accecn)
        and user_timeout is None
        and fast_open is None
    ):
        return b"" if timestamps is None else pack_timestamps(*timestamps)
    packed = bytearray()
    if mss is not None:
        packed += struct.pack("!BBH", MSS, 4, mss)
    if timestamps is not None:
        layout = 0x0402080A if sack_permitted else TIMESTAMPS_FIRST
        packed += _pack_timestamps(layout, timestamps[0] & 0xFFFFFFFF, timestamps[1] & 0xFFFFFFFF)
    elif sack_permitted:
        packed += b"\x01\x01\x04\x02"
    if wscale is not None:
        packed += struct.pack("!BBBB", NOP, WSCALE, 3, wscale)
    if user_timeout is not None:
        packed += struct.pack("!BBH", USER_TIMEOUT, 4, _user_timeout_field(user_timeout))
    if fast_open is not None:
        packed += bytes((NOP,)) * (-(2 + len(fast_open)) % 4)
        packed += bytes((FAST_OPEN, 2 + len(fast_open))) + fast_open
    if accecn:
        packed += bytes((NOP,)) * (-len(accecn) % 4) + accecn
    blocks = sack[: (MAX_OPTIONS_LENGTH - len(packed) - 4) // 8]
    if blocks:
        packed += struct.pack("!BBBB", NOP, NOP, SACK, 2 + 8 * len(blocks))
        for left, right in blocks:
            packed += _two_u32.pack(left & 0xFFFFFFFF, right & 0xFFFFFFFF)
    return bytes(packed)


def pack_timestamps(tsval: int, tsecr: int) -> bytes:
    """What `pack_options` makes of these alone."""
    return _pack_timestamps(TIMESTAMPS_FIRST, tsval & 0xFFFFFFFF, tsecr & 0xFFFFFFFF)


def pack_usual_syn(mss: int, wscale: int, timestamps: tuple[int, int]) -> bytes:
    """What `pack_options` makes of these and SACK permitted, at once."""
    return _pack_usual_syn(
        MSS_OPTION,
        mss,
        SACK_AND_TIMESTAMPS,
        timestamps[0] & 0xFFFFFFFF,
        timestamps[1] & 0xFFFFFFFF,
        WSCALE_OPTION << 8 | wscale,
    )


def pack_accecn(kind: int, fields: Sequence[int]) -> bytes:
    """An AccECN option, not padded: ACCECN0 with EE0B, ECEB, EE1B, or ACCECN1 with EE1B, ECEB,
    EE0B; `fields` may leave out the last ones (RFC 9768 3.2.3). Counters may exceed 24 bits."""
    packed = bytearray((kind, 2 + 3 * len(fields)))
    for field in fields:
        packed += (field & 0xFFFFFF).to_bytes(3, "big")
    return bytes(packed)
