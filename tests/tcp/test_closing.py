"""CLOSE and ABORT (RFC 9293 3.6, 3.10.4, 3.10.5), and what is left behind."""

from __future__ import annotations

import asyncio
import errno

import pytest

from aiotcp.options import Options
from aiotcp.reasons import Drop, Why
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN
from tests.support.conversation import Peer
from tests.support.states import go_to

# -- FIN, RST, and what the program learns ----------------------------------------------------


class Journal(asyncio.Protocol):
    """What a protocol was told."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def data_received(self, data: bytes) -> None:
        self.calls.append(data)

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(exc)


async def connected(peer: Peer) -> tuple[Journal, asyncio.Transport]:
    server = await peer.stack.create_server(Journal, peer.stack_host, 80)
    journal = Journal()
    task = asyncio.ensure_future(
        peer.stack.create_connection(lambda: journal, peer.host, peer.port)
    )
    await peer.sees(SYN)
    peer.sends(SYN | ACK)
    await peer.sees(ACK)
    transport, _ = await task
    server.close()
    return journal, transport


@pytest.mark.req("MUST-12")
async def test_a_program_tells_fin_from_rst() -> None:
    async with Peer() as peer:
        journal, transport = await connected(peer)
        peer.sends(FIN | ACK, data=b"bye")
        await peer.sees(ACK, ack=5)
        assert journal.calls == [b"bye", "eof"]
        transport.close()
        await peer.sees(FIN | ACK, seq=1)
        assert journal.calls == [b"bye", "eof", None]
    async with Peer() as peer:
        journal, _ = await connected(peer)
        peer.sends(PSH | ACK, data=b"bye")
        peer.sends(RST)
        await peer.sees_nothing()
        (data, lost) = journal.calls
        assert data == b"bye"
        assert isinstance(lost, ConnectionResetError)
        assert lost.errno == errno.ECONNRESET


@pytest.mark.req("SHLD-2")
@pytest.mark.parametrize("state", ["ES", "F1", "F2", "CW", "CL", "LA"])
async def test_a_reset_may_carry_text(state: str) -> None:
    """3.5.3: "the RST segment may carry text that describes the cause"; it is not delivered."""
    async with Peer() as peer:
        place = await go_to(peer, state)
        peer.sends(RST, seq=place.rcv, data=b"out of order")
        await peer.sees_nothing()
        assert peer.state == "CLOSED"
        assert place.app is not None
        assert place.app.received == b""


# -- half-close -------------------------------------------------------------------------------


@pytest.mark.req("ST-17", "ST-16")
async def test_in_close_wait_everything_is_still_sent() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        peer.sends(FIN | ACK)
        await peer.sees(ACK, ack=2)
        assert app.eof
        app.write(b"more")
        await peer.sees(ACK, seq=1, data=b"more")
        peer.sends(ACK)
        app.write(b"and more")
        await peer.sees(ACK, seq=5, data=b"and more")
        app.shutdown()
        await peer.sees(FIN | ACK, seq=13)
        peer.sends(ACK)
        assert peer.states[-3:] == ["CLOSE-WAIT", "LAST-ACK", "CLOSED"]
        assert app.error is None


async def test_in_fin_wait_2_everything_is_still_received() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        app.shutdown()
        await peer.sees(FIN | ACK, seq=1)
        peer.sends(PSH | ACK, data=b"not yet")
        await peer.sees(ACK, seq=2, ack=8, within=0.5)
        await peer.wait(3600)  # a program that reads on may do so for ever
        peer.sends(FIN | ACK, data=b"now")
        await peer.sees(ACK, seq=2, ack=12)
        assert app.received == b"not yetnow"
        assert peer.state == "TIME-WAIT"


@pytest.mark.req("ST-23")
async def test_close_sends_what_is_queued_and_then_fin() -> None:
    async with Peer() as peer:
        app = await peer.connects(window=1000)
        app.write(b"x" * 2500)
        app.close()
        await peer.sees(ACK, seq=1, length=1000)
        await peer.sees_nothing()
        peer.sends(ACK, window=1000)
        await peer.sees(ACK, seq=1001, length=1000)
        peer.sends(ACK, window=1000)
        await peer.sees(FIN | ACK, seq=2001, length=500)
        peer.sends(ACK)
        assert peer.state == "FIN-WAIT-2"


@pytest.mark.req("ST-26")
async def test_a_fin_is_sent_again_like_data() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        app.shutdown()
        await peer.sees(FIN | ACK, seq=1)
        for wait in (0.2, 0.4, 0.8, 1.6):
            await peer.sees(FIN | ACK, seq=1, after=wait, why=Why.RTO_RETRANSMIT)
        peer.sends(ACK)
        await peer.sees_nothing(for_s=100)
        assert peer.state == "FIN-WAIT-2"


async def test_fin_travels_with_the_last_text_and_is_acknowledged_apart() -> None:
    async with Peer() as peer:
        app = await peer.connects(window=5)
        app.write(b"hello world")
        app.shutdown()
        await peer.sees(ACK, seq=1, data=b"hello")
        peer.sends(ACK, window=100)
        await peer.sees(FIN | ACK, seq=6, data=b" world")
        peer.sends(ACK, ack=12)
        assert peer.state == "FIN-WAIT-1"
        await peer.sees(FIN | ACK, seq=12, within=1)
        peer.sends(ACK, ack=13)
        assert peer.state == "FIN-WAIT-2"


# -- close() with unread data, data after close() (SHLD-3) ------------------------------------


@pytest.mark.req("SHLD-3", "MAY-1")
async def test_closing_with_unread_data_resets() -> None:
    """3.6.1: "If such a host issues a CLOSE call while received data is still pending [...] its TCP
    implementation SHOULD send a RST to show that data was lost"."""
    async with Peer() as peer:
        app = await peer.connects(reading=False)
        peer.sends(PSH | ACK, data=b"unread")
        app.close()
        await peer.sees(RST | ACK, seq=1, ack=7, why=Why.RST_UNREAD_DATA)
        assert peer.state == "CLOSED"


@pytest.mark.req("SHLD-3")
async def test_closing_with_everything_read_does_not() -> None:
    async with Peer() as peer:
        app = await peer.connects(reading=False)
        peer.sends(PSH | ACK, data=b"read")
        assert app.read() == b"read"
        app.close()
        await peer.sees(FIN | ACK, seq=1, ack=5)


@pytest.mark.req("SHLD-3")
@pytest.mark.parametrize("acknowledged", [True, False])
@pytest.mark.parametrize("with_fin", [True, False])
async def test_data_after_close_is_answered_with_a_reset(
    acknowledged: bool, with_fin: bool
) -> None:
    """ "or if new data is received after CLOSE is called" """
    async with Peer() as peer:
        app = await peer.connects()
        app.close()
        await peer.sees(FIN | ACK, seq=1)
        if acknowledged:
            peer.sends(ACK)
        peer.sends(PSH | ACK | (FIN if with_fin else 0), data=b"too late", ack=1 + acknowledged)
        reset = await peer.sees(RST | ACK, seq=2, why=Why.RST_DATA_AFTER_CLOSE)
        assert reset.ack in (1, 9)
        assert peer.state == "CLOSED"
        assert peer.stack.counters.dropped[Drop.DATA_AFTER_CLOSE] == 1


@pytest.mark.req("SHLD-3")
async def test_old_data_after_close_is_no_new_data() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        peer.sends(PSH | ACK, data=b"hello")
        app.close()
        await peer.sees(FIN | ACK, seq=1, ack=6)
        peer.sends(PSH | ACK, seq=1, data=b"hello")
        await peer.sees(ACK, seq=2, ack=6, why=Why.ACK_DUPLICATE)
        assert peer.state == "FIN-WAIT-1"  # "drop the unacceptable segment", its ACK included


# -- abort ------------------------------------------------------------------------------------


@pytest.mark.req("ST-24")
@pytest.mark.parametrize("state", ["ES", "CW"])
@pytest.mark.parametrize("sent", [True, False])
async def test_abort_resets_and_drops_the_queues(state: str, sent: bool) -> None:
    """3.10.5: "Send a reset segment: <SEQ=SND.NXT><CTL=RST>"."""
    async with Peer() as peer:
        place = await go_to(peer, state)
        app = place.app
        assert app is not None
        if not sent:
            peer.sends(ACK, window=0)
        app.write(b"lost")
        if sent:
            await peer.sees(ACK, seq=1, data=b"lost")
        app.abort()
        await peer.sees(RST | ACK, seq=5 if sent else 1, ack=place.rcv, why=Why.RST_ABORT)
        await peer.sees_nothing(for_s=100)
        assert peer.state == "CLOSED"


@pytest.mark.req("ST-24")
async def test_abort_where_nothing_is_lost_is_a_close() -> None:
    """DESIGN: RST only if a byte was discarded or unread, as closing a kernel's socket does."""
    async with Peer() as peer:
        app = await peer.connects()
        app.abort()
        await peer.sees(FIN | ACK, seq=1)


@pytest.mark.req("ST-24")
async def test_abort_in_syn_sent_says_nothing() -> None:
    """ "SYN-SENT STATE: [...] delete the TCB, enter CLOSED state, and return." """
    async with Peer() as peer:
        app = peer.opens()
        await peer.sees(SYN)
        app.write(b"never sent")
        app.abort()
        await peer.sees_nothing(for_s=100)
        assert peer.info is None
        peer.sends(SYN | ACK)
        await peer.sees(RST, seq=1)


@pytest.mark.req("ST-24")
async def test_aborting_a_stack_in_time_wait_says_nothing() -> None:
    async with Peer() as peer:
        place = await go_to(peer, "TW")
        assert place.app is not None
        place.app.abort()
        await peer.sees_nothing()
        assert peer.state == "TIME-WAIT"


# -- orphans and timeouts ---------------------------------------------------------------------


@pytest.mark.req("ST-29")
async def test_an_orphan_does_not_stay_in_fin_wait_2_for_ever() -> None:
    async with Peer(options=Options(fin_timeout_s=30)) as peer:
        app = await peer.connects()
        app.close()
        await peer.sees(FIN | ACK)
        peer.sends(ACK)
        await peer.sees_nothing(for_s=29)
        assert peer.state == "FIN-WAIT-2"
        await peer.sees_nothing(for_s=2)
        assert peer.info is None
        peer.sends(FIN | ACK)
        await peer.sees(RST, seq=2)


@pytest.mark.req("ST-25", "MUST-21")
async def test_the_user_timeout_ends_a_connection_that_makes_no_progress() -> None:
    async with Peer() as peer:
        app = await peer.connects(options=Options(user_timeout_s=5))
        app.write(b"hello")
        await peer.sees(ACK, data=b"hello")
        started = peer.now
        await peer.wait(4.9)
        await peer.sees_all()
        assert app.state == "ESTABLISHED"
        await peer.sees(RST | ACK, within=0.2, why=Why.RST_TIMEOUT)
        assert app.ended_at is not None
        assert app.ended_at - started == pytest.approx(5)
        assert isinstance(app.error, TimeoutError)
        assert app.error.errno == errno.ETIMEDOUT
        assert peer.state == "CLOSED"


@pytest.mark.req("ST-25", "MUST-20", "SHLD-11")
async def test_r2_ends_it_after_100_seconds_at_the_least() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        app.write(b"hello")
        await peer.sees(ACK, data=b"hello")
        started = peer.now
        await peer.wait(3600)
        *retransmissions, reset = await peer.sees_all()
        assert len(retransmissions) == 15
        assert reset.flags == RST | ACK
        assert reset.why == Why.RST_TIMEOUT
        assert reset.at - started >= 100
        assert isinstance(app.error, TimeoutError)


@pytest.mark.req("ST-22")
@pytest.mark.parametrize("crossed", [False, True])
async def test_what_is_written_while_opening_is_sent_once_established(crossed: bool) -> None:
    async with Peer() as peer:
        app = peer.opens()
        app.write(b"hello")
        await peer.sees(SYN)
        if crossed:
            peer.sends(SYN)
            await peer.sees(SYN | ACK)
            app.write(b" world")
            peer.sends(ACK)
            await peer.sees(ACK, seq=1, ack=1, data=b"hello world")
        else:
            app.write(b" world")
            peer.sends(SYN | ACK)
            await peer.sees(ACK, seq=1, ack=1, data=b"hello world")


@pytest.mark.req("ST-23")
async def test_close_while_syns_cross_waits_for_the_handshake() -> None:
    """3.10.4, SYN-RECEIVED: "queue for processing after entering ESTABLISHED state"."""
    async with Peer() as peer:
        app = peer.opens()
        await peer.sees(SYN)
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        app.write(b"bye")
        app.shutdown()
        await peer.sees_nothing()
        peer.sends(ACK)
        await peer.sees(FIN | ACK, seq=1, data=b"bye")
        assert peer.states[-3:] == ["SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1"]
