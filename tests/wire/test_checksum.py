from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.wire import checksum
from tests.wire.oracle import V4, V6, relaxed, word_sum

RFC_1071 = bytes.fromhex("0001 f203 f4f5 f6f7")


def test_the_numbers_of_rfc_1071_section_3() -> None:
    assert checksum.ones_complement_sum(RFC_1071) == 0xDDF2
    assert checksum.finish(0xDDF2) == 0x220D


def test_an_ipv4_header_from_the_wire() -> None:
    header = bytes.fromhex("4500 0073 0000 4000 4011 0000 c0a8 0001 c0a8 00c7")
    assert checksum.finish(checksum.ones_complement_sum(header)) == 0xB861


def test_an_odd_length_is_padded_with_a_zero_byte() -> None:
    assert checksum.ones_complement_sum(b"\x12\x34\x56") == 0x1234 + 0x5600


@pytest.mark.parametrize("length", [0, 1, 2, 511, 512, 1448, 65535])
def test_only_zeros_sum_to_zero(length: int) -> None:
    assert checksum.ones_complement_sum(bytes(length)) == 0
    assert checksum.finish(0) == 0xFFFF


@pytest.mark.parametrize("length", [2, 510, 512, 1448, 65534])
def test_other_sums_that_come_to_zero_are_all_ones(length: int) -> None:
    data = b"\xff\xff" + bytes(length - 2)
    assert checksum.ones_complement_sum(data) == 0xFFFF
    assert checksum.finish(0xFFFF) == 0


# Around each length at which the number is halved once more.
EDGES = [n + d for n in (256, 512, 1024, 2048, 4096, 16384, 65536) for d in (-1, 0, 1)]


@pytest.mark.parametrize("length", [*range(40), *EDGES, 131071, 131072, 200001])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_length_sums_as_word_after_word(length: int, kind: type) -> None:
    data = bytes((i * 151 + (i >> 8) * 7 + 3) & 0xFF for i in range(length))
    assert checksum.ones_complement_sum(kind(data)) == word_sum(data)
    ones = b"\xff" * length
    assert checksum.ones_complement_sum(kind(ones)) == word_sum(ones)


@relaxed
@given(st.binary(max_size=3000))
def test_any_bytes_sum_as_word_after_word(data: bytes) -> None:
    assert checksum.ones_complement_sum(data) == word_sum(data)


@relaxed
@given(st.lists(st.binary(max_size=40), max_size=8))
def test_parts_of_any_length_sum_as_the_whole(parts: list[bytes]) -> None:
    assert checksum.sum_buffers(parts) == word_sum(b"".join(parts))
    assert checksum.sum_buffers(map(memoryview, parts)) == word_sum(b"".join(parts))


@relaxed
@given(st.binary(min_size=2, max_size=200))
def test_data_with_its_checksum_sums_to_all_ones(data: bytes) -> None:
    field = checksum.finish(checksum.ones_complement_sum(data))
    assert checksum.ones_complement_sum(struct.pack("!H", field) + data) == 0xFFFF


@pytest.mark.req("MUST-2")
@relaxed
@given(protocol=st.integers(0, 255), length=st.integers(0, 65535))
def test_pseudo_headers_sum_as_their_bytes(protocol: int, length: int) -> None:
    v4 = struct.pack("!4s4sxBH", *V4, protocol, length)
    assert checksum.pseudo_header_sum(*V4, protocol, length) == word_sum(v4)
    v6 = struct.pack("!16s16sI3xB", *V6, length, protocol)
    assert checksum.pseudo_header_sum(*V6, protocol, length) == word_sum(v6)
