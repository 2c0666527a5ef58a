"""The peer's window: as wide as it says, and robust when it is taken back (RFC 9293 3.8.6)."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.wire.tcp import ACK, FIN, PSH
from tests.support.conversation import App, Peer

WIDE = Options(initial_window_segments=100)
MSS = 1000


async def in_flight(peer: Peer, count: int, *, more: int = 0) -> App:
    """`count` segments of 1000 bytes are under way; `more` bytes wait behind them."""
    app = await peer.connects(mss=MSS, window=count * MSS, options=WIDE)
    app.write(bytes(count * MSS + more))
    for n in range(count):
        await peer.sees(ACK, seq=1 + n * MSS, length=MSS)
    await peer.sees_nothing()
    return app


@pytest.mark.req("MUST-1")
@pytest.mark.parametrize("window", [32767, 32768, 40000, 65535])
async def test_the_window_is_unsigned(window: int) -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=1460, window=window, options=WIDE)
        app.write(bytes(100_000))
        sent = await peer.sees_all()
        assert sent[-1].end == 1 + window - window % 1460
        assert [len(seen.payload) for seen in sent] == [1460] * (window // 1460)


@pytest.mark.req("REC-1", "7323-1")
@pytest.mark.parametrize("offload", [False, True])
async def test_a_scaled_window_is_wider_than_sixteen_bits(offload: bool) -> None:
    async with Peer(offload=offload) as peer:
        app = await peer.connects(mss=1460, wscale=3, window=146_000, options=WIDE)
        app.write(bytes(300_000))
        sent = await peer.sees_all()
        assert sent[-1].end == 146_001
        peer.sends(ACK)
        assert (await peer.sees_all())[-1].end == 292_001


@pytest.mark.req("MUST-34", "SHLD-15")
@pytest.mark.parametrize("window", [0, 500, 2000, 3999])
async def test_nothing_new_while_less_is_open_than_was_sent(window: int) -> None:
    async with Peer() as peer:
        app = await in_flight(peer, 4, more=5000)
        peer.sends(ACK, ack=1, window=window)
        await peer.sees_nothing(for_s=0.1)
        assert app.state == "ESTABLISHED"
        peer.sends(ACK, ack=4001, window=0)  # all of it had arrived
        await peer.sees_nothing(for_s=0.1)
        peer.sends(ACK, window=2000)
        await peer.sees(ACK, seq=4001, length=MSS)
        await peer.sees(ACK, seq=5001, length=MSS)


@pytest.mark.req("MUST-34", "SHLD-15")
async def test_a_partial_acknowledgment_with_a_window_that_shrinks() -> None:
    async with Peer() as peer:
        app = await in_flight(peer, 4, more=5000)
        peer.sends(ACK, ack=1001, window=1000)  # the edge went from 4001 to 2001
        await peer.sees_nothing(for_s=0.1)
        peer.sends(ACK, ack=4001, window=4000)
        for n in range(4):
            await peer.sees(ACK, seq=4001 + n * MSS, length=MSS)
        assert app.conn.unsent == 1000


@pytest.mark.req("SHLD-16", "MUST-34")
async def test_what_lies_inside_the_shrunken_window_is_repeated() -> None:
    async with Peer() as peer:
        await in_flight(peer, 4)
        peer.sends(ACK, ack=1, window=1500)
        await peer.sees(ACK, seq=1, length=MSS, why="rto_retransmit", within=1.1)
        peer.sends(ACK, ack=1001, window=500)
        await peer.sees(ACK, seq=1001, length=500, why="rto_retransmit", within=3)
        peer.sends(ACK, ack=1501, window=2500)
        await peer.sees(ACK, seq=1501, length=MSS, why="rto_retransmit")
        await peer.sees(ACK, seq=2501, length=MSS, why="rto_retransmit")
        peer.sends(ACK, ack=3501)
        await peer.sees(ACK | PSH, seq=3501, length=500, why="rto_retransmit")


@pytest.mark.req("SHLD-16")
async def test_a_window_of_less_than_a_segment_gets_a_piece_of_one() -> None:
    async with Peer() as peer:
        await in_flight(peer, 4)
        peer.sends(ACK, ack=1, window=300)
        await peer.sees(ACK, seq=1, length=300, within=1.1)


@pytest.mark.req("SHLD-16", "ST-26")
async def test_a_fin_behind_the_shrunken_window_follows_when_there_is_room() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=MSS)
        app.write(bytes(500))
        await peer.sees(ACK, seq=1, length=500)
        app.write(bytes(400))
        await peer.sees(ACK, seq=501, length=400)
        app.shutdown()
        await peer.sees(FIN | ACK, seq=901)
        peer.sends(ACK, ack=1, window=700)
        await peer.sees(ACK, seq=1, length=500, within=1.1)
        peer.sends(ACK, ack=501, window=200)
        await peer.sees(ACK, seq=501, length=200)
        peer.sends(ACK, ack=701, window=300)
        await peer.sees(ACK | PSH, seq=701, length=200)
        peer.sends(ACK, ack=901)
        await peer.sees(FIN | ACK, seq=901)


@pytest.mark.req("SHLD-17", "MUST-37")
async def test_data_beyond_the_edge_does_not_end_the_connection() -> None:
    """Far longer than R2 would take: the peer answers, so it is alive."""
    async with Peer() as peer:
        app = await in_flight(peer, 4)
        peer.sends(ACK, ack=1, window=0)
        for _ in range(100):
            await peer.sees(ACK, seq=1, length=1, why="window_probe", within=61)
            peer.sends(ACK, ack=1, window=0)
        assert peer.now > 3600
        assert app.state == "ESTABLISHED"
        assert app.error is None
        peer.window = 4000
        peer.sends(ACK, ack=1)
        await peer.sees(ACK, seq=1, length=MSS, within=1.1)  # the RTO, not the next probe


@pytest.mark.req("MUST-35")
async def test_a_window_that_shrinks_to_nothing_is_probed() -> None:
    """With the first byte in flight, at growing intervals; all at the pace of the timer."""
    async with Peer() as peer:
        await in_flight(peer, 3, more=1000)
        peer.sends(ACK, ack=1, window=0)
        for after in (0.2, 0.4, 0.8, 1.6, 3.2):  # from the least RTO on
            await peer.sees(ACK, seq=1, length=1, why="window_probe", after=after)
            peer.sends(ACK, ack=1, window=0)


@pytest.mark.req("MUST-35", "MUST-34")
async def test_the_probe_of_a_window_that_shrank_may_be_taken() -> None:
    async with Peer() as peer:
        await in_flight(peer, 3)
        peer.sends(ACK, ack=1, window=0)
        await peer.sees(ACK, seq=1, length=1, within=1.1)
        peer.sends(ACK, ack=2, window=0)
        await peer.sees(ACK, seq=2, length=1, why="window_probe", within=1.1)
        peer.sends(ACK, ack=3001, window=3000)  # and the rest had been kept after all
        await peer.sees_nothing(for_s=5)


@pytest.mark.req("7323-5")
async def test_the_granularity_of_the_scale_does_not_cut_a_repetition() -> None:
    """RFC 7323 2.4, 4: out of the window by less than 2^shift is repeated all the same."""
    async with Peer() as peer:
        app = await peer.connects(mss=MSS, wscale=7, window=1152, options=WIDE)
        app.write(bytes(1000))
        await peer.sees(ACK | PSH, seq=1, length=1000)
        peer.sends(ACK, ack=1, window=999)  # 7 * 128 = 896 on the wire
        await peer.sees(ACK | PSH, seq=1, length=1000, within=1.1)


@pytest.mark.req("ST-15")
async def test_an_old_segment_does_not_bring_its_window_back() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=MSS)
        old = peer.packet(ACK, seq=1, ack=1, window=9000)
        peer.sends(ACK, data=b"text", window=2000)
        await peer.sees(ACK, ack=5, within=0.1)
        peer.injects(old)
        app.write(bytes(9000))
        assert (await peer.sees_all())[-1].end == 2001


@pytest.mark.req("ST-15")
async def test_of_two_segments_with_one_number_the_later_acknowledgment_counts() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=MSS)
        app.write(bytes(2000))
        await peer.sees(ACK, seq=1, length=MSS)
        await peer.sees(ACK, seq=1001, length=MSS)
        old = peer.packet(ACK, ack=1001, window=9000)
        peer.sends(ACK, ack=2001, window=1000)
        peer.injects(old)
        app.write(bytes(9000))
        assert (await peer.sees_all())[-1].end == 3001
