"""The user timeout option (RFC 5482): what is advertised, and what is done with the peer's."""

from __future__ import annotations

import struct

import pytest

from aiotcp.options import Options
from aiotcp.tcp.usertimeout import UserTimeout
from aiotcp.wire import tcp
from aiotcp.wire.tcp import ACK, PSH, RST, SYN
from tests.support.conversation import App, Peer

UTO = Options(uto=True)


def option(field: int, length: int = 4) -> bytes:
    return struct.pack("!BBH", 28, length, field)


def advertises(peer: Peer, seconds: int) -> None:
    peer.sends(ACK, options=tcp.pack_options(user_timeout=seconds))


def limit(app: App) -> float | None:
    return app.conn.options.user_timeout_s


# -- the module --------------------------------------------------------------------------------


@pytest.mark.req("5482-2")
@pytest.mark.parametrize(
    ("remote", "rto", "adopted"),
    [
        (10, 1, 300),  # ADV_UTO
        (400, 1, 400),  # REMOTE_UTO
        (100_000, 1, 3600),  # U_LIMIT
        (10, 200, 400),  # "MUST be larger than the current retransmission timeout"
    ],
)
def test_the_formula(remote: int, rto: float, adopted: float) -> None:
    assert UserTimeout(None).on_option(remote, rto) == adopted


@pytest.mark.req("5482-2")
def test_the_lower_limit() -> None:
    timeout = UserTimeout(20)
    assert timeout.advertised_s == 20
    assert not timeout.changeable
    timeout.changeable = True
    assert timeout.on_option(10, 1) == 100


# -- the wire ----------------------------------------------------------------------------------


@pytest.mark.req("5482-1")
@pytest.mark.parametrize(
    ("seconds", "field", "read"),
    [
        (1, 1, 1),
        (0.01, 1, 1),
        (299.2, 300, 300),
        (32767, 32767, 32767),
        (32768, 0x8000 | 547, 547 * 60),
        (86400 * 30, 0x8000 | 32767, 32767 * 60),
    ],
)
def test_seconds_and_minutes(seconds: float, field: int, read: int) -> None:
    packed = tcp.pack_options(user_timeout=seconds)
    assert packed == option(field)
    header = struct.pack("!HHIIBBHHH", 1, 2, 3, 4, 6 << 4, ACK, 5, 0, 0) + packed
    segment = tcp.parse(memoryview(header), 0, len(header))
    assert segment.user_timeout == read
    assert f"uto={read}" in repr(segment)


@pytest.mark.req("5482-1")
def test_it_has_room_beside_sack_blocks() -> None:
    blocks = [(n, n + 1) for n in range(0, 40, 10)]
    packed = tcp.pack_options(timestamps=(1, 2), sack=blocks, user_timeout=300)
    assert len(packed) == 12 + 4 + 4 + 16
    assert option(300) in packed


# -- advertising -------------------------------------------------------------------------------


async def test_it_is_off_by_default() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=Options(user_timeout_s=50))
        advertises(peer, 600)
        app.write(b"x")
        assert not (await peer.sees(ACK | PSH, data=b"x")).options
        assert limit(app) == 50
        assert app.conn.uto is None


@pytest.mark.req("5482-1")
@pytest.mark.parametrize("ts", [False, True])
async def test_it_is_in_the_syn_and_in_the_first_segment_after_it(ts: bool) -> None:
    async with Peer() as peer:
        app = peer.opens(options=UTO.replace(user_timeout_s=77))
        syn = await peer.sees(SYN)
        assert syn.segment.user_timeout == 77
        peer.sends(SYN | ACK, mss=1460, ts=(peer.tsval, syn.segment.tsval or 0) if ts else None)
        first = await peer.sees(ACK, seq=1, ack=1)
        assert first.segment.user_timeout == 77
        app.write(b"x")
        assert (await peer.sees(ACK | PSH, data=b"x")).segment.user_timeout is None


@pytest.mark.req("5482-1")
@pytest.mark.parametrize("ts", [False, True])
@pytest.mark.parametrize("offload", [False, True])
async def test_it_is_in_the_syn_ack_and_in_the_first_segment_after_it(
    ts: bool, offload: bool
) -> None:
    async with Peer(offload=offload) as peer:
        _, accepted = peer.listens(options=UTO)
        peer.sends(SYN, mss=1000, ts=(peer.tsval, 0) if ts else None)
        assert (await peer.sees(SYN | ACK)).segment.user_timeout == 300
        peer.sends(ACK)
        accepted[0].write(bytes(2500))
        seen = await peer.sees_all()
        assert {each.segment.user_timeout for each in seen} == {300}
        assert max(len(each.payload) + len(each.options) for each in seen) == 1000
        peer.sends(ACK)
        accepted[0].write(bytes(2500))
        assert {each.segment.user_timeout for each in await peer.sees_all()} == {None}


@pytest.mark.req("5482-1")
async def test_a_new_user_timeout_is_told() -> None:
    async with Peer() as peer:
        app = await peer.accepts(options=UTO)
        app.conn.configure(user_timeout_s=40_000)
        app.write(b"x")
        seen = await peer.sees(ACK | PSH, data=b"x")
        assert seen.segment.user_timeout == 667 * 60
        peer.sends(ACK)
        app.conn.configure(nodelay=True)
        app.write(b"y")
        assert (await peer.sees(ACK | PSH, data=b"y")).segment.user_timeout is None


@pytest.mark.req("5482-1")
async def test_it_goes_with_acknowledgments_that_report_holes() -> None:
    async with Peer() as peer:
        app = await peer.accepts(options=UTO, sack=True, ts=True)
        app.conn.configure(user_timeout_s=500)
        peer.sends(ACK, seq=101, data=b"x")
        seen = await peer.sees(ACK, ack=1, sack=[(101, 102)])
        assert seen.segment.user_timeout == 500


# -- adapting ----------------------------------------------------------------------------------


@pytest.mark.req("5482-2")
async def test_the_longer_one_is_adopted() -> None:
    async with Peer() as peer:
        app = await peer.accepts(options=UTO)
        assert limit(app) is None
        advertises(peer, 20)
        assert limit(app) == 300
        advertises(peer, 1000)
        assert limit(app) == 1000
        assert app.conn.uto is not None
        assert app.conn.uto.remote_s == 1000
        began = peer.now
        app.write(b"x")
        while (await peer.sees_all()) or not app.ended:  # more retransmissions than R2 allows
            await peer.wait(1)
        assert app.ended_at == pytest.approx(began + 1000)
        assert isinstance(app.error, TimeoutError)


@pytest.mark.req("5482-2")
@pytest.mark.parametrize("field", [600, 0x8000 | 10])
async def test_it_may_come_in_the_syn(field: int) -> None:
    async with Peer() as peer:
        _, accepted = peer.listens(options=UTO)
        peer.sends(SYN, options=option(field))
        await peer.sees(SYN | ACK)
        peer.sends(ACK)
        assert limit(accepted[0]) == 600


@pytest.mark.req("5482-2")
async def test_it_may_come_in_the_syn_ack() -> None:
    async with Peer() as peer:
        app = peer.opens(options=UTO)
        await peer.sees(SYN)
        peer.sends(SYN | ACK, options=option(600))
        await peer.sees(ACK)
        assert limit(app) == 600


@pytest.mark.req("5482-2")
async def test_what_the_user_has_set_stays() -> None:
    """ "If the CHANGEABLE flag is false, USER_TIMEOUT MUST NOT be changed [...]. In this case TCP
    SHOULD, however, notify the application about the user timeout value received" """
    async with Peer() as peer:
        app = await peer.accepts(options=UTO)
        app.conn.configure(user_timeout_s=5)
        advertises(peer, 600)
        assert limit(app) == 5
        assert app.conn.uto is not None
        assert app.conn.uto.remote_s == 600
        app.write(b"x")
        await peer.wait(4.9)
        await peer.sees_all()
        await peer.sees(RST | ACK, after=0.1)


@pytest.mark.req("5482-1")
@pytest.mark.parametrize(
    "options", [option(0), option(0x8000), option(600, length=3), option(600, length=8)]
)
async def test_reserved_values_and_wrong_lengths_are_ignored(options: bytes) -> None:
    async with Peer() as peer:
        app = await peer.accepts(options=UTO)
        peer.sends(ACK, options=options)
        assert limit(app) is None


@pytest.mark.req("5482-2")
async def test_only_of_segments_that_are_acceptable() -> None:
    async with Peer() as peer:
        app = await peer.accepts(options=UTO)
        peer.sends(ACK, seq=200_000, options=option(600))
        await peer.sees(ACK)
        peer.sends(ACK, ack=5000, options=option(600))
        await peer.sees_all()
        assert limit(app) is None


# -- R2 ----------------------------------------------------------------------------------------


@pytest.mark.req("MUST-21", "ST-25")
async def test_a_long_user_timeout_takes_the_place_of_r2() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=Options(user_timeout_s=400, retries2=3))
        app.write(b"x")
        await peer.wait(399.9)
        assert len(await peer.sees_all()) > 8
        assert not app.ended
        await peer.sees(RST | ACK, why="rst_timeout", after=0.1)
