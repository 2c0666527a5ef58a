"""ICMP errors about connections (RFC 9293 3.9.2.2, RFC 5461, RFC 5927, RFC 1191, RFC 8201)."""

from __future__ import annotations

import errno

import pytest

from aiotcp.options import Options
from aiotcp.reasons import Drop, Why
from aiotcp.wire.tcp import ACK, FIN, RST, SYN
from tests.support.conversation import App, Peer, Seen
from tests.support.states import go_to

UNREACHABLE, QUENCH, TIME_EXCEEDED, PARAMETER = 3, 4, 11, 12
UNREACHABLE_V6, TOO_BIG_V6, TIME_EXCEEDED_V6, PARAMETER_V6 = 1, 2, 3, 4

SOFT = [
    (False, UNREACHABLE, 0, errno.ENETUNREACH),
    (False, UNREACHABLE, 1, errno.EHOSTUNREACH),
    (False, UNREACHABLE, 5, errno.EOPNOTSUPP),
    (False, TIME_EXCEEDED, 0, errno.EHOSTUNREACH),
    (False, TIME_EXCEEDED, 1, errno.EHOSTUNREACH),
    (False, PARAMETER, 0, errno.EPROTO),
    (True, UNREACHABLE_V6, 0, errno.ENETUNREACH),
    (True, UNREACHABLE_V6, 3, errno.EHOSTUNREACH),
    (True, TIME_EXCEEDED_V6, 0, errno.EHOSTUNREACH),
    (True, PARAMETER_V6, 1, errno.EPROTO),
]
HARD = [
    (False, UNREACHABLE, 2, errno.ENOPROTOOPT),
    (False, UNREACHABLE, 3, errno.ECONNREFUSED),
    (True, UNREACHABLE_V6, 1, errno.EACCES),
    (True, UNREACHABLE_V6, 4, errno.ECONNREFUSED),
]
ROUTERS = {False: "192.0.2.254", True: "fd61:696f:7463:70::fe"}


async def with_text_out(peer: Peer, size: int = 5) -> tuple[App, list[Seen]]:
    """A connection, and the segments of a write that are not acknowledged."""
    app = await peer.connects()
    app.write(b"x" * size)
    return app, await peer.sees_all()


# -- soft errors ------------------------------------------------------------------------------


@pytest.mark.req("MUST-56", "SHLD-25", "MUST-47", "MUST-54")
@pytest.mark.parametrize(("ipv6", "type_", "code", "number"), SOFT)
async def test_a_soft_error_does_not_end_an_attempt_but_explains_its_end(
    ipv6: bool, type_: int, code: int, number: int
) -> None:
    """ "TCP implementations MUST NOT abort the connection": it goes on being tried; and when it
    fails, the error is what the user is told."""
    async with Peer(ipv6=ipv6, options=Options(syn_retries=2)) as peer:
        app = peer.opens()
        syn = await peer.sees(SYN)
        peer.reports(type_, code, syn, router=ROUTERS[ipv6])
        assert app.state == "SYN-SENT"
        assert app.conn.soft_error is not None
        assert app.conn.soft_error.errno == number
        await peer.sees(SYN, after=1)
        await peer.sees(SYN, after=2)
        await peer.sees_nothing(for_s=5)
        assert app.error is not None
        assert app.error.errno == number


@pytest.mark.req("MUST-56", "SHLD-25", "MUST-47", "5461-2", "ST-25")
@pytest.mark.parametrize(("ipv6", "type_", "code", "number"), SOFT + HARD)
async def test_no_error_ends_a_connection_but_it_explains_its_end(
    ipv6: bool, type_: int, code: int, number: int
) -> None:
    """Hard ones neither: RFC 5927 5.2, "treat ICMP hard errors as soft in synchronized states"."""
    async with Peer(ipv6=ipv6, options=Options(user_timeout_s=10)) as peer:
        app, (text,) = await with_text_out(peer)
        peer.reports(type_, code, text, router=ROUTERS[ipv6])
        assert app.state == "ESTABLISHED"
        await peer.sees(ACK, length=5, within=1, why=Why.RTO_RETRANSMIT)
        await peer.wait(10)
        *_, reset = await peer.sees_all()
        assert reset.flags == RST | ACK
        assert app.error is not None
        assert app.error.errno == number


@pytest.mark.req("SHLD-25", "5461-2")
async def test_an_error_that_was_overcome_is_forgotten() -> None:
    async with Peer(options=Options(user_timeout_s=10)) as peer:
        app, (text,) = await with_text_out(peer)
        peer.reports(UNREACHABLE, 0, text)
        peer.sends(ACK)
        assert app.conn.soft_error is None
        app.write(b"more")
        await peer.wait(20)
        await peer.sees_all()
        assert isinstance(app.error, TimeoutError)


# -- hard errors ------------------------------------------------------------------------------


@pytest.mark.req("SHLD-26", "MUST-54")
@pytest.mark.parametrize(("ipv6", "type_", "code", "number"), HARD)
async def test_a_hard_error_ends_an_attempt(ipv6: bool, type_: int, code: int, number: int) -> None:
    async with Peer(ipv6=ipv6) as peer:
        app, other = peer.opens(), peer.another(ipv6=ipv6)
        bystander = other.opens()
        syn = await peer.sees(SYN)
        await other.sees(SYN)
        peer.reports(type_, code, syn, router=ROUTERS[ipv6])
        assert app.error is not None
        assert app.error.errno == number
        assert peer.info is None
        assert bystander.state == "SYN-SENT"  # the right one of the two
        await other.sees(SYN, after=1)


@pytest.mark.req("5927-2", "5461-2")
@pytest.mark.parametrize("state", ["SA", "ES", "F1", "CW", "CL", "LA"])
async def test_a_hard_error_ends_nothing_from_syn_received_on(state: str) -> None:
    async with Peer() as peer:
        place = await go_to(peer, state)
        assert place.app is not None
        if state in ("ES", "CW"):
            place.app.write(b"hello")
            about = await peer.sees(ACK, data=b"hello")
        else:
            about = await peer.sees(FIN | ACK if state != "SA" else SYN | ACK, within=5)
        before = peer.state
        for code in (2, 3):
            peer.reports(UNREACHABLE, code, about)
        assert peer.state == before
        assert place.app.error is None


# -- what is not believed ---------------------------------------------------------------------


@pytest.mark.req("5927-1")
@pytest.mark.parametrize("away", [-1, -100_000, 5, 2**31])
async def test_only_what_is_in_flight_can_have_failed(away: int) -> None:
    """RFC 5927 4.1: "SND.UNA =< SEG.SEQ < SND.NXT"; the text has the numbers 0 to 4 from there."""
    async with Peer() as peer:
        app, (text,) = await with_text_out(peer)
        packet = bytearray(text.packet)
        packet[24:28] = (peer.wire_number(1) + away & 0xFFFF_FFFF).to_bytes(4, "big")
        peer.reports(UNREACHABLE, 1, bytes(packet))
        peer.reports(UNREACHABLE, 4, bytes(packet), mtu=600)
        assert app.conn.soft_error is None
        assert peer.stack.counters.dropped[Drop.ICMP_SEQUENCE] == 2
        await peer.sees_nothing()


@pytest.mark.req("5927-1")
async def test_what_was_acknowledged_can_not_have_failed() -> None:
    async with Peer() as peer:
        app, (text,) = await with_text_out(peer)
        peer.sends(ACK)
        peer.reports(UNREACHABLE, 1, text)
        assert app.conn.soft_error is None
        assert peer.stack.counters.dropped[Drop.ICMP_SEQUENCE] == 1


@pytest.mark.req("5927-1", "SHLD-26")
@pytest.mark.parametrize("away", [-1, 1, 1000])
async def test_a_forged_error_does_not_end_an_attempt(away: int) -> None:
    async with Peer() as peer:
        app = peer.opens()
        syn = await peer.sees(SYN)
        packet = bytearray(syn.packet)
        packet[24:28] = (syn.segment.seq + away & 0xFFFF_FFFF).to_bytes(4, "big")
        peer.reports(UNREACHABLE, 3, bytes(packet))
        assert app.state == "SYN-SENT"


@pytest.mark.req("MUST-55", "5927-3")
async def test_source_quench_is_ignored() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        app.write(bytes(100_000))
        first = await peer.sees_all()
        peer.reports(QUENCH, 0, first[0])
        peer.sends(ACK)
        assert len(await peer.sees_all()) == 2 * len(first)  # slow start goes on
        assert app.conn.soft_error is None
        assert peer.stack.counters.dropped[Drop.ICMP_SOURCE_QUENCH] == 1


@pytest.mark.req("MUST-54")
async def test_errors_about_nothing_of_ours_are_counted() -> None:
    async with Peer() as peer:
        _, (text,) = await with_text_out(peer)
        packet = bytearray(text.packet)
        packet[22:24] = b"\x12\x34"  # another port
        peer.reports(UNREACHABLE, 1, bytes(packet))
        packet = bytearray(text.packet)
        packet[9] = 17  # UDP
        peer.reports(UNREACHABLE, 1, bytes(packet))
        assert peer.stack.counters.dropped[Drop.ICMP_NO_CONNECTION] == 2


# -- packet too big ---------------------------------------------------------------------------


@pytest.mark.req("1191-1", "MUST-16")
@pytest.mark.parametrize(("ipv6", "mtu"), [(False, 1400), (False, 576), (True, 1280), (True, 1400)])
async def test_text_is_cut_anew_and_repeated_at_once(ipv6: bool, mtu: int) -> None:
    """RFC 1191 6.4, RFC 8201 5.4: no wait for the timer, and no sign of congestion."""
    async with Peer(ipv6=ipv6) as peer:
        app, first = await with_text_out(peer, 10_000)
        sent = sum(len(seen.payload) for seen in first)
        assert sent == 10_000
        type_, code = (TOO_BIG_V6, 0) if ipv6 else (UNREACHABLE, 4)
        peer.reports(type_, code, first[0], mtu=mtu, router=ROUTERS[ipv6])
        again = await peer.sees_all()
        assert {seen.why for seen in again} == {Why.PATH_MTU_RETRANSMIT}
        assert again[0].seq == 1
        assert max(len(seen.packet) for seen in again) == mtu
        too_large = [seen for seen in first if len(seen.packet) > mtu]
        assert sum(len(seen.payload) for seen in again) == sum(len(s.payload) for s in too_large)
        peer.sends(ACK, ack=10_001)
        app.write(b"y" * 60_000)
        later = await peer.sees_all()
        assert max(len(seen.packet) for seen in later) == mtu
        assert sum(len(seen.payload) for seen in later) > 10_000  # cwnd grew, as with any ACK


@pytest.mark.req("1191-2")
@pytest.mark.parametrize(
    ("mtu", "expected"),
    [(0, 1492), (20, 552), (68, 552), (551, 552), (552, 552), (1500, None), (9000, None)],
)
async def test_which_values_an_ipv4_router_may_tell(mtu: int, expected: int | None) -> None:
    """RFC 1191 5 (plateaus for routers that tell none) and 3 ("MUST never reduce below 68"); below
    552 a value serves attacks only. A larger one than we use is no news."""
    async with Peer() as peer:
        _, first = await with_text_out(peer, 3000)
        peer.reports(UNREACHABLE, 4, first[0], mtu=mtu)
        again = await peer.sees_all()
        if expected is None:
            assert not again
        else:
            assert max(len(seen.packet) for seen in again) == expected


@pytest.mark.req("1191-2")
@pytest.mark.parametrize("mtu", [0, 68, 1279])
async def test_less_than_ipv6_s_least_mtu_is_discarded(mtu: int) -> None:
    """RFC 8201 4: "reporting a next-hop MTU that is less than the IPv6 minimum link MTU, it must
    discard it"."""
    async with Peer(ipv6=True) as peer:
        _, first = await with_text_out(peer, 3000)
        peer.reports(TOO_BIG_V6, 0, first[0], mtu=mtu)
        await peer.sees_nothing()
        assert peer.stack.counters.dropped[Drop.ICMP_MTU] == 1


@pytest.mark.req("1191-2")
async def test_plateaus_lead_downwards_step_by_step() -> None:
    async with Peer() as peer:
        _, seen = await with_text_out(peer, 3000)
        for plateau in (1492, 1006, 552):
            peer.reports(UNREACHABLE, 4, seen[0], mtu=0)
            seen = await peer.sees_all()
            assert max(len(each.packet) for each in seen) == plateau
        peer.reports(UNREACHABLE, 4, seen[0], mtu=0)
        await peer.sees_nothing()
