"""A server of the stack that speaks RFC 7413, and its first customer."""

from __future__ import annotations

from aiotcp.options import Options
from aiotcp.wire.tcp import ACK, RST, SYN
from tests.support.conversation import App, Peer, Seen

SERVES = Options(tfo="server")


async def cookie_for(peer: Peer) -> bytes:
    """What the stack gives to the peer that asks, in a handshake that comes to nothing."""
    caller = peer.another(port=peer.port + 100, host=peer.host)
    caller.stack_port = peer.stack_port
    caller.sends(SYN, mss=1460, fast_open=b"")
    cookie = (await caller.sees(SYN | ACK, ack=1)).segment.fast_open
    assert cookie
    caller.sends(RST, seq=1)
    return cookie


async def fast_opened(
    peer: Peer, data: bytes = b"hello", **fields: object
) -> tuple[App, list[App], Seen]:
    """A program of the stack that got `data` with the SYN."""
    _, accepted = peer.listens(options=SERVES.replace(**fields))
    cookie = await cookie_for(peer)
    peer.sends(SYN, mss=1460, data=data, fast_open=cookie)
    synack = await peer.sees(SYN | ACK, seq=0, ack=1 + len(data), why="open_reply")
    return accepted[0], accepted, synack
