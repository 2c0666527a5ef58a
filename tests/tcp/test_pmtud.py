"""Path MTU discovery: which reports are believed, when, and by whom (RFC 1191, RFC 8201, RFC 5927).

What a believed report does to the data under way is in test_icmp.
"""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.reasons import Drop, Why
from aiotcp.tcpinfo import tcp_info
from aiotcp.wire.tcp import ACK, SYN
from tests.support.conversation import App, Peer, Seen

UNREACHABLE, FRAGMENTATION_NEEDED = 3, 4
TOO_BIG_V6 = 2
TEN_MINUTES = 600.0


def too_big(peer: Peer, about: Seen, mtu: int) -> None:
    """A router reports that the packet did not fit."""
    if ":" in peer.host:
        peer.reports(TOO_BIG_V6, 0, about, mtu=mtu, router="fd61:696f:7463:70::fe")
    else:
        peer.reports(UNREACHABLE, FRAGMENTATION_NEEDED, about, mtu=mtu, router="192.0.2.254")


def sizes(segments: list[Seen]) -> set[int]:
    """Of the packets, but for the last of a write, which may be shorter."""
    return {len(seen.packet) for seen in segments[:-1]}


async def writes(peer: Peer, app: App, segments: int = 4, *, size: int = 1460) -> list[Seen]:
    """Full segments that are on their way."""
    app.write(bytes(segments * size))
    return await peer.sees_all()


async def acknowledged(peer: Peer, app: App, *, size: int = 1460) -> None:
    """Full segments of the present size arrived: it is known to pass."""
    seen = await writes(peer, app, 4, size=size)
    assert {len(each.payload) for each in seen} == {size}
    peer.sends(ACK)


# -- RFC 5927 7.2 -------------------------------------------------------------------------------


@pytest.mark.req("5927-4")
async def test_a_report_that_is_refuted_by_an_acknowledgment_is_forgotten() -> None:
    """7.3.4: an attacker guesses ports and numbers; the peer acknowledges, and nothing happened."""
    async with Peer() as peer:
        app = await peer.connects()
        await acknowledged(peer, app)
        first, *_ = await writes(peer, app)
        too_big(peer, first, 576)
        await peer.sees_nothing()
        peer.sends(ACK)
        seen = await writes(peer, app)
        assert sizes(seen) == {1500}
        again = await peer.sees(ACK, length=1460, within=1, why=Why.RTO_RETRANSMIT)  # and later
        assert len(again.packet) == 1500
        peer.sends(ACK, ack=seen[-1].end)
        await peer.sees_all()


@pytest.mark.req("5927-4", "1191-1")
@pytest.mark.parametrize("ipv6", [False, True])
async def test_a_report_is_believed_once_the_segment_times_out(ipv6: bool) -> None:
    """7.3.2: the path becomes smaller; MAXSEGRTO is 1."""
    size = 1440 if ipv6 else 1460
    async with Peer(ipv6=ipv6) as peer:
        app = await peer.connects()
        await acknowledged(peer, app, size=size)
        first, *rest = await writes(peer, app, size=size)
        too_big(peer, first, 1400)
        await peer.sees_nothing(for_s=0.1)
        again = await peer.sees(ACK, seq=first.seq, length=None, within=1)
        assert len(again.packet) == 1400
        assert again.why == Why.RTO_RETRANSMIT
        peer.sends(ACK, ack=rest[-1].end)
        assert sizes(await writes(peer, app, size=size)) == {1400}


@pytest.mark.req("5927-4", "1191-1")
async def test_the_tail_loss_probe_s_timer_is_sign_enough() -> None:
    """Two round trips without an answer (RFC 8985 7.2): no need to wait for the RTO, and no sign of
    congestion."""
    async with Peer() as peer:
        app = peer.opens()
        await peer.sees(SYN)
        await peer.wait(0.02)
        peer.sends(SYN | ACK, mss=1460, sack_permitted=True)
        await peer.sees(ACK)
        await writes(peer, app)
        await peer.wait(0.02)
        peer.sends(ACK)
        seen = await writes(peer, app)
        too_big(peer, seen[0], 1400)
        assert peer.info is not None
        window = peer.info.cwnd_bytes
        again = await peer.sees(ACK, seq=seen[0].seq, length=1360, within=0.045)
        assert again.why == Why.PATH_MTU_RETRANSMIT
        assert peer.info.cwnd_bytes == window
        await peer.sees_all()
        peer.sends(ACK, ack=seen[-1].end)


@pytest.mark.req("5927-4", "1191-1")
async def test_what_was_never_larger_is_believed_at_once_step_by_step() -> None:
    """7.3.1: three hops, each smaller than the one before, cost three reports and no timeout."""
    async with Peer() as peer:
        app = await peer.connects()
        seen = await writes(peer, app)
        for mtu in (1400, 1300, 1200):
            too_big(peer, seen[0], mtu)
            seen = await peer.sees_all()
            assert sizes(seen) == {mtu}
        peer.sends(ACK, ack=seen[-1].end)
        seen = await writes(peer, app)
        too_big(peer, seen[0], 1199)  # 1200 has passed meanwhile
        await peer.sees_nothing()


@pytest.mark.req("5927-4")
async def test_reports_about_packets_that_were_not_so_large_are_dropped() -> None:
    """7.3.5: a peer attacked "when sending small packets just after the three-way handshake"."""
    async with Peer() as peer:
        app = await peer.connects()
        for mtu in (552, 0, 576, 140, 1400):
            app.write(bytes(100))
            too_big(peer, await peer.sees(ACK, length=100), mtu)
            await peer.sees_nothing()
            peer.sends(ACK)
        assert peer.stack.counters.dropped[Drop.ICMP_MTU] == 5
        assert sizes(await writes(peer, app)) == {1500}


@pytest.mark.req("5927-4")
async def test_no_report_about_a_syn_is_believed() -> None:
    async with Peer() as peer:
        app = peer.opens()
        too_big(peer, await peer.sees(SYN), 552)
        peer.sends(SYN | ACK, mss=1460)
        await peer.sees(ACK)
        assert peer.stack.counters.dropped[Drop.ICMP_MTU] == 1
        assert tcp_info(app.conn, peer.now).pmtu == 1500
        assert sizes(await writes(peer, app)) == {1500}


@pytest.mark.req("5927-4")
@pytest.mark.parametrize("order", [(600, 1400), (1400, 600)])
async def test_of_several_reports_the_largest_counts(order: tuple[int, int]) -> None:
    """A forged one beside the router's does no harm beyond it."""
    async with Peer() as peer:
        app = await peer.connects()
        await acknowledged(peer, app)
        first, *rest = await writes(peer, app)
        for mtu in order:
            too_big(peer, first, mtu)
        again = await peer.sees(ACK, seq=first.seq, length=None, within=1)
        assert len(again.packet) == 1400
        peer.sends(ACK, ack=rest[-1].end)
        await peer.sees_all()


# -- an increase of the path's MTU ----------------------------------------------------------------


@pytest.mark.req("1191-3")
async def test_more_is_tried_after_ten_minutes_and_not_before() -> None:
    """RFC 1191 6.3, without probes: "the PMTU estimate is set to the MTU of the associated first
    hop". It proves itself, or is reported again."""
    async with Peer(options=Options(mtu_probing="off")) as peer:
        app = await peer.connects()
        seen = await writes(peer, app)
        too_big(peer, seen[0], 1400)
        seen = await peer.sees_all()
        peer.sends(ACK, ack=seen[-1].end)
        await peer.wait(TEN_MINUTES - 1)
        assert sizes(await writes(peer, app)) == {1400}
        peer.sends(ACK)
        await peer.wait(1)
        seen = await writes(peer, app)
        assert sizes(seen) == {1500}
        too_big(peer, seen[0], 1450)  # at once: nothing so large was acknowledged
        seen = await peer.sees_all()
        assert sizes(seen) == {1450}
        peer.sends(ACK, ack=seen[-1].end)


# -- what the stack remembers ---------------------------------------------------------------------


async def learned(peer: Peer, mtu: int = 1400) -> App:
    """A connection that was told of a path's MTU, and has nothing in flight."""
    app = await peer.connects()
    seen = await writes(peer, app)
    too_big(peer, seen[0], mtu)
    seen = await peer.sees_all()
    peer.sends(ACK, ack=seen[-1].end)
    return app


@pytest.mark.req("1191-1", "MUST-16", "SHLD-6")
@pytest.mark.parametrize("ipv6", [False, True])
async def test_the_next_connection_to_the_same_host_knows_it(ipv6: bool) -> None:
    """RFC 8201 5.2: the destination stands for the path. What is advertised stays: "the value sent
    in the TCP MSS option is independent of the PMTU" (5.4)."""
    async with Peer(ipv6=ipv6) as peer:
        await learned(peer)
        next_one = peer.another(ipv6=ipv6)
        app = next_one.opens(local_port=40001)
        syn = await next_one.sees(SYN)
        assert syn.segment.mss == (1440 if ipv6 else 1460)
        next_one.sends(SYN | ACK, mss=1460)
        await next_one.sees(ACK)
        assert sizes(await writes(next_one, app)) == {1400}
        elsewhere = peer.another(port=50002, host="fd61:696f:7463:70::77" if ipv6 else "192.0.2.77")
        app = await elsewhere.accepts(local_port=40002)
        assert sizes(await writes(elsewhere, app)) == {1500}


@pytest.mark.req("1191-3")
async def test_it_is_forgotten_after_ten_minutes() -> None:
    async with Peer() as peer:
        await learned(peer)
        await peer.wait(TEN_MINUTES)
        later = peer.another()
        app = await later.accepts(local_port=40001)
        assert sizes(await writes(later, app)) == {1500}


@pytest.mark.req("1191-3")
async def test_a_connection_looks_for_more_when_what_it_began_with_expires() -> None:
    """Not ten minutes after its own beginning: the report is older."""
    async with Peer(options=Options(mtu_probing="off")) as peer:
        await learned(peer)
        await peer.wait(TEN_MINUTES - 10)
        later = peer.another()
        app = await later.accepts(local_port=40001)
        await acknowledged(later, app, size=1360)
        await peer.wait(10)
        assert sizes(await writes(later, app)) == {1500}


@pytest.mark.req("1191-1")
async def test_a_connection_under_way_takes_it_over() -> None:
    """RFC 8201 5.2: instances "actively using the path must be notified", which "may be delayed
    until a packetization layer instance wants to create a packet"."""
    async with Peer() as peer:
        beside = peer.another()
        other = await beside.accepts(local_port=40001)
        await learned(peer)
        assert sizes(await writes(beside, other)) == {1400}


@pytest.mark.req("5927-4")
async def test_but_not_against_what_its_own_packets_have_shown() -> None:
    """Else a report about one connection were a way around RFC 5927 on another. A timeout confirms
    it there as well."""
    async with Peer() as peer:
        beside = peer.another()
        other = await beside.accepts(local_port=40001)
        await acknowledged(beside, other)
        await learned(peer)
        seen = await writes(beside, other)
        assert sizes(seen) == {1500}
        again = await beside.sees(ACK, seq=seen[0].seq, length=None, within=1)
        assert len(again.packet) == 1400
        beside.sends(ACK, ack=seen[-1].end)
        await beside.sees_all()


async def test_what_is_remembered_is_bounded() -> None:
    """The oldest gives way, and a counter tells."""
    async with Peer(options=Options(max_path_mtus=2)) as peer:
        for number in range(3):
            far = peer.another(port=50001 + number, host=f"192.0.2.{100 + number}")
            app = await far.accepts(local_port=41000 + number)
            seen = await writes(far, app)
            too_big(far, seen[0], 1400)
            seen = await far.sees_all()
            far.sends(ACK, ack=seen[-1].end)
        assert peer.stack.counters.path_mtus_evicted == 1
        for number, size in ((0, 1500), (1, 1400), (2, 1400)):
            again = peer.another(port=51001 + number, host=f"192.0.2.{100 + number}")
            app = await again.accepts(local_port=42000 + number)
            assert sizes(await writes(again, app)) == {size}


# -- black holes ----------------------------------------------------------------------------------


@pytest.mark.req("4821-2", "4821-3")
@pytest.mark.parametrize(("ipv6", "size"), [(False, 1200), (True, 1280)])
async def test_full_segments_that_time_out_again_become_smaller(ipv6: bool, size: int) -> None:
    """RFC 4821 7.7: nobody reports anything."""
    async with Peer(ipv6=ipv6) as peer:
        app = await peer.connects()
        seen = await writes(peer, app, 4)
        again = await peer.sees(ACK, seq=1, length=None, within=1, why=Why.RTO_RETRANSMIT)
        assert len(again.packet) == 1500
        again = await peer.sees(ACK, seq=1, length=None, within=1, why=Why.RTO_RETRANSMIT)
        assert len(again.packet) == size
        peer.sends(ACK, ack=again.end)
        assert sizes(await peer.sees_all()) <= {size}
        peer.sends(ACK, ack=seen[-1].end)
        await peer.sees_all()


@pytest.mark.req("4821-2")
async def test_further_timeouts_halve_them_down_to_a_floor() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        await writes(peer, app)
        for size in (1500, 1200, 1200, 1200, 600, 552, 552):
            again = await peer.sees(ACK, seq=1, length=None, within=30, why=Why.RTO_RETRANSMIT)
            assert len(again.packet) == size


@pytest.mark.req("4821-2")
@pytest.mark.parametrize("case", ["off", "small"])
async def test_when_timeouts_tell_nothing_of_the_size(case: str) -> None:
    """Probing is switched off, or what is lost would pass a smaller path as well."""
    probing = "off" if case == "off" else "blackhole"
    size = 1100 if case == "small" else 1460
    async with Peer(options=Options(mtu_probing=probing)) as peer:
        app = await peer.connects()
        app.write(bytes(size))
        await peer.sees(ACK, length=size)
        for _ in range(5):
            await peer.sees(ACK, seq=1, length=size, within=16, why=Why.RTO_RETRANSMIT)
        peer.sends(ACK)
        first, *_ = await writes(peer, app)
        assert len(first.packet) == 1500


@pytest.mark.req("4821-2")
async def test_a_connection_that_follows_knows_of_the_black_hole() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        seen = await writes(peer, app, 4)
        await peer.wait(1)
        await peer.sees_all()
        peer.sends(ACK, ack=seen[-1].end)
        later = peer.another()
        app = await later.accepts(local_port=40001)
        seen = await writes(later, app)
        assert {len(each.packet) for each in seen[:-1] if each.why == Why.NEW_DATA} == {1200}


@pytest.mark.req("4821-2")
async def test_and_one_under_way_takes_part_in_the_search() -> None:
    """It falls to the size that passes, and probes for more like the one that found out."""
    async with Peer() as peer:
        beside = peer.another()
        other = await beside.accepts(local_port=40001, sack=True)
        app = await peer.connects()
        seen = await writes(peer, app, 4)
        await peer.wait(1)
        await peer.sees_all()
        peer.sends(ACK, ack=seen[-1].end)
        seen = await writes(beside, other, 8)
        assert {len(each.packet) for each in seen[:-1] if each.why == Why.NEW_DATA} == {1200}
        assert [len(each.packet) for each in seen if each.why == Why.MTU_PROBE] == [1500]


@pytest.mark.req("4821-2", "1191-1")
async def test_a_report_that_is_late_bounds_the_search() -> None:
    """A router's report after the black hole was found is no news of the size in use."""
    async with Peer() as peer:
        app = await peer.connects()
        seen = await writes(peer, app, 4)
        await peer.wait(0.7)
        await peer.sees_all()
        too_big(peer, seen[0], 1400)
        await peer.sees_nothing()
        peer.sends(ACK, ack=seen[-1].end)
        assert sizes(await writes(peer, app)) == {1200}


# -- reports that say little or too much ----------------------------------------------------------


@pytest.mark.req("1191-1")
async def test_a_router_that_does_not_tell_its_mtu_is_taken_for_the_next_plateau() -> None:
    """RFC 1191 7.1: 1492 is what comes below 1500."""
    async with Peer() as peer:
        app = await peer.connects()
        seen = await writes(peer, app)
        too_big(peer, seen[0], 0)
        again = await peer.sees_all()
        assert again[0].segment.seq == seen[0].segment.seq
        assert len(again[0].packet) == 1492
        peer.sends(ACK, ack=seen[-1].end)


async def test_an_ipv6_router_can_not_ask_for_less_than_1280() -> None:
    """RFC 8201 4: such a report is discarded."""
    async with Peer(ipv6=True) as peer:
        app = await peer.connects()
        seen = await writes(peer, app, size=1440)
        too_big(peer, seen[0], 1279)
        await peer.sees_nothing()
        assert peer.stack.counters.dropped[Drop.ICMP_MTU] == 1
        peer.sends(ACK, ack=seen[-1].end)
