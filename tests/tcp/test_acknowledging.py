"""When and what the stack acknowledges (RFC 9293 3.8.6.3, RFC 5681 4.2)."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.wire.tcp import ACK, FIN, PSH
from tests.support.conversation import Peer

MSS = 1000


@pytest.mark.req("SHLD-18", "MUST-40")
@pytest.mark.parametrize("delay", [0.0, 0.04, 0.2, 0.499])
async def test_the_acknowledgment_of_one_segment_waits(delay: float) -> None:
    async with Peer() as peer:
        await peer.connects(options=Options(delayed_ack_s=delay))
        peer.sends(ACK | PSH, data=b"hello")
        seen = await peer.sees(ACK, ack=6, why="ack_delayed", after=delay)
        assert seen.at < 0.5


@pytest.mark.req("SHLD-18")
async def test_an_answer_carries_it() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        peer.sends(ACK | PSH, data=b"question")
        app.write(b"answer")
        await peer.sees(ACK | PSH, seq=1, ack=9, data=b"answer")
        await peer.sees_nothing(for_s=0.1)


@pytest.mark.req("SHLD-19")
async def test_every_second_full_segment_at_once() -> None:
    async with Peer() as peer:
        await peer.connects()
        for n in range(1, 21):
            peer.sends(ACK, data=bytes(MSS))
            if n % 2 == 0:
                await peer.sees(ACK, ack=1 + n * MSS, why="ack_second_segment")
        await peer.sees_nothing(for_s=1)


@pytest.mark.req("SHLD-19", "MUST-40")
async def test_the_last_of_an_odd_number_by_the_timer() -> None:
    async with Peer() as peer:
        await peer.connects()
        for _ in range(3):
            peer.sends(ACK, data=bytes(MSS))
        await peer.sees(ACK, ack=2001)
        await peer.sees(ACK, ack=3001, why="ack_delayed", after=0.04)


@pytest.mark.req("SHLD-19")
async def test_small_segments_share_an_acknowledgment() -> None:
    async with Peer() as peer:
        await peer.connects()
        for _ in range(10):
            peer.sends(ACK | PSH, data=b"x")
        await peer.sees(ACK, ack=11, after=0.04)


@pytest.mark.req("MUST-58", "MUST-59")
async def test_a_batch_gets_one_acknowledgment() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        with peer.batch():
            for _ in range(10):
                peer.sends(ACK, data=bytes(MSS))
        await peer.sees(ACK, ack=10_001, why="ack_second_segment")
        assert len(app.received) == 10_000
        await peer.sees_nothing(for_s=1)


@pytest.mark.req("MUST-58", "SHLD-19")
async def test_what_the_next_batch_goes_on_with_is_acknowledged_as_one() -> None:
    """A batch of several connections, which is full, ends in the middle of what one has sent."""
    async with Peer() as peer:
        other = peer.another()
        await peer.connects()
        await other.connects()
        with peer.batch():
            for each in (peer, peer, other, other):
                each.sends(ACK, data=bytes(MSS))
        with peer.batch():
            for each in (other, other, peer, peer):
                each.sends(ACK, data=bytes(MSS))
        assert [seen.ack for seen in await other.sees_all()] == [4001]
        assert [seen.ack for seen in await peer.sees_all()] == [2001, 4001]


@pytest.mark.req("SHLD-19", "MUST-40")
async def test_the_last_of_a_batch_waits_for_no_time() -> None:
    async with Peer() as peer:
        other = peer.another()
        await peer.connects()
        await other.connects()
        for n in range(1, 4):
            with peer.batch():
                for each in (peer, peer, other, other):
                    each.sends(ACK, data=bytes(MSS))
            await peer.sees(ACK, ack=1 + n * 2 * MSS)
            await other.sees(ACK, ack=1 + n * 2 * MSS, why="ack_second_segment")


@pytest.mark.req("SHLD-19")
async def test_an_acknowledgment_waits_for_one_batch_only() -> None:
    async with Peer() as peer:
        other = peer.another()
        await peer.connects()
        await other.connects()
        for _ in range(5):
            with peer.batch():
                for each in (peer, other, other):
                    each.sends(ACK, data=bytes(MSS))
        assert [seen.ack for seen in await other.sees_all()] == [4001, 8001, 10_001]
        await peer.sees_all()


@pytest.mark.req("MUST-58")
async def test_an_acknowledgment_does_not_wait_for_busy_programs() -> None:
    """Nothing is read from a link while programs work. Once one that waits has waited for them,
    none does: for a second, then there is another try."""
    async with Peer() as peer:
        other = peer.another()
        await peer.connects()
        await other.connects()
        clock, worked = peer.stack.clock, 0.0
        peer.stack.clock = lambda: clock() + worked
        at_once = []
        for work in (0.03, 0.6, 0.6, 0.0, 0.0):
            with peer.batch():
                for each in (peer, peer, other, other):
                    each.sends(ACK, data=bytes(MSS))
            at_once.append(len(other.unseen) == 1)
            worked += work
            assert len(await other.sees_all()) == 1
            await peer.sees_all()
        assert at_once == [False, True, True, False, False]


@pytest.mark.req("5681-5")
async def test_an_acknowledgment_of_what_is_out_of_order_never_waits() -> None:
    async with Peer() as peer:
        other = peer.another()
        await peer.connects()
        await other.connects()
        with peer.batch():
            for each in (peer, peer, other, other):
                each.sends(ACK, data=bytes(MSS))
            other.sends(ACK, seq=1 + 5 * MSS, data=bytes(MSS))
        other.sends(ACK, seq=1 + 2 * MSS, data=bytes(MSS))
        assert [seen.ack for seen in await other.sees_all()] == [2001, 3001]
        await peer.sees_all()


@pytest.mark.req("MUST-58")
async def test_a_frame_of_many_segments_gets_one_acknowledgment() -> None:
    async with Peer(offload=True) as peer:
        app = await peer.connects()
        peer.sends(ACK, data=bytes(20 * MSS), gso_size=MSS)
        await peer.sees(ACK, ack=20_001, why="ack_second_segment")
        assert len(app.received) == 20_000


@pytest.mark.req("MUST-59", "SHLD-31")
async def test_a_batch_in_the_wrong_order_gets_one_acknowledgment() -> None:
    async with Peer() as peer:
        app = await peer.connects(sack=True)
        with peer.batch():
            peer.sends(ACK, seq=1001, data=b"2" * MSS)
            peer.sends(ACK, seq=2001, data=b"3" * MSS)
            peer.sends(ACK, seq=1, data=b"1" * MSS)
        peer.seq = 3001
        await peer.sees(ACK, ack=3001, sack=())
        assert app.received == b"1" * MSS + b"2" * MSS + b"3" * MSS
        await peer.sees_nothing(for_s=1)


@pytest.mark.req("MUST-59")
async def test_a_batch_with_a_fin_gets_one_acknowledgment() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        with peer.batch():
            peer.sends(ACK, data=bytes(MSS))
            peer.sends(ACK, data=bytes(MSS))
            peer.sends(FIN | ACK)
        await peer.sees(ACK, ack=2002)
        assert app.eof


@pytest.mark.req("SHLD-31", "MAY-13", "5681-5", "2018-7")
async def test_each_segment_above_a_hole_is_answered_at_once() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        for n in (1, 2, 3):
            peer.sends(ACK, seq=1 + n * MSS, data=bytes(MSS))
            await peer.sees(ACK, ack=1, why="ack_out_of_order")
        assert app.received == b""
        peer.sends(ACK, seq=1, data=bytes(MSS))
        peer.seq = 4001
        await peer.sees(ACK, ack=4001, why="ack_out_of_order")
        assert len(app.received) == 4000


@pytest.mark.req("5681-5", "2018-7", "MUST-59")
async def test_in_a_batch_too_each_segment_above_a_hole_is_a_duplicate() -> None:
    """The sender counts three of them: one for the batch would keep it from repeating."""
    async with Peer() as peer:
        await peer.connects()
        with peer.batch():
            for n in (1, 2, 3, 4):
                peer.sends(ACK, seq=1 + n * MSS, data=bytes(MSS))
        for _ in range(4):
            await peer.sees(ACK, ack=1)


@pytest.mark.req("5681-5")
async def test_filling_part_of_a_hole_is_answered_at_once() -> None:
    async with Peer() as peer:
        await peer.connects()
        peer.sends(ACK, seq=2001, data=bytes(MSS))
        await peer.sees(ACK, ack=1)
        peer.sends(ACK, seq=1, data=bytes(MSS))
        await peer.sees(ACK, ack=1001)
        peer.sends(ACK, seq=1001, data=bytes(MSS))
        peer.seq = 3001
        await peer.sees(ACK, ack=3001)


@pytest.mark.req("5681-6")
async def test_duplicates_carry_no_data_and_the_same_window() -> None:
    """So that the peer can count them (RFC 5681 2), even while we have something to send."""
    async with Peer() as peer:
        app = await peer.connects(window=0)
        app.write(bytes(3000))
        windows = set()
        for n in (1, 2, 3):
            peer.sends(ACK, seq=1 + n * MSS, data=bytes(MSS), window=n * 1460)
            seen = await peer.sees(ACK, ack=1, length=0)
            windows.add(seen.window)
            await peer.sees_all()
        assert len(windows) == 1


@pytest.mark.req("ST-7")
async def test_what_was_received_already_is_acknowledged_again() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        peer.sends(ACK, data=b"hello")
        await peer.sees(ACK, ack=6, within=0.1)
        peer.sends(ACK, seq=1, data=b"hello")
        await peer.sees(ACK, ack=6, why="ack_duplicate")
        assert app.received == b"hello"


@pytest.mark.req("ST-19")
async def test_only_what_is_new_is_delivered() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        peer.sends(ACK, seq=1, data=b"hello ")
        peer.sends(ACK, seq=4, data=b"lo world")
        peer.seq = 12
        await peer.sees(ACK, ack=12, within=0.1)
        assert app.received == b"hello world"


@pytest.mark.req("ST-19")
async def test_text_beyond_the_window_is_cut_off() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=Options(receive_buffer=1000), reading=False)
        peer.sends(ACK, seq=1, data=b"x" * 1400)
        await peer.sees(ACK, ack=1001, window=0, within=0.1)
        assert app.conn.readable == 1000
        app.read()
        await peer.sees(ACK, ack=1001, window=1000)
        peer.sends(FIN | ACK, seq=1001, data=b"y" * 1001)  # the FIN does not fit in either
        await peer.sees(ACK, ack=2001, window=0, within=0.1)
        assert not app.eof
        assert app.read() == b"y" * 1000
        await peer.sees(ACK, ack=2001, window=1000)


@pytest.mark.req("MUST-58")
async def test_acknowledgments_of_a_bulk_transfer_are_few() -> None:
    """Ten segments in a batch, a hundred batches: no more than one acknowledgment for each."""
    async with Peer() as peer:
        app = await peer.connects()
        acks = 0
        for _ in range(100):
            with peer.batch():
                for _ in range(10):
                    peer.sends(ACK, data=bytes(MSS))
            acks += len(await peer.sees_all())
        assert len(app.received) == 1_000_000
        assert acks <= 100


async def test_first_bytes_bring_no_window_update_of_their_own() -> None:
    """A SYN can offer 65,535 bytes and the scale eight times that: the first ACK tells."""
    async with Peer() as peer:
        await peer.connects(wscale=7, options=Options(receive_buffer=512 * 1024))
        peer.sends(ACK | PSH, data=b"hello")
        await peer.sees(ACK, ack=6, why="ack_delayed", after=0.04)
        await peer.sees_nothing(for_s=1)
