"""The Internet checksum (RFC 1071): the one's complement of a one's-complement sum of 16-bit words.

2¹⁶ ≡ 1 (mod 0xFFFF), so the sum of the 16-bit words of a buffer is the buffer itself, read as one
big number, modulo 0xFFFF. That is one C loop where adding words would be one Python step per word.
Sums here are plain ints: add them freely, `fold` or `finish` at the end. A sum is zero only when
every byte was zero; a sum that comes to zero otherwise is 0xFFFF, as one's complement has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aiotcp.wire.frame import Buffer

# By the bit length of a buffer's length: where to cut its number in halves, and the lower half's
# mask. The halves are added, as any multiple of 16 bits may be: shifts cost less per digit than the
# division that ends it (a third of the whole at 1,500 bytes, more at 64 KiB).
_CUTS: Final = [(1 << n, (1 << (1 << n)) - 1) for n in range(20)]
_HALVES: Final = tuple(tuple(_CUTS[bits + 2 : 9 : -1]) if bits > 9 else () for bits in range(18))


def residue(data: Buffer) -> int:
    """The buffer as one big-endian number, folded to 16 bits; an odd length is not padded."""
    return fold_number(int.from_bytes(data, "big"), len(data))


def fold_number(number: int, length: int) -> int:
    """As `fold`, for the number that `length` bytes are."""
    if 512 <= length < 0x20000:
        for bits, mask in _HALVES[length.bit_length()]:
            number = (number >> bits) + (number & mask)
    return number % 0xFFFF or (0xFFFF if number else 0)


def fold(total: int) -> int:
    """A sum of any size as 16 bits, end-around carries added (RFC 1071 section 2)."""
    return total % 0xFFFF or (0xFFFF if total else 0)


def finish(total: int) -> int:
    """The 16 bits for the checksum field: the complement of the folded sum."""
    return 0xFFFF - fold(total)


def ones_complement_sum(data: Buffer) -> int:
    """The folded sum of `data`; an odd length counts as padded with one zero byte."""
    # The zero byte at the end multiplies the number by 256.
    return fold(residue(data) << 8) if len(data) & 1 else residue(data)


def sum_buffers(buffers: Iterable[Buffer]) -> int:
    """The folded sum of buffers as if joined; each may have any length, odd ones included."""
    total = 0
    odd = 0
    for data in buffers:
        # What starts at an odd byte has its halves swapped: 256 times the number (RFC 1071 2(B)).
        partial = ones_complement_sum(data)
        total += partial << 8 if odd else partial
        odd ^= len(data) & 1
    return fold(total)


def pseudo_header_sum(src: Buffer, dst: Buffer, protocol: int, length: int) -> int:
    """The folded sum of the pseudo-header of RFC 9293 section 3.1 or RFC 8200 section 8.1.

    Both give the same sum: they differ in the order and width of the fields only.
    `src`, `dst`: 4 or 16 bytes; `length`: bytes of transport header and payload.
    """
    return fold(int.from_bytes(src, "big") + int.from_bytes(dst, "big") + protocol + length)
