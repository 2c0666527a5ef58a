"""What happens to a connection that was calm until then is not missed by the short ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest_asyncio

from aiotcp.reasons import Why
from aiotcp.wire.tcp import ACK, PSH, URG
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
