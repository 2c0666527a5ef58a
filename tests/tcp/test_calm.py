"""What happens to a connection that was calm until then is not missed by the short ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from aiotcp.options import Options
from aiotcp.reasons import Why
from aiotcp.tcp.congestion import Ack, CongestionControl
from aiotcp.tcp.usual import is_calm
from aiotcp.wire.tcp import ACK, FIN, PSH, URG
from tests.support.conversation import App, Peer

UNREACHABLE, FRAGMENTATION_NEEDED = 3, 4


class Calm(NamedTuple):
    peer: Peer
    app: App


@pytest_asyncio.fixture
async def calm() -> AsyncIterator[Calm]:
    """A connection on which small things went to and fro."""
    async with Peer() as peer:
        app = await peer.connects(ts=True, sack=True)
        for _ in range(3):
            peer.sends(ACK | PSH, data=b"question")
            app.write(b"answer")
            await peer.sees(ACK | PSH, data=b"answer")
        peer.sends(ACK)
        assert app.conn is not None
        assert app.conn.calm
        yield Calm(peer, app)


async def test_a_report_of_a_smaller_path(calm: Calm) -> None:
    peer, app = calm
    app.write(bytes(1000))
    sent = await peer.sees(ACK | PSH, length=1000)
    peer.reports(UNREACHABLE, FRAGMENTATION_NEEDED, sent, mtu=700, router="192.0.2.254")
    again = await peer.sees(ACK, seq=sent.seq, length=648, within=0.1)
    assert again.why == Why.PATH_MTU_RETRANSMIT
    rest = await peer.sees(ACK | PSH, length=352)
    peer.sends(ACK, ack=rest.end)


async def test_urgent_data(calm: Calm) -> None:
    peer, app = calm
    assert app.conn is not None
    assert app.stack is not None
    app.conn.send(b"urgent", urgent=True)
    app.stack.push(app.conn)
    await peer.sees(ACK | PSH | URG, data=b"urgent")
    peer.sends(ACK)


async def test_a_user_timeout_to_be_told(calm: Calm) -> None:
    peer, app = calm
    assert app.conn is not None
    app.conn.configure(uto=True, user_timeout_s=100)
    app.write(b"answer")
    seen = await peer.sees(ACK | PSH, data=b"answer")
    assert bytes((28, 4, 0, 100)) in bytes(seen.packet)
    peer.sends(ACK)


async def test_the_last_bytes_take_the_fin_along(calm: Calm) -> None:
    peer, app = calm
    assert app.conn is not None
    assert app.stack is not None
    app.conn.send(b"goodbye")
    app.conn.close()
    assert app.conn.parting
    app.stack.push(app.conn)
    assert not app.conn.parting
    last = await peer.sees(ACK | PSH | FIN, data=b"goodbye")
    assert last.why == Why.NEW_DATA
    peer.sends(ACK | FIN, ack=last.end)
    await peer.sees(ACK)


async def test_what_comes_between_the_last_bytes_and_the_fin(calm: Calm) -> None:
    peer, app = calm
    assert app.conn is not None
    assert app.stack is not None
    app.conn.send(b"goodbye")
    app.conn.shutdown()
    app.conn.configure(uto=True, user_timeout_s=100)
    assert not app.conn.parting
    app.stack.push(app.conn)
    seen = await peer.sees(ACK | PSH | FIN, data=b"goodbye")
    assert bytes((28, 4, 0, 100)) in bytes(seen.packet)
    peer.sends(ACK)


async def test_a_control_that_begins_to_pace() -> None:
    """While the program has more to send than fits: what pacing holds back leaves in its time."""

    class Late(CongestionControl):
        def on_ack(self, ack: Ack) -> None:
            if ack.delivered > 10_000:
                self.pacing_rate, self.send_quantum = 500_000.0, 1448

    async with Peer() as peer:
        app = await peer.connects(ts=True, sack=True, options=Options(cc=Late))
        app.write(b"answer")
        await peer.sees(ACK | PSH, data=b"answer")
        peer.sends(ACK)
        assert app.conn.calm
        app.conn.more = True
        app.write(bytes(15 * 1448))
        for _ in range(10):
            await peer.sees(ACK, length=1448)
        peer.sends(ACK)
        for number in range(5):
            seen = await peer.sees(ACK | PSH if number == 4 else ACK, length=1448, within=0.004)
            assert seen.why == Why.NEW_DATA
        peer.sends(ACK)


@pytest.mark.parametrize("ts", [False, True])
@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize(
    "changes", [{}, {"keepalive": True}, {"uto": True}, {"pacing": True}, {"cc": "bbr"}]
)
async def test_what_a_handshake_leaves(ts: bool, sack: bool, changes: dict[str, Any]) -> None:
    """Whether it is calm is known, and not asked."""
    async with Peer() as peer:
        app = await peer.connects(ts=ts, sack=sack, options=Options(**changes))
        assert app.conn is not None
        usual = ts and sack and changes.get("cc") is None and not {"uto", "pacing"} & set(changes)
        assert app.conn.calm == usual == is_calm(app.conn)
