"""TCP Fast Open, the server: losses, resets, and limits (RFC 7413)."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from aiotcp.options import Options
from aiotcp.reasons import Drop
from aiotcp.stack import Connection, Endpoint
from aiotcp.tcp.fastopen import PENALTY_S
from aiotcp.wire.tcp import ACK, FIN, RST, SYN
from tests.support.conversation import App, Peer
from tests.support.fastopen import SERVES, cookie_for, fast_opened

KEY, OTHER = bytes(range(16)), bytes(range(16, 32))

# -- what may go wrong --------------------------------------------------------------------------


@pytest.mark.req("7413-3")
async def test_the_syn_ack_is_repeated_without_data_and_options() -> None:
    """4.2.2: "If the SYN-ACK timer fires, the server SHOULD retransmit a SYN-ACK segment with
    neither data nor Fast Open options". Nothing else is repeated before that is acknowledged."""
    async with Peer() as peer:
        listener, accepted = peer.listens(options=SERVES.replace(tfo_key=KEY.hex()))
        old = await cookie_for(peer)
        listener.configure(tfo_key=f"{OTHER.hex()},{KEY.hex()}")
        peer.sends(SYN, mss=1460, data=b"hello", fast_open=old)
        assert (await peer.sees(SYN | ACK, ack=6)).segment.fast_open
        accepted[0].write(b"answer")
        await peer.sees(ACK, seq=1, data=b"answer")
        for wait in (1, 2, 4):
            again = await peer.sees(
                SYN | ACK, seq=0, ack=6, after=wait, why="open_reply_retransmit"
            )
            assert again.segment.fast_open is None
        peer.ack = 1
        peer.sends(ACK)
        assert accepted[0].state == "ESTABLISHED"
        await peer.sees(ACK, seq=1, data=b"answer", why="rto_retransmit", within=3)
        peer.sends(ACK)


@pytest.mark.req("7413-6")
async def test_a_handshake_that_is_never_completed_ends_the_connection() -> None:
    async with Peer() as peer:
        app, _, _ = await fast_opened(peer, synack_retries=2)
        for wait in (1, 2):
            await peer.sees(SYN | ACK, after=wait)
        await peer.sees(RST | ACK, seq=1, ack=6, after=4, why="rst_timeout")
        assert isinstance(app.error, TimeoutError)
        assert peer.states == ["LISTEN", "SYN-RECEIVED", "CLOSED"]


@pytest.mark.req("7413-4")
async def test_a_syn_that_comes_again_without_option_is_answered_at_once() -> None:
    """The client, whose answer was lost, repeats "a SYN packet without data and Fast Open options"
    (4.2.2)."""
    async with Peer() as peer:
        app, accepted, _ = await fast_opened(peer)
        peer.sends(SYN, seq=0, mss=1460)
        await peer.sees(SYN | ACK, seq=0, ack=6, why="open_reply_retransmit")
        assert peer.stack.counters.dropped[Drop.HALF_OPEN_SYN_AGAIN] == 1
        peer.sends(ACK)
        assert app.state == "ESTABLISHED"
        assert app.received == b"hello"
        assert len(accepted) == 1


@pytest.mark.req("7413-3")
async def test_an_answer_and_the_end_may_both_leave_before_the_handshake_completes() -> None:
    async with Peer() as peer:
        app, _, _ = await fast_opened(peer, time_wait_s=1)
        app.write(b"answer")
        app.close()
        await peer.sees(ACK, seq=1, ack=6, data=b"answer")
        await peer.sees(FIN | ACK, seq=7, ack=6)
        peer.sends(FIN | ACK)
        await peer.sees(ACK, ack=7)
        assert peer.states == [
            *("LISTEN", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT")
        ]


@pytest.mark.req("7413-6")
async def test_a_reset_ends_it_and_the_program_is_told() -> None:
    """Unlike that of a half-open entry (RFC 9293 MUST-11): the program is at work."""
    async with Peer() as peer:
        app, _, _ = await fast_opened(peer)
        peer.sends(RST, seq=6)
        assert app.error is not None
        assert app.error.errno == errno.ECONNRESET
        assert peer.states == ["LISTEN", "SYN-RECEIVED", "CLOSED"]


@pytest.mark.req("7413-6")
async def test_a_reset_elsewhere_in_the_window_is_challenged() -> None:
    async with Peer() as peer:
        app, _, _ = await fast_opened(peer)
        peer.sends(RST, seq=7)
        await peer.sees(ACK, seq=1, ack=6, why="challenge_ack")
        assert not app.ended
        peer.sends(ACK)


@pytest.mark.req("7413-6", "SHLD-3")
async def test_closing_with_unread_data_resets() -> None:
    async with Peer() as peer:
        apps: list[App] = []

        def accept(conn: Connection) -> None:
            app = App(peer.stack, reading=False)
            app.conn, conn.user = conn, app
            apps.append(app)

        peer.stack.listen(Endpoint(peer.stack_host, 80), accept, options=SERVES)
        cookie = await cookie_for(peer)
        peer.sends(SYN, data=b"hello", fast_open=cookie)
        await peer.sees(SYN | ACK, ack=6)
        apps[0].close()
        await peer.sees(RST | ACK, seq=1, ack=6, why="rst_unread_data")
        await peer.sees_nothing(for_s=100)


@pytest.mark.req("7413-6")
async def test_aborting_resets() -> None:
    async with Peer() as peer:
        app, _, _ = await fast_opened(peer)
        app.write(b"answer")
        await peer.sees(ACK, data=b"answer")
        app.abort()
        await peer.sees(RST | ACK, seq=7, ack=6, why="rst_abort")


@pytest.mark.req("7413-6")
async def test_a_wrong_acknowledgment_is_answered_with_a_reset() -> None:
    async with Peer() as peer:
        app, _, _ = await fast_opened(peer)
        peer.sends(ACK, ack=2)
        await peer.sees(RST, seq=2)
        assert app.state == "SYN-RECEIVED"
        peer.sends(ACK)


@pytest.mark.req("7413-6")
async def test_the_acknowledgment_of_the_syn_is_no_duplicate() -> None:
    """Without SACK three duplicates are a loss: this one tells of none."""
    async with Peer() as peer:
        app, _, _ = await fast_opened(peer)
        app.write(bytes(5 * 1460))
        assert len(await peer.sees_all()) == 5
        for _ in range(3):
            peer.sends(ACK, ack=1)
        assert app.state == "ESTABLISHED"
        await peer.sees_nothing()
        peer.sends(ACK, ack=1)
        await peer.sees(ACK, seq=1, length=1460, why="fast_retransmit")
        peer.sends(ACK)


@pytest.mark.req("7413-3")
async def test_only_the_syn_ack_is_repeated_before_it_is_acknowledged() -> None:
    """Nor is there a tail loss probe: it would put off the SYN+ACK."""
    async with Peer() as peer:
        _, accepted = peer.listens(options=SERVES)
        cookie = await cookie_for(peer)
        offer = (peer.tsval, 0)
        peer.sends(SYN, mss=1460, sack_permitted=True, ts=offer, data=b"hello", fast_open=cookie)
        await peer.sees(SYN | ACK, ack=6)
        accepted[0].write(bytes(5000))
        assert len(await peer.sees_all()) == 4
        await peer.sees(SYN | ACK, ack=6, after=1)
        await peer.sees(SYN | ACK, ack=6, after=2)
        peer.sends(ACK)
        assert accepted[0].state == "ESTABLISHED"


async def test_a_listener_that_closes_leaves_the_connection_alone() -> None:
    async with Peer() as peer:
        listener, accepted = peer.listens(options=SERVES)
        cookie = await cookie_for(peer)
        peer.sends(SYN, data=b"hello", fast_open=cookie)
        await peer.sees(SYN | ACK, ack=6)
        listener.close()
        await peer.sees(SYN | ACK, ack=6, after=1)
        peer.sends(ACK)
        assert accepted[0].state == "ESTABLISHED"


async def test_the_data_of_a_listener_that_closes_at_once_is_refused() -> None:
    async with Peer() as peer:
        listener, accepted = peer.listens(options=SERVES)
        cookie = await cookie_for(peer)
        with peer.batch():
            peer.sends(SYN, data=b"hello", fast_open=cookie)
            listener.close()
        await peer.sees(RST | ACK, seq=0, ack=6)
        assert not accepted


# -- limits -------------------------------------------------------------------------------------


@pytest.mark.req("7413-5")
async def test_pending_connections_are_limited() -> None:
    """4.2: "If this variable goes over a preset system limit, the server MUST disable TFO for all
    new connection requests until PendingFastOpenRequests drops below"."""
    async with Peer() as peer:
        _, accepted = peer.listens(options=SERVES.replace(tfo_queue=2))
        cookie = await cookie_for(peer)
        callers = [peer.another(port=51000 + n) for n in range(4)]
        for caller in callers[:3]:
            caller.stack_port = 80
            caller.sends(SYN, data=b"hello", fast_open=cookie)
        for caller in callers[:2]:
            await caller.sees(SYN | ACK, ack=6)
        synack = await callers[2].sees(SYN | ACK, ack=1)
        assert synack.segment.fast_open is None
        assert len(accepted) == 2
        assert peer.stack.counters.fast_opens_overflowed == 1
        callers[2].sends(RST, seq=1)
        callers[0].sends(ACK)
        callers[3].stack_port = 80
        callers[3].sends(SYN, data=b"hello", fast_open=cookie)
        await callers[3].sees(SYN | ACK, ack=6)
        for caller in (callers[1], callers[3]):
            caller.sends(ACK)
        assert [app.state for app in accepted] == ["ESTABLISHED"] * 3


@pytest.mark.req("7413-5", "7413-6")
async def test_those_that_were_reset_count_for_a_minute() -> None:
    """5.1: "a TFO server needs to monitor the connections in SYN-RCVD being reset"."""
    async with Peer() as peer:
        _, accepted = peer.listens(options=SERVES.replace(tfo_queue=1))
        cookie = await cookie_for(peer)
        for after, ack in ((0.0, 6), (PENALTY_S - 1, 1), (2.0, 6)):
            await peer.wait(after)
            peer.reset()
            peer.sends(SYN, data=b"hello", fast_open=cookie)
            await peer.sees(SYN | ACK, ack=ack)
            peer.sends(RST, seq=ack)
        assert len(accepted) == 2


@pytest.mark.req("7413-5")
async def test_a_full_backlog_is_no_time_for_it() -> None:
    """8.2: "disable TFO when a host is suspected to be under a SYN flood attack, e.g., the SYN
    backlog is filled"."""
    async with Peer() as peer:
        _, accepted = peer.listens(options=SERVES, backlog=1)
        cookie = await cookie_for(peer)
        flood = peer.another(port=51000)
        flood.stack_port = 80
        flood.sends(SYN)
        await flood.sees(SYN | ACK)
        peer.sends(SYN, data=b"hello", fast_open=cookie)
        await peer.sees(SYN | ACK, ack=1, why="syn_cookie")
        assert not accepted
        flood.sends(RST, seq=1)


@pytest.mark.req("7413-5")
async def test_the_socket_of_a_listener_sets_the_limit() -> None:
    async with Peer() as peer:
        server = await peer.stack.create_server(asyncio.Protocol, peer.stack_host, 80)
        sock = server.sockets[0]
        where = socket.IPPROTO_TCP, socket.TCP_FASTOPEN
        assert sock.getsockopt(*where) == 0
        sock.setsockopt(*where, 5)
        assert sock.getsockopt(*where) == 5
        peer.stack_port = 80
        cookie = await cookie_for(peer)
        sock.setsockopt(*where, 0)
        assert sock.getsockopt(*where) == 0
        peer.sends(SYN, data=b"hello", fast_open=cookie)
        await peer.sees(SYN | ACK, ack=1)
        peer.sends(RST, seq=1)
        with pytest.raises(OSError, match="Invalid") as raised:
            sock.setsockopt(*where, -1)
        assert raised.value.errno == errno.EINVAL
        server.close()


@pytest.mark.req("7413-5")
async def test_where_memory_is_scarce_handshakes_are_as_usual() -> None:
    async with Peer(options=Options(memory_limit=2**16)) as peer:
        _, accepted = peer.listens(options=SERVES)
        cookie = await cookie_for(peer)
        hoarder = peer.another(port=51000)
        hoarder.stack_port = 80
        hoarder.sends(SYN, mss=1460)
        await hoarder.sees(SYN | ACK)
        hoarder.sends(ACK)
        accepted[0].reading = False
        hoarder.sends(ACK, data=bytes(60_000))
        await hoarder.sees(ACK, within=0.1)
        peer.sends(SYN, data=b"hello", fast_open=cookie)
        assert (await peer.sees(SYN | ACK, ack=1)).segment.fast_open is None
        assert len(accepted) == 1
        peer.sends(RST, seq=1)
        hoarder.sends(RST, seq=60_001)
