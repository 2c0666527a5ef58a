"""Small writes: when they leave, how they are packed, where PSH stands (RFC 9293 3.7.4, 3.9.1)."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.wire.tcp import ACK, FIN, PSH
from tests.support.conversation import Peer

NAGLE = Options(nodelay=False)
WIDE = Options(initial_window_segments=100)
MSS = 1000


@pytest.mark.req("SHLD-7", "MAY-16")
async def test_the_second_small_write_waits_for_the_acknowledgment_of_the_first() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=NAGLE)
        app.write(b"ab")
        await peer.sees(ACK | PSH, seq=1, data=b"ab")
        app.write(b"cd")
        app.write(b"ef")
        await peer.sees_nothing(for_s=0.1)
        peer.sends(ACK)
        await peer.sees(ACK | PSH, seq=3, data=b"cdef")


@pytest.mark.req("SHLD-7")
async def test_a_full_segment_does_not_wait() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=MSS, options=NAGLE)
        app.write(b"a")
        await peer.sees(ACK | PSH, seq=1, data=b"a")
        app.write(bytes(2500))
        await peer.sees(ACK, seq=2, length=MSS)
        await peer.sees(ACK, seq=1002, length=MSS)
        await peer.sees_nothing(for_s=0.1)
        peer.sends(ACK)
        await peer.sees(ACK | PSH, seq=2002, length=500)


@pytest.mark.req("SHLD-7")
async def test_the_end_of_a_large_write_waits_too() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=MSS, options=NAGLE)
        app.write(bytes(2500))
        await peer.sees(ACK, seq=1, length=MSS)
        await peer.sees(ACK, seq=1001, length=MSS)
        await peer.sees_nothing(for_s=0.1)
        peer.sends(ACK, ack=1001)
        await peer.sees_nothing(for_s=0.1)  # something is unacknowledged still
        peer.sends(ACK, ack=2001)
        await peer.sees(ACK | PSH, seq=2001, length=500)


@pytest.mark.req("SHLD-7")
async def test_with_nothing_unacknowledged_a_byte_goes_at_once() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=NAGLE)
        for n in range(5):
            app.write(b"k")
            await peer.sees(ACK | PSH, seq=1 + n, data=b"k")
            peer.sends(ACK)


@pytest.mark.req("SHLD-7", "ST-23")
async def test_a_close_lets_everything_go() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=NAGLE)
        app.write(b"ab")
        await peer.sees(ACK | PSH, data=b"ab")
        app.write(b"cd")
        app.shutdown()
        await peer.sees(FIN | ACK | PSH, seq=3, data=b"cd")


@pytest.mark.req("SHLD-7", "ST-26")
async def test_what_nagle_holds_back_goes_with_the_acknowledgment_after_a_loss() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=NAGLE)
        app.write(b"ab")
        await peer.sees(ACK | PSH, data=b"ab")
        app.write(b"cd")
        await peer.sees(ACK, seq=1, data=b"ab", why="rto_retransmit", within=0.3)
        peer.sends(ACK)
        await peer.sees(ACK | PSH, seq=3, data=b"cd")


@pytest.mark.req("MUST-17")
async def test_nodelay_as_an_option() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=Options(nodelay=True))
        for n, letter in enumerate(b"abc"):
            app.write(bytes([letter]))
            await peer.sees(ACK | PSH, seq=1 + n, length=1)


@pytest.mark.req("MUST-17")
async def test_nodelay_set_on_an_open_connection() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=NAGLE)
        app.write(b"a")
        await peer.sees(ACK | PSH, data=b"a")
        app.write(b"b")
        await peer.sees_nothing()
        app.conn.nodelay = True
        app.stack.push(app.conn)
        await peer.sees(ACK | PSH, data=b"b")


# -- packing and PSH ---------------------------------------------------------------------------


@pytest.mark.req("MUST-60")
async def test_a_single_byte_is_sent_without_further_ado() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        app.write(b"x")
        await peer.sees(ACK | PSH, seq=1, data=b"x")


@pytest.mark.req("MUST-61", "MAY-15")
async def test_psh_ends_the_queue() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=MSS)
        app.write(bytes(3500))
        flags = [seen.flags for seen in await peer.sees_all()]
        assert flags == [ACK, ACK, ACK, ACK | PSH]


@pytest.mark.req("MUST-61")
async def test_psh_ends_a_queue_of_whole_segments() -> None:
    async with Peer(offload=True) as peer:
        app = await peer.connects(mss=MSS)
        app.write(bytes(3000))
        flags = [seen.flags for seen in await peer.sees_all()]
        assert flags == [ACK, ACK, ACK | PSH]


@pytest.mark.req("MUST-61")
async def test_no_psh_while_more_waits() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=MSS, window=2000)
        app.write(bytes(3000))
        assert [seen.flags for seen in await peer.sees_all()] == [ACK, ACK]
        peer.sends(ACK)
        await peer.sees(ACK | PSH, seq=2001, length=MSS)


@pytest.mark.req("SHLD-27", "MAY-16")
async def test_writes_that_wait_become_one_segment_with_one_psh() -> None:
    async with Peer() as peer:
        app = await peer.connects(window=0)
        for word in (b"one ", b"two ", b"three"):
            app.write(word)
        await peer.sees_nothing()
        peer.sends(ACK, window=1000)
        await peer.sees(ACK | PSH, seq=1, data=b"one two three")


@pytest.mark.req("SHLD-28")
@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("writes", [[10_000], [1] * 5000, [999, 1001, 3000], [1500] * 7])
async def test_all_but_the_last_segment_are_full(offload: bool, writes: list[int]) -> None:
    async with Peer(offload=offload) as peer:
        app = await peer.connects(mss=MSS, window=0, options=WIDE)
        for size in writes:
            app.write(bytes(size))
        peer.window = 60_000
        peer.sends(ACK)
        sizes = [len(seen.payload) for seen in await peer.sees_all()]
        whole, rest = divmod(sum(writes), MSS)
        assert sizes == [MSS] * whole + [rest] * bool(rest)


@pytest.mark.req("SHLD-28")
async def test_bytes_are_those_that_were_written() -> None:
    async with Peer(offload=True) as peer:
        app = await peer.connects(mss=MSS, window=0, options=WIDE)
        pieces = [bytes([n]) * (37 * n) for n in range(40)]
        for piece in pieces:
            app.write(piece)
        peer.window = 60_000
        peer.sends(ACK)
        assert b"".join(seen.payload for seen in await peer.sees_all()) == b"".join(pieces)
