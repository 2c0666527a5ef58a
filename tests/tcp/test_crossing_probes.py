"""Both windows are closed, and both ends probe: the octet that each takes puts it one ahead."""

from __future__ import annotations

import pytest

from aiotcp.wire.tcp import ACK
from tests.support.conversation import Peer

pytestmark = pytest.mark.req("MUST-36", "MUST-66", "X-3")


async def test_a_window_update_from_one_behind_is_heard() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=1000)
        peer.sends(ACK, window=0)
        app.write(bytes(3000))
        await peer.sees(ACK, seq=1, length=1, within=2)  # our probe, which the peer refuses
        peer.sends(ACK, ack=1, data=b"p", window=0)  # the peer's, which we take
        await peer.sees(ACK, seq=1, ack=2, within=0.5)
        peer.sends(ACK, seq=1, ack=1, window=9000)  # it does not know that yet
        for seq in (1, 1001, 2001):
            await peer.sees(ACK, seq=seq, ack=2, length=1000)


async def test_not_heard_when_we_do_not_probe() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=1000)
        peer.sends(ACK, data=b"x", window=2000)
        await peer.sees(ACK, ack=2, within=0.1)
        peer.sends(ACK, seq=1, ack=1, window=9000)
        await peer.sees(ACK, ack=2)
        app.write(bytes(9000))
        assert (await peer.sees_all())[-1].end == 2001
