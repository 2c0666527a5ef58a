"""TCP Fast Open, the client: cookies of servers, and data on the SYN (RFC 7413)."""

from __future__ import annotations

import asyncio
import errno
import math

import pytest

from aiotcp.addresses import pack
from aiotcp.options import Options
from aiotcp.reasons import Drop
from aiotcp.tcp.fastopen import PENALTY_S, CookieCache
from aiotcp.tcp.pmtucache import Known
from aiotcp.tcpinfo import TcpOptions, tcp_info
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN
from tests.support.conversation import App, Peer

ASKS = Options(tfo="client")
COOKIE = b"a cookie"
SERVER = bytes((192, 0, 2, 1, 192, 0, 2, 2, 0, 80))
HOLD_S = 0.01

# -- the cache ----------------------------------------------------------------------------------


def cache(limit: int = 10) -> tuple[CookieCache, list[None]]:
    evicted: list[None] = []
    return CookieCache(limit, lambda: evicted.append(None)), evicted


@pytest.mark.req("7413-2")
@pytest.mark.parametrize(
    ("server", "told", "kept"),
    [
        (SERVER, 1000, 1000),
        (SERVER, 8960, 1460),  # 4.1.3: "the client MAY limit the cached MSS to 1460"
        (SERVER, None, 536),
        (bytes(34), 8960, 1440),
        (bytes(34), None, 1220),
    ],
)
def test_cookie_and_mss_are_kept(server: bytes, told: int | None, kept: int) -> None:
    known, _ = cache()
    unknown = known.usable(server, 0)
    assert unknown is not None
    assert unknown.cookie == b""
    known.learn(server, COOKIE, told)
    usable = known.usable(server, 0)
    assert usable is not None
    assert (usable.cookie, usable.mss) == (COOKIE, kept)


@pytest.mark.req("7413-4")
def test_failures_double_the_time_without_it() -> None:
    known, _ = cache()
    known.learn(SERVER, COOKIE, 1460)
    now = 1000.0
    for count in range(20):
        known.failed(SERVER, now)
        wait = PENALTY_S * 2 ** min(count, 10)
        assert known.usable(SERVER, now + wait - 0.1) is None
        usable = known.usable(SERVER, now + wait)
        assert usable is not None
        assert usable.cookie == COOKIE
        now += wait
    known.worked(SERVER)
    known.failed(SERVER, now)
    assert known.usable(SERVER, now + PENALTY_S) is not None


def test_the_least_recently_used_server_gives_way() -> None:
    known, evicted = cache(limit=2)
    for server in (b"a" * 10, b"b" * 10):
        known.learn(server, COOKIE, 1460)
    known.usable(b"a" * 10, 0)
    assert not evicted
    known.failed(b"c" * 10, 0)
    assert (len(known), len(evicted)) == (2, 1)
    assert known.find(b"b" * 10) is None
    assert known.find(b"a" * 10) is not None


# -- conversations ------------------------------------------------------------------------------


async def learns(peer: Peer, *, mss: int = 1460, cookie: bytes = COOKIE) -> None:
    """The stack asks for a cookie and gets one. Afterwards the peer begins anew."""
    app = peer.opens(local_port=39_999)
    assert (await peer.sees(SYN)).segment.fast_open == b""
    peer.sends(SYN | ACK, mss=mss, fast_open=cookie)
    await peer.sees(ACK)
    app.abort()
    await peer.sees(FIN | ACK)
    peer.sends(RST, seq=1)
    peer.reset()
    peer.flow.default_mss = mss


async def writes(peer: Peer, data: bytes = b"hello", taken: int | None = None) -> App:
    """The stack sends a SYN with `data`, or as much of that as is `taken`."""
    app = peer.opens()
    app.write(data)
    carried = data[:taken]
    syn = await peer.sees(SYN, seq=0, data=carried, why="open")
    assert syn.segment.fast_open == COOKIE
    return app


def client(**options: int) -> Peer:
    return Peer(port=80, options=ASKS.replace(**options))


@pytest.mark.req("7413-2")
@pytest.mark.parametrize("tfo", ["off", "server"])
async def test_it_is_off_by_default(tfo: str) -> None:
    async with Peer(options=Options(tfo=tfo)) as peer:
        app = peer.opens()
        app.write(b"hello")
        assert (await peer.sees(SYN)).segment.fast_open is None
        peer.sends(SYN | ACK, fast_open=COOKIE)
        await peer.sees(ACK, data=b"hello")


@pytest.mark.req("7413-2")
@pytest.mark.parametrize("ipv6", [False, True])
async def test_data_goes_with_the_syn(ipv6: bool) -> None:
    async with Peer(port=80, ipv6=ipv6, options=ASKS) as peer:
        await learns(peer)
        app = await writes(peer)
        assert app.state == "SYN-SENT"
        peer.sends(SYN | ACK, mss=1460)
        await peer.sees(ACK, seq=6, ack=1, why="open_ack")
        assert app.state == "ESTABLISHED"
        assert app.conn.fast_open_data
        assert tcp_info(app.conn, peer.now).options & TcpOptions.SYN_DATA
        assert len(app.conn.sending) == 0
        app.write(b"more")
        await peer.sees(ACK, seq=6, data=b"more")
        peer.sends(ACK, data=b"answer")
        await peer.sees(ACK, ack=7, within=0.1)
        assert app.received == b"answer"


@pytest.mark.req("7413-2")
async def test_the_answer_may_come_before_the_handshake_completes() -> None:
    """RFC 7413 3: the server "may send the response data before the handshake finishes"."""
    async with client() as peer:
        await learns(peer)
        app = await writes(peer)
        with peer.batch():
            peer.sends(SYN | ACK, mss=1460, ack=6)
            peer.sends(ACK | PSH, ack=6, data=b"answer")
        await peer.sees(ACK, seq=6, ack=7)
        assert app.received == b"answer"


@pytest.mark.req("7413-2")
async def test_data_that_the_syn_ack_leaves_out_is_sent_again_at_once() -> None:
    """4.2.2: "The client SHOULD retransmit any unacknowledged data in the first ACK packet". And
    4.1.3.1: not acknowledging it is a negative response."""
    async with client() as peer:
        await learns(peer)
        app = await writes(peer)
        peer.sends(SYN | ACK, mss=1460, ack=1)
        await peer.sees(ACK, seq=1, ack=1, data=b"hello")
        assert not app.conn.fast_open_data
        peer.sends(ACK)
        await peer.sees_nothing(for_s=10)
        assert (await second(peer)) is None
        await peer.wait(PENALTY_S)
        assert (await second(peer)) == COOKIE


@pytest.mark.req("7413-2")
async def test_a_new_cookie_takes_the_place_of_the_old_one() -> None:
    async with client() as peer:
        await learns(peer)
        await writes(peer)
        peer.sends(SYN | ACK, mss=1460, ack=1, fast_open=b"another!")
        await peer.sees(ACK, seq=1, ack=1, data=b"hello")
        peer.sends(ACK)
        assert (await second(peer)) == b"another!"


async def second(peer: Peer) -> bytes | None:
    """With which cookie the stack would open the next connection."""
    local_port = 41_000 + int(peer.now)
    other = peer.another(port=peer.port)
    peer.wire.ends.remove(peer)
    app = other.opens(local_port=local_port)
    syn = await other.sees(SYN, within=HOLD_S + 0.001)
    app.abort()
    peer.wire.ends.remove(other)
    peer.wire.ends.append(peer)
    peer.stack_port = 40_000
    return syn.segment.fast_open


@pytest.mark.req("7413-2")
async def test_a_part_of_the_data_may_be_acknowledged() -> None:
    async with client() as peer:
        await learns(peer)
        app = await writes(peer)
        peer.sends(SYN | ACK, mss=1460, ack=3)
        await peer.sees(ACK, seq=3, ack=1, data=b"llo")
        peer.sends(ACK)
        assert len(app.conn.sending) == 0


@pytest.mark.req("7413-2")
@pytest.mark.parametrize("mss", [536, 1000, 1460])
async def test_the_syn_carries_no_more_than_the_cached_mss(mss: int) -> None:
    """Options count: it is the whole of a segment that has to fit."""
    async with client() as peer:
        await learns(peer, mss=mss)
        app = peer.opens()
        data = bytes(range(256)) * 10
        app.write(data)
        syn = await peer.sees(SYN, length=None)
        assert len(syn.payload) + len(syn.options) == mss
        assert syn.payload == data[: len(syn.payload)]
        peer.sends(SYN | ACK, mss=mss, ack=peer.ack)
        rest = b"".join([each.payload for each in await peer.sees_all()])
        assert syn.payload + rest == data


@pytest.mark.req("7413-2")
async def test_the_syn_fits_what_the_path_is_known_to_carry() -> None:
    async with client() as peer:
        await learns(peer)
        narrow = Known(mtu=1000, until=math.inf, searching=False)
        peer.stack.paths.learn(pack(peer.host), narrow)
        app = peer.opens()
        app.write(bytes(3000))
        assert len((await peer.sees(SYN, length=None)).packet) == 1000
        app.abort()


@pytest.mark.req("7413-2")
async def test_an_acknowledgment_of_more_than_was_sent_is_none() -> None:
    async with client() as peer:
        await learns(peer)
        app = await writes(peer)
        peer.sends(SYN | ACK, seq=0, mss=1460, ack=7)
        await peer.sees(RST, seq=7)
        assert app.state == "SYN-SENT"
        assert peer.stack.counters.dropped[Drop.SYN_SENT_BAD_ACK] == 1
        peer.sends(SYN | ACK, mss=1460, ack=6)
        await peer.sees(ACK, seq=6, ack=1)


# -- when nothing comes back ----------------------------------------------------------------------


@pytest.mark.req("7413-4")
async def test_a_syn_that_times_out_is_repeated_without_data_and_option() -> None:
    """4.2.2: "when the SYN timer fires, the client SHOULD retransmit a SYN packet without data and
    Fast Open options". Then 4.1.3.1: the path is left alone for a time."""
    async with client() as peer:
        await learns(peer)
        app = await writes(peer)
        for wait in (1, 2):
            again = await peer.sees(SYN, seq=0, after=wait, why="open_retransmit")
            assert again.segment.fast_open is None
        peer.sends(SYN | ACK, mss=1460, ack=1)
        await peer.sees(ACK, seq=1, ack=1, data=b"hello")
        peer.sends(ACK)
        assert app.state == "ESTABLISHED"
        assert (await second(peer)) is None
        await peer.wait(PENALTY_S)
        assert (await second(peer)) == COOKIE


@pytest.mark.req("7413-4")
async def test_a_request_that_times_out_is_left_out_as_well() -> None:
    async with client() as peer:
        peer.opens()
        assert (await peer.sees(SYN)).segment.fast_open == b""
        assert (await peer.sees(SYN, after=1)).segment.fast_open is None
        peer.sends(SYN | ACK, mss=1460)
        await peer.sees(ACK)
        assert (await second(peer)) is None
        await peer.wait(PENALTY_S)
        assert (await second(peer)) == b""


@pytest.mark.req("7413-4")
@pytest.mark.parametrize("late", ["data", "cookie"])
async def test_a_late_answer_shows_that_the_path_is_good(late: str) -> None:
    """4.2.2's heuristics: what acknowledges the data, or has a cookie, answers the first SYN."""
    async with client() as peer:
        await learns(peer)
        await writes(peer)
        await peer.sees(SYN, seq=0, after=1)
        if late == "data":
            peer.sends(SYN | ACK, mss=1460, ack=6)
            await peer.sees(ACK, seq=6, ack=1)
        else:
            peer.sends(SYN | ACK, mss=1460, ack=1, fast_open=COOKIE)
            await peer.sees(ACK, seq=1, ack=1, data=b"hello")
            peer.sends(ACK)
        assert (await second(peer)) == COOKIE


@pytest.mark.req("7413-4")
async def test_a_report_about_the_syn_is_a_negative_response() -> None:
    async with client() as peer:
        await learns(peer)
        app = peer.opens()
        app.write(b"hello")
        syn = await peer.sees(SYN, data=b"hello")
        peer.reports(3, 1, syn)
        app.abort()
        assert (await second(peer)) is None


@pytest.mark.req("7413-4")
async def test_servers_that_do_not_answer_a_request_are_not_asked_each_time() -> None:
    async with client() as peer:
        peer.opens()
        await peer.sees(SYN)
        peer.sends(SYN | ACK, mss=1460)
        await peer.sees(ACK)
        assert (await second(peer)) is None
        await peer.wait(PENALTY_S)
        assert (await second(peer)) == b""


async def test_each_port_has_its_own_entry() -> None:
    """4.1.3.1: "the client's cache should include remote port numbers, too"."""
    async with client() as peer:
        await learns(peer)
        other = peer.another(port=81)
        other.opens(local_port=40_001)
        assert (await other.sees(SYN)).segment.fast_open == b""
        other.sends(RST | ACK, ack=1)


async def test_the_number_of_servers_is_limited() -> None:
    async with client(max_tfo_servers=1) as peer:
        await learns(peer)
        other = peer.another(port=81)
        other.opens(local_port=40_001)
        await other.sees(SYN)
        other.sends(SYN | ACK, mss=1460, fast_open=COOKIE)
        await other.sees(ACK)
        assert peer.stack.counters.fast_open_cookies_evicted == 1
        assert (await second(peer)) == b""


# -- programs -------------------------------------------------------------------------------------


@pytest.mark.req("7413-2")
async def test_the_syn_does_not_wait_for_ever_for_data() -> None:
    """Who waits for the server to speak first would wait in vain."""
    async with client() as peer:
        await learns(peer)
        app = peer.opens()
        syn = await peer.sees(SYN, seq=0, after=HOLD_S)
        assert syn.segment.fast_open == COOKIE
        app.write(b"hello")
        peer.sends(SYN | ACK, mss=1460)
        await peer.sees(ACK, seq=1, ack=1, data=b"hello")


@pytest.mark.req("7413-2")
async def test_a_request_may_be_written_and_ended_before_there_is_a_connection() -> None:
    async with client(time_wait_s=1) as peer:
        await learns(peer)
        app = peer.opens()
        app.conn.send(b"hello")
        app.conn.close()
        peer.stack.push(app.conn)
        await peer.sees(SYN, seq=0, data=b"hello")
        peer.sends(SYN | ACK, mss=1460)
        await peer.sees(FIN | ACK, seq=6, ack=1)
        peer.sends(FIN | ACK)
        await peer.sees(ACK, seq=7, ack=2)
        assert peer.states == [
            *("CLOSED", "SYN-SENT", "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT")
        ]


async def test_an_end_without_data_opens_all_the_same() -> None:
    async with client() as peer:
        await learns(peer)
        app = peer.opens()
        app.shutdown()
        await peer.sees(SYN, seq=0)
        peer.sends(SYN | ACK, mss=1460)
        await peer.sees(FIN | ACK, seq=1, ack=1)
        peer.sends(ACK, data=b"answer")
        await peer.sees(ACK, ack=7, within=0.1)
        assert app.received == b"answer"


async def test_aborting_before_the_syn_leaves_no_trace() -> None:
    async with client() as peer:
        await learns(peer)
        app = peer.opens()
        app.abort()
        await peer.sees_nothing(for_s=100)
        assert app.state == "CLOSED"


async def test_a_simultaneous_open_that_is_reset_was_refused() -> None:
    """RFC 9293 MUST-11's other half; it makes no difference what the SYN carried."""
    async with client() as peer:
        await learns(peer)
        app = await writes(peer)
        peer.sends(SYN, mss=1460)
        await peer.sees(SYN | ACK, seq=0, ack=1)
        peer.sends(RST, seq=1)
        assert isinstance(app.error, ConnectionRefusedError)


async def test_a_simultaneous_open_sends_the_data_afterwards() -> None:
    async with client() as peer:
        await learns(peer)
        app = await writes(peer)
        peer.sends(SYN, mss=1460)
        await peer.sees(SYN | ACK, seq=0, ack=1)
        peer.sends(ACK, ack=1)
        await peer.sees(ACK, seq=1, ack=1, data=b"hello")
        peer.sends(ACK)
        assert app.state == "ESTABLISHED"


@pytest.mark.req("7413-2")
async def test_create_connection_returns_at_once() -> None:
    """As connect(2) does with TCP_FASTOPEN_CONNECT: what is wrong is told later."""
    async with client() as peer:
        await learns(peer)

        class Client(asyncio.Protocol):
            lost: Exception | None = None

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                assert isinstance(transport, asyncio.Transport)
                transport.write(b"hello")

            def connection_lost(self, exc: Exception | None) -> None:
                self.lost = exc

        began = peer.now
        transport, protocol = await peer.stack.create_connection(Client, peer.host, peer.port)
        assert peer.now == began
        assert not transport.is_closing()
        await peer.sees(SYN, data=b"hello")
        peer.stack_port = transport.get_extra_info("sockname")[1]
        peer.sends(RST | ACK, seq=0, ack=6)
        await peer.wait(0)
        assert isinstance(protocol.lost, ConnectionRefusedError)
        assert protocol.lost.errno == errno.ECONNREFUSED


@pytest.mark.req("7413-2")
async def test_streams_write_with_the_syn() -> None:
    async with client() as peer:
        await learns(peer)
        reader, writer = await peer.stack.open_connection(peer.host, peer.port)
        writer.write(b"hello")
        await peer.sees(SYN, seq=0, data=b"hello")
        peer.stack_port = writer.get_extra_info("sockname")[1]
        with peer.batch():
            peer.sends(SYN | ACK, mss=1460)
            peer.sends(FIN | ACK, data=b"answer")
        assert await reader.read() == b"answer"
        await peer.sees(ACK, seq=6, ack=8)
        writer.close()
        await peer.sees(FIN | ACK, seq=6)
        peer.sends(ACK)
