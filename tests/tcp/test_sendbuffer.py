"""The send buffer: slices of what was written, without a copy."""

from __future__ import annotations

import array
import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.sendbuffer import SendBuffer

START = 2**32 - 5


def filled(*chunks: bytes) -> SendBuffer:
    buffer = SendBuffer(START)
    for chunk in chunks:
        buffer.append(chunk)
    return buffer


def joined(buffer: SendBuffer, offset: int, length: int) -> bytes:
    return b"".join(buffer.slices(START + offset, length))


def test_addressed_by_sequence_number() -> None:
    buffer = filled(b"hello ", b"world")
    assert (buffer.start, buffer.end, len(buffer)) == (START, START + 11, 11)
    assert joined(buffer, 0, 11) == b"hello world"
    assert joined(buffer, 3, 5) == b"lo wo"
    assert joined(buffer, 6, 5) == b"world"


def test_slices_are_views_of_what_was_written() -> None:
    data = bytes(5000)
    (view,) = filled(data).slices(START + 10, 20)
    assert isinstance(view, memoryview)
    assert view.obj is data
    (whole,) = filled(b"", data).slices(START, 5000)
    assert isinstance(whole, memoryview)
    assert whole.obj is data


def test_bytes_that_wait_whole_are_no_work_for_the_garbage_collector() -> None:
    def views() -> int:
        return sum(type(each) is memoryview for each in gc.get_objects())

    blocks = [bytes([n]) * 5000 for n in range(100)]
    gc.collect()
    before = views()
    buffer = SendBuffer(START)
    for block in blocks:
        buffer.append(memoryview(block))
    assert views() <= before
    assert joined(buffer, 4999, 5002) == blocks[0][-1:] + blocks[1] + blocks[2][:1]
    buffer.append(memoryview(blocks[7])[:4999])  # a part of it
    assert joined(buffer, 500_000, 4999) == blocks[7][1:]
    backwards = memoryview(bytes(range(256)) * 20)[::-1]
    buffer.append(backwards)
    assert [part.tolist() for part in buffer.slices(START + 504_999, 5120)] == [backwards.tolist()]  # type: ignore[union-attr]


def test_small_writes_are_taken_whole_up_to_a_limit() -> None:
    buffer = SendBuffer(START, whole_bytes=10)
    assert buffer.append_whole(b"hello ")
    assert not buffer.append_whole(b"world")  # 11 bytes
    assert buffer.append_whole(b"you!")
    assert joined(buffer, 0, 10) == b"hello you!"
    buffer.discard_to(START + 6)
    assert buffer.append_whole(b"thanks")
    assert buffer.finish() == START + 16
    buffer.discard_to(START + 16)
    assert not buffer.append_whole(b"")


def test_no_bytes_no_slices() -> None:
    buffer = filled(b"abc", b"")
    assert buffer.slices(START, 0) == []
    assert buffer.slices(START + 3, 0) == []
    assert len(buffer) == 3


def test_items_of_several_bytes_count_as_bytes() -> None:
    numbers = array.array("H", [1, 2, 3])
    buffer = SendBuffer(0)
    buffer.append(memoryview(numbers))
    assert len(buffer) == 6
    assert b"".join(buffer.slices(0, 6)) == numbers.tobytes()


def test_what_is_acknowledged_is_let_go() -> None:
    data = bytearray(b"x" * 10)
    buffer = filled(b"abc")
    buffer.append(memoryview(data))
    buffer.discard_to(START + 13)
    data.append(0)  # raises BufferError while a view is kept
    assert len(buffer) == 0


def test_part_of_a_chunk_may_be_acknowledged() -> None:
    buffer = filled(b"abcdef", b"ghi")
    buffer.discard_to(START + 4)
    assert buffer.start == START + 4
    assert joined(buffer, 4, 5) == b"efghi"


def test_going_back_changes_nothing() -> None:
    buffer = filled(b"abcdef")
    buffer.discard_to(START + 3)
    buffer.discard_to(START + 1)
    assert buffer.start == START + 3


def test_beyond_the_end_is_the_end() -> None:
    buffer = filled(b"abc")
    buffer.discard_to(START + 4)  # our FIN was acknowledged as well
    assert (buffer.start, buffer.end, len(buffer)) == (START + 3, START + 3, 0)


@pytest.mark.parametrize("chunks", [1, 63, 64, 65, 200])
def test_many_small_chunks(chunks: int) -> None:
    buffer = filled(*(bytes([n % 256]) for n in range(chunks)))
    for n in range(chunks):
        assert joined(buffer, n, 1) == bytes([n % 256])
        buffer.discard_to(START + n + 1)
    buffer.append(b"more")
    assert joined(buffer, chunks, 4) == b"more"


_STEP = st.one_of(
    st.binary(max_size=30),
    st.floats(min_value=0, max_value=1),  # acknowledge this share of what is held
    st.tuples(st.floats(min_value=0, max_value=1), st.floats(min_value=0, max_value=1)),
)


@given(st.lists(_STEP, max_size=150))
def test_agrees_with_one_long_string(steps: list[bytes | float | tuple[float, float]]) -> None:
    buffer = SendBuffer(START)
    written, acknowledged = b"", 0
    for step in steps:
        if isinstance(step, bytes):
            buffer.append(step)
            written += step
        elif isinstance(step, float):
            acknowledged += int(step * (len(written) - acknowledged))
            buffer.discard_to(START + acknowledged)
        else:
            held = len(written) - acknowledged
            offset = acknowledged + int(step[0] * held)
            length = int(step[1] * (len(written) - offset))
            assert joined(buffer, offset, length) == written[offset : offset + length]
        assert buffer.start == START + acknowledged
        assert buffer.end == START + len(written)


@given(
    writes=st.lists(st.integers(1, 3000), min_size=1, max_size=12),
    first=st.integers(0, 2000),
    length=st.integers(1, 4000),
)
def test_pieces_are_slices_one_behind_the_other(writes: list[int], first: int, length: int) -> None:
    buffer = filled(*(bytes([n % 256]) * size for n, size in enumerate(writes)))
    count = (len(buffer) - first) // length
    if first < len(buffer) and count > 0:
        pieces = buffer.pieces(START + first, length, count)
        assert len(pieces) == count
        for n, piece in enumerate(pieces):
            assert b"".join(piece) == joined(buffer, first + n * length, length)


def test_the_latest_memory_is_known_until_it_is_acknowledged() -> None:
    first, second = bytes(5000), bytes(5000)
    buffer = SendBuffer(100)
    assert buffer.latest_memory() is None
    buffer.append(b"a line")
    assert buffer.latest_memory() is None
    buffer.append(memoryview(first)[:4000])
    assert buffer.latest_memory() is first
    buffer.append(second)
    assert buffer.latest_memory() is second
    buffer.append(b"a line behind it")
    buffer.append(b"and one that is joined")
    assert buffer.latest_memory() is second
    buffer.discard_to(buffer.end - 1)
    assert buffer.latest_memory() is None
