"""Probes for a larger path MTU (RFC 4821 7.4 to 7.6, 10.1), segment by segment."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.reasons import Why
from aiotcp.wire.tcp import ACK, SYN
from tests.support.conversation import App, Peer, Seen

SMALL = 1160
"""Payload of a packet of 1200 bytes, and 40 of headers."""
ON = Options(mtu_probing="on")
RTT = 0.1
TEN_MINUTES = 600.0


async def probing(
    peer: Peer, *, ahead: int = 200, sack: bool = True, until: str = Why.MTU_PROBE
) -> tuple[App, list[Seen], Seen]:
    """A bulk transfer, up to and with its first probe: that, and what is in flight besides."""
    app = peer.opens(options=ON)
    await peer.sees(SYN)
    await peer.wait(RTT)
    peer.sends(SYN | ACK, mss=1460, sack_permitted=sack)
    await peer.sees(ACK)
    app.write(bytes(ahead * SMALL))
    for _ in range(20):
        seen = await peer.sees_all()
        for index, each in enumerate(seen):
            if each.why == until:
                return app, seen[:index] + seen[index + 1 :], each
        await peer.wait(RTT)
        peer.sends(ACK, ack=seen[-1].end)
    raise AssertionError("no probe was sent")


def cwnd(peer: Peer) -> int:
    assert peer.info is not None
    return peer.info.cwnd_bytes


@pytest.mark.req("4821-1")
async def test_a_probe_is_one_larger_segment_of_new_data() -> None:
    """7.3: first the whole of what the first hop carries; 7.4: at least three segments follow."""
    async with Peer() as peer:
        _, others, probe = await probing(peer)
        assert len(probe.packet) == 1500
        assert {len(seen.packet) for seen in others} == {1200}
        behind = [seen for seen in others if seen.seq > probe.seq]
        assert behind[0].seq == probe.end
        assert len(behind) >= 3
        await peer.wait(RTT)
        await peer.sees_all()


@pytest.mark.req("4821-1", "MUST-16")
async def test_a_delivered_probe_raises_the_segments() -> None:
    async with Peer() as peer:
        _, others, probe = await probing(peer)
        await peer.wait(RTT)
        peer.sends(ACK, ack=probe.end)
        seen = await peer.sees_all()
        assert {len(each.packet) for each in seen[:-1]} == {1500}
        assert {each.why for each in seen} == {Why.NEW_DATA}
        peer.sends(ACK, ack=max(others[-1].end, seen[-1].end))
        await peer.wait(RTT)
        assert all(len(each.packet) == 1500 for each in (await peer.sees_all())[:-1])


@pytest.mark.req("4821-1", "4821-3")
async def test_a_lost_probe_is_no_sign_of_congestion() -> None:
    """7.6.2: repeated at once in ordinary segments, the window as before, and no other probe for a
    round trip for each packet of the window."""
    async with Peer() as peer:
        _, others, probe = await probing(peer)
        await peer.wait(RTT)
        peer.sends(ACK, ack=probe.seq)
        before = [*others, *await peer.sees_all()]
        window = cwnd(peer)
        last = before[-1].end
        peer.sends(ACK, ack=probe.seq, sack=[(probe.end, last)])
        await peer.wait(RTT)
        seen = await peer.sees_all()
        again = [each for each in seen if each.seq < probe.end]
        assert [each.why for each in again] == [Why.PATH_MTU_RETRANSMIT] * 2
        assert sum(len(each.payload) for each in again) == len(probe.payload)
        assert {len(each.packet) for each in seen} <= {1200, again[-1].packet.__len__()}
        assert cwnd(peer) >= window
        peer.sends(ACK, ack=max(each.end for each in [*before, *seen]))
        assert all(each.why == Why.NEW_DATA for each in await peer.sees_all())


@pytest.mark.req("4821-1")
async def test_a_probe_lost_among_others_is() -> None:
    """7.6.4: then the loss is congestion, and says nothing about the size."""
    async with Peer() as peer:
        _, others, probe = await probing(peer)
        await peer.wait(RTT)
        peer.sends(ACK, ack=probe.seq)
        more = await peer.sees_all()
        window = cwnd(peer)
        behind = [seen for seen in [*others, *more] if seen.seq > probe.seq]
        # The probe and the segment behind it are missing.
        peer.sends(ACK, ack=probe.seq, sack=[(behind[1].seq, behind[-1].end)])
        await peer.wait(RTT)
        seen = await peer.sees_all()
        assert Why.FAST_RETRANSMIT in {each.why for each in seen}
        assert cwnd(peer) < window
        assert all(len(each.packet) <= 1200 for each in seen)


@pytest.mark.req("4821-1")
async def test_no_probe_without_enough_behind_it() -> None:
    """7.4: "the sender SHOULD have enough data queued and sufficient receiver window"."""
    async with Peer() as peer:
        app = await peer.connects(sack=True, options=ON)
        for _ in range(10):
            app.write(bytes(3 * SMALL))
            seen = await peer.sees_all()
            assert Why.MTU_PROBE not in {each.why for each in seen}
            await peer.wait(RTT)
            peer.sends(ACK)
        await peer.sees_all()


@pytest.mark.req("4821-1")
async def test_no_probe_beyond_the_peer_s_window() -> None:
    async with Peer() as peer:
        app = await peer.connects(sack=True, options=ON, window=3 * SMALL)
        app.write(bytes(40 * SMALL))
        for _ in range(10):
            seen = await peer.sees_all()
            assert Why.MTU_PROBE not in {each.why for each in seen}
            await peer.wait(RTT)
            peer.sends(ACK, ack=seen[-1].end)
        await peer.sees_all()


@pytest.mark.req("4821-2", "4821-1")
async def test_after_a_black_hole_the_search_leads_upwards() -> None:
    """The path carries 1400: the size that timed out is tried once more, then those that occur."""
    async with Peer() as peer:
        app = await peer.connects(sack=True)
        left = 900_000
        tried: list[int] = []
        arrived, last = [], 1
        for _ in range(400):
            if left:
                left -= app.write(bytes(left))
            await peer.wait(RTT)
            seen = await peer.sees_all()
            tried += [len(each.packet) for each in seen if each.why == Why.MTU_PROBE]
            arrived += [(each.seq, each.end) for each in seen if len(each.packet) <= 1400]
            for start, end in sorted(arrived):
                if start <= last:
                    last = max(last, end)
            ahead = sorted(pair for pair in arrived if pair[0] > last)
            if seen:
                runs: list[tuple[int, int]] = []
                for start, end in ahead:
                    if runs and start <= runs[-1][1]:
                        runs[-1] = (runs[-1][0], max(end, runs[-1][1]))
                    else:
                        runs.append((start, end))
                peer.sends(ACK, ack=last, sack=runs[:3])
            if last > 900_000:
                break
        assert last == 900_001
        assert tried[:3] == [1500, 1280, 1400]
        await peer.sees_all()


@pytest.mark.req("1191-3", "4821-3")
async def test_ten_minutes_after_a_report_a_probe_looks_for_more() -> None:
    """Not the whole window, as without probes: one segment is at stake."""
    async with Peer() as peer:
        app = await peer.connects(sack=True)
        app.write(bytes(4 * 1460))
        seen = await peer.sees_all()
        peer.reports(3, 4, seen[0], mtu=1400)
        seen = await peer.sees_all()
        peer.sends(ACK, ack=4 * 1460 + 1)
        await peer.wait(TEN_MINUTES)
        app.write(bytes(60_000))
        for _ in range(6):
            await peer.wait(RTT)
            seen = await peer.sees_all()
            if any(each.why == Why.MTU_PROBE for each in seen):
                break
            assert {len(each.packet) for each in seen[:-1]} == {1400}
            peer.sends(ACK, ack=seen[-1].end)
        assert [len(each.packet) for each in seen if each.why == Why.MTU_PROBE] == [1500]
        peer.sends(ACK, ack=seen[-1].end)
        assert all(len(each.packet) == 1500 for each in (await peer.sees_all())[:-1])


@pytest.mark.req("4821-1")
async def test_a_report_about_the_probe_bounds_the_search() -> None:
    """7.6.2: "search_high and eff_pmtu MAY be set from the MTU value indicated"."""
    async with Peer() as peer:
        _, others, probe = await probing(peer)
        peer.reports(3, 4, probe, mtu=1300)
        await peer.wait(RTT)
        last = others[-1].end
        peer.sends(ACK, ack=probe.seq, sack=[(probe.end, last)])
        tried: list[int] = []
        for _ in range(60):
            await peer.wait(RTT)
            seen = await peer.sees_all()
            if not seen:
                break
            tried += [len(each.packet) for each in seen if each.why == Why.MTU_PROBE]
            last = max(last, *(each.end for each in seen))
            peer.sends(ACK, ack=last)
        assert tried == [1300] or tried == []
        assert max(len(each.packet) for each in seen or others) <= 1300


@pytest.mark.req("4821-1")
async def test_without_sack_a_lost_probe_counts_as_congestion() -> None:
    """Nobody could tell that nothing else was lost."""
    async with Peer() as peer:
        _, others, probe = await probing(peer, sack=False)
        await peer.wait(RTT)
        peer.sends(ACK, ack=probe.seq)
        more = await peer.sees_all()
        window = cwnd(peer)
        for _ in range(3):
            peer.sends(ACK, ack=probe.seq)
        seen = await peer.sees_all()
        again = next(each for each in seen if each.seq == probe.seq)
        assert again.why == Why.FAST_RETRANSMIT
        assert len(again.packet) == 1200
        assert cwnd(peer) < window
        peer.sends(ACK, ack=max(each.end for each in [*others, *more, *seen]))
        await peer.wait(RTT)
        await peer.sees_all()
