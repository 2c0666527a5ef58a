"""Conversations about loss: segments of MSS bytes that are named by their numbers, from 0 on."""

from __future__ import annotations

from aiotcp.info import ConnectionInfo
from aiotcp.options import Options
from aiotcp.wire.tcp import ACK, SYN
from tests.support.conversation import App, Peer

MSS = 1000
RTT = 0.1
RENO = Options(cc="reno")


def at(segment: float) -> int:
    """The sequence number where a segment begins."""
    return 1 + round(segment * MSS)


async def opened(
    peer: Peer,
    *,
    rtt: float = RTT,
    ts: bool = False,
    sack: bool = True,
    options: Options = RENO,
    window: int = 65535,
    wscale: int | None = None,
) -> App:
    """A connection of the stack's; the handshake took `rtt`: SRTT = rtt, RTO = 3 * rtt."""
    app = peer.opens(options=options)
    syn = await peer.sees(SYN)
    await peer.wait(rtt)
    offer = (peer.tsval, syn.segment.tsval or 0) if ts else None
    peer.window = window
    peer.sends(SYN | ACK, mss=MSS + 12 * ts, sack_permitted=sack, ts=offer, wscale=wscale)
    await peer.sees(ACK, seq=1)
    return app


async def flight(peer: Peer, count: int, *, more: int = 100, **how: object) -> App:
    """`count` segments left RTT seconds ago, the whole window, and `more` wait behind them."""
    options = RENO.replace(initial_window_segments=count)
    app = await opened(peer, options=options, **how)  # type: ignore[arg-type]
    app.write(bytes((count + more) * MSS))
    assert await sent(peer) == [(n, "new_data") for n in range(count)]
    await peer.wait(RTT)
    return app


def acks(peer: Peer, segment: float, *blocks: tuple[float, float], **fields: object) -> None:
    """Everything before `segment` has arrived, and the blocks."""
    sack = [(at(left), at(right)) for left, right in blocks]
    peer.sends(ACK, ack=at(segment), sack=sack, **fields)  # type: ignore[arg-type]


async def sent(peer: Peer) -> list[tuple[int, str]]:
    """What was sent since: whole segments, each with its reason."""
    seen = await peer.sees_all()
    assert [len(each.payload) for each in seen] == [MSS] * len(seen)
    assert not [each.seq for each in seen if (each.seq - 1) % MSS]
    return [((each.seq - 1) // MSS, each.why) for each in seen]


def row(peer: Peer) -> ConnectionInfo:
    info = peer.info
    assert info is not None
    return info
