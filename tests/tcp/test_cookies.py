"""SYN cookies: numbers in and out, then handshakes without a record (RFC 4987 3.6, appendix A)."""

from __future__ import annotations

import random

import pytest

from aiotcp.options import Options
from aiotcp.reasons import Drop, Why
from aiotcp.tcp.cookies import MSS_TABLE, PERIOD_S, Extras, check, make, read_stamp, stamp
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN
from tests.support.conversation import Peer

SECRET = b"sixteen bytes of"
FLOW = bytes(range(12))

# -- the algorithm ----------------------------------------------------------------------------


@pytest.mark.req("4987-2")
@pytest.mark.parametrize("mss", [48, 100, 536, 1219, 1220, 1400, 1452, 1460, 1461, 9000, 65535])
def test_a_cookie_brings_back_the_largest_known_mss_below(mss: int) -> None:
    numbers = random.Random(mss)
    for _ in range(50):
        now = numbers.random() * 1e6
        irs = numbers.getrandbits(32)
        cookie = make(SECRET, FLOW, irs, mss, now)
        assert 0 <= cookie < 2**32
        assert check(SECRET, FLOW, irs, cookie, now) == max(m for m in MSS_TABLE if m <= mss)


@pytest.mark.req("4987-2")
@pytest.mark.parametrize("period", [0, 5, 255, 256, 2**24])
def test_a_cookie_is_good_in_its_period_and_in_the_next(period: int) -> None:
    begin = period * PERIOD_S
    cookie = make(SECRET, FLOW, 7, 1460, begin)
    for good in (0, PERIOD_S - 0.1, PERIOD_S, 2 * PERIOD_S - 0.1):
        assert check(SECRET, FLOW, 7, cookie, begin + good) == 1460
    for bad in (-0.1, 2 * PERIOD_S, 3 * PERIOD_S, 256 * PERIOD_S, 257 * PERIOD_S):
        assert check(SECRET, FLOW, 7, cookie, begin + bad) is None


@pytest.mark.req("4987-2")
def test_a_cookie_is_bound_to_its_stack_its_flow_and_the_number_of_the_syn() -> None:
    cookie = make(SECRET, FLOW, 7, 1460, 1000)
    assert check(SECRET, FLOW, 7, cookie, 1000) == 1460
    assert check(b"another secret!!", FLOW, 7, cookie, 1000) is None
    assert check(SECRET, bytes(12), 7, cookie, 1000) is None
    assert check(SECRET, FLOW, 8, cookie, 1000) is None
    assert check(SECRET, FLOW, 8, cookie + 1, 1000) is None


@pytest.mark.req("4987-2")
def test_few_numbers_are_cookies() -> None:
    """Of 2**32 numbers 16 are: near one that is, only the other entries of the table."""
    cookie = make(SECRET, FLOW, 7, 48, 1000)
    near = [c for c in range(cookie - 3000, cookie + 3000) if check(SECRET, FLOW, 7, c, 1000)]
    assert len(near) == len(MSS_TABLE)
    numbers = random.Random(1)
    assert not any(check(SECRET, FLOW, 7, numbers.getrandbits(32), 1000) for _ in range(20_000))


def test_cookies_of_a_flow_grow_with_time() -> None:
    """A period is worth 2**24, so that old duplicates of an earlier connection lie below."""
    first = make(SECRET, FLOW, 7, 1460, 0)
    for period in range(2, 100):
        ahead = make(SECRET, FLOW, 7, 1460, period * PERIOD_S) - first & 0xFFFF_FFFF
        assert 2**24 * (period - 1) < ahead < 2**24 * (period + 1)


@pytest.mark.req("4987-2")
@pytest.mark.parametrize("clock", [0x1000, 0x103F, 0x1020, 2**32 - 1, 2**40 + 17])
def test_the_timestamp_keeps_the_options_and_never_runs_ahead(clock: int) -> None:
    for wscale in (None, *range(15)):
        for sack in (False, True):
            for ecn in (False, True):
                extras = Extras(wscale, sack, ecn)
                stamped = stamp(clock, extras)
                assert clock - 64 < stamped <= clock
                assert read_stamp(stamped & 0xFFFF_FFFF) == extras


# -- handshakes -------------------------------------------------------------------------------


async def flooded(peer: Peer) -> list[Peer]:
    """A listener whose backlog of two is full; what fills it."""
    strangers = [peer.another(port=60000 + n, iss=n) for n in range(2)]
    for stranger in strangers:
        stranger.sends(SYN)
        await stranger.sees(SYN | ACK, why=Why.OPEN_REPLY)
    return strangers


@pytest.mark.req("4987-2", "4987-1")
@pytest.mark.parametrize("ipv6", [False, True])
async def test_a_cookie_makes_the_connection_that_a_record_would(ipv6: bool) -> None:
    async with Peer(ipv6=ipv6, options=Options(synack_retries=1, rto_initial_s=60)) as peer:
        _, accepted = peer.listens(backlog=2)
        for n in range(2):
            stranger = peer.another(port=60000 + n, ipv6=ipv6)
            stranger.sends(SYN)
            await stranger.sees(SYN | ACK, why=Why.OPEN_REPLY)
        peer.sends(SYN, mss=1000, wscale=7, sack_permitted=True, ts=(peer.tsval, 0))
        answer = await peer.sees(SYN | ACK, seq=0, ack=1, why=Why.SYN_COOKIE)
        assert answer.segment.wscale is not None
        assert answer.segment.sack_permitted
        assert answer.segment.tsval is not None
        assert peer.info is None  # nothing is kept
        peer.window = 100_000
        await peer.wait(1)
        peer.sends(ACK)
        assert accepted[0].state == "ESTABLISHED"
        assert peer.states == ["LISTEN", "SYN-RECEIVED", "ESTABLISHED"]
        assert peer.stack.counters.syn_cookies_accepted == 1
        info = peer.info
        assert info is not None
        assert info.mss == 536 - 12
        assert info.send_window >> 7 == 100_000 >> 7  # the scale was kept
        peer.sends(ACK, seq=11, data=b"behind a hole")
        await peer.sees(ACK, ack=1, sack=[(11, 24)])  # and SACK
        peer.sends(ACK, data=b"0123456789")
        await peer.sees(ACK, ack=24)
        accepted[0].write(b"x" * 500)
        await peer.sees(ACK | PSH, seq=1, data=b"x" * 500)
        peer.sends(ACK, seq=24)


@pytest.mark.req("4987-2")
async def test_without_timestamps_the_mss_is_all_that_is_kept() -> None:
    async with Peer() as peer:
        _, accepted = peer.listens(options=Options(syn_cookies="always"))
        peer.sends(SYN, mss=1460, wscale=7, sack_permitted=True)
        answer = await peer.sees(SYN | ACK, why=Why.SYN_COOKIE)
        # What can't be kept must not be agreed on.
        assert answer.segment.wscale is None
        assert not answer.segment.sack_permitted
        assert answer.segment.tsval is None
        peer.sends(ACK, window=5000)
        info = peer.info
        assert info is not None
        assert (info.mss, info.send_window) == (1460, 5000)
        assert accepted[0].state == "ESTABLISHED"


@pytest.mark.req("4987-2")
async def test_what_the_syn_did_not_offer_is_not_agreed_on() -> None:
    async with Peer() as peer:
        _, accepted = peer.listens(options=Options(syn_cookies="always"))
        peer.sends(SYN, ts=(peer.tsval, 0))
        answer = await peer.sees(SYN | ACK, why=Why.SYN_COOKIE)
        assert answer.segment.wscale is None
        assert not answer.segment.sack_permitted
        peer.sends(ACK, window=5000)
        peer.sends(ACK, seq=11, data=b"behind a hole")
        await peer.sees(ACK, ack=1, sack=[])
        assert peer.info is not None
        assert peer.info.send_window == 65535
        assert accepted[0].state == "ESTABLISHED"


@pytest.mark.req("4987-2")
async def test_the_options_of_the_listener_count() -> None:
    plain = Options(syn_cookies="always", timestamps=False, window_scaling=False, sack=False)
    async with Peer() as peer:
        _, accepted = peer.listens(options=plain)
        peer.sends(SYN, mss=1460, wscale=7, sack_permitted=True, ts=(peer.tsval, 0))
        answer = await peer.sees(SYN | ACK, why=Why.SYN_COOKIE)
        assert answer.segment.tsval is None
        peer.sends(ACK)
        assert accepted[0].state == "ESTABLISHED"


@pytest.mark.req("4987-2")
@pytest.mark.parametrize("flags", [ACK, PSH | ACK, FIN | ACK])
async def test_the_first_segment_with_data_is_as_good_as_the_bare_acknowledgment(
    flags: int,
) -> None:
    async with Peer() as peer:
        _, accepted = peer.listens(options=Options(syn_cookies="always"))
        peer.sends(SYN, mss=1460, ts=(peer.tsval, 0))
        await peer.sees(SYN | ACK)
        peer.sends(flags, data=b"hello")
        assert accepted[0].received == b"hello"
        await peer.sees(ACK, ack=6 + bool(flags & FIN), within=0.5)


@pytest.mark.req("4987-2")
async def test_the_round_trip_is_not_guessed() -> None:
    """Nobody knows when the SYN+ACK left: the RTO stays what it was, and so does the window."""
    async with Peer() as peer:
        _, accepted = peer.listens(options=Options(syn_cookies="always"))
        peer.sends(SYN, mss=1460)
        await peer.sees(SYN | ACK)
        await peer.wait(5)
        peer.sends(ACK)
        info = peer.info
        assert info is not None
        assert info.rtt_s is None
        assert info.rto_s == 1.0
        assert info.cwnd_bytes == 14600
        accepted[0].write(b"x")
        await peer.sees(ACK | PSH, data=b"x")
        await peer.sees(ACK | PSH, data=b"x", after=1)
        peer.sends(ACK)


@pytest.mark.req("4987-2", "4987-3")
async def test_an_answer_by_cookie_is_repeated_only_when_the_syn_is() -> None:
    async with Peer() as peer:
        peer.listens(options=Options(syn_cookies="always"))
        peer.sends(SYN, seq=0)
        first = await peer.sees(SYN | ACK)
        await peer.sees_nothing(for_s=30)
        peer.sends(SYN, seq=0)
        again = await peer.sees(SYN | ACK, why=Why.SYN_COOKIE)
        assert (again.segment.seq - first.segment.seq) % 2**32 in (0, *range(2**24 - 9, 2**25))


@pytest.mark.req("4987-2", "ST-3")
async def test_a_wrong_cookie_is_reset() -> None:
    async with Peer() as peer:
        _, accepted = peer.listens(options=Options(syn_cookies="always"))
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        for ack in (2 + len(MSS_TABLE), 2 - len(MSS_TABLE), 1 + 2**24, 1 + 2**30):
            peer.sends(ACK, seq=1, ack=ack)
            await peer.sees(RST, seq=ack, why=Why.RST_BAD_ACK)
        peer.sends(ACK, seq=2, ack=1)  # of another SYN
        await peer.sees(RST, seq=1)
        peer.sends(SYN | ACK, seq=1, ack=1)
        await peer.sees(RST, seq=1)
        assert not accepted
        assert peer.stack.counters.dropped[Drop.LISTEN_BAD_COOKIE] == 6
        peer.sends(RST | ACK, seq=1, ack=1)
        await peer.sees_nothing()
        assert not accepted


@pytest.mark.req("4987-2")
async def test_cookies_are_good_only_while_they_are_sent() -> None:
    """Two periods after the last one, an ACK out of nothing is what it always was."""
    async with Peer() as peer:
        listener, accepted = peer.listens(options=Options(syn_cookies="always"))
        peer.sends(ACK, seq=1, ack=1)
        await peer.sees(RST, why=Why.RST_BAD_ACK)
        assert peer.stack.counters.dropped[Drop.LISTEN_ACK] == 1
        peer.reset()
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        await peer.wait(2 * PERIOD_S)
        peer.sends(ACK)
        await peer.sees(RST, seq=1, why=Why.RST_BAD_ACK)
        assert peer.stack.counters.dropped[Drop.LISTEN_ACK] == 2
        assert not accepted
        listener.close()


@pytest.mark.req("4987-2")
async def test_an_old_cookie_is_refused_while_new_ones_are_sent() -> None:
    async with Peer() as peer:
        _, accepted = peer.listens(options=Options(syn_cookies="always"))
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        other = peer.another()
        await peer.wait(2 * PERIOD_S)
        other.sends(SYN)
        await other.sees(SYN | ACK)
        peer.sends(ACK)
        await peer.sees(RST, seq=1, why=Why.RST_BAD_ACK)
        other.sends(ACK)
        assert len(accepted) == 1


@pytest.mark.req("4987-1", "4987-2")
async def test_records_while_there_is_room_and_cookies_beyond() -> None:
    async with Peer() as peer:
        _, accepted = peer.listens(backlog=2)
        strangers = await flooded(peer)
        other = peer.another()
        other.sends(SYN)
        await other.sees(SYN | ACK, why=Why.SYN_COOKIE)
        strangers[0].sends(ACK)
        peer.sends(SYN)
        await peer.sees(SYN | ACK, why=Why.OPEN_REPLY)
        other.sends(ACK)
        peer.sends(ACK)
        assert [app.state for app in accepted] == ["ESTABLISHED"] * 3
        assert peer.stack.counters.syn_cookies_accepted == 1
        assert Drop.LISTEN_BACKLOG not in peer.stack.counters.dropped
        strangers[1].sends(RST)


@pytest.mark.req("4987-2")
async def test_a_cookie_is_good_when_the_backlog_has_room_again() -> None:
    async with Peer() as peer:
        _, accepted = peer.listens(backlog=2)
        strangers = await flooded(peer)
        peer.sends(SYN)
        await peer.sees(SYN | ACK, why=Why.SYN_COOKIE)
        for stranger in strangers:
            stranger.sends(RST)
        peer.sends(ACK)
        assert len(accepted) == 1
        # Nor has the backlog been given more room than it has.
        for n in range(3):
            stranger = peer.another(port=61000 + n)
            stranger.sends(SYN)
            await stranger.sees(SYN | ACK, why=Why.OPEN_REPLY if n < 2 else Why.SYN_COOKIE)


# -- how many connections ---------------------------------------------------------------------


async def test_beyond_max_connections_syns_are_dropped() -> None:
    async with Peer(options=Options(max_connections=1)) as peer:
        _, accepted = peer.listens()
        other = peer.another()
        for each in (peer, other):
            each.sends(SYN)
            await each.sees(SYN | ACK)
        peer.sends(ACK)
        assert len(accepted) == 1
        other.sends(ACK)  # its SYN was answered, but it has to wait
        third = peer.another(port=50002)
        third.sends(SYN, seq=0)
        await peer.sees_nothing()
        assert peer.stack.counters.dropped[Drop.LISTEN_MAX_CONNECTIONS] == 2
        assert len(accepted) == 1
        peer.sends(RST)
        other.sends(ACK)
        assert len(accepted) == 2
        other.sends(RST)
        third.sends(SYN, seq=0)
        await third.sees(SYN | ACK)
        third.sends(RST, seq=1)


async def test_max_connections_holds_for_cookies_and_not_for_connect() -> None:
    async with Peer(options=Options(max_connections=1, syn_cookies="always")) as peer:
        _, accepted = peer.listens()
        other = peer.another()
        for each in (peer, other):
            each.sends(SYN)
            await each.sees(SYN | ACK)
        peer.sends(ACK)
        other.sends(ACK)
        await peer.sees_nothing()
        assert peer.stack.counters.dropped[Drop.LISTEN_MAX_CONNECTIONS] == 1
        peer.sends(RST)
        third = peer.another(port=50002)
        third.opens()
        await third.sees(SYN)
        third.sends(SYN | ACK)
        await third.sees(ACK)
        other.sends(ACK)
        await peer.sees_nothing()
        assert len(accepted) == 1
        third.sends(RST)
        other.sends(ACK, data=b"now")
        await other.sees(ACK, ack=4, within=0.5)
        assert accepted[1].received == b"now"
