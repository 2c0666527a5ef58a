"""The way into each state of RFC 9293 3.3.2, and its variables there."""

from __future__ import annotations

from dataclasses import dataclass

from aiotcp.stack import Listener
from aiotcp.wire.tcp import ACK, FIN, SYN
from tests.support.conversation import App, Peer

STATES = {
    "CD": "CLOSED",
    "LI": "LISTEN",
    "SS": "SYN-SENT",
    "SP": "SYN-RECEIVED",  # of a passive open
    "SA": "SYN-RECEIVED",  # of an active one: the SYNs crossed
    "ES": "ESTABLISHED",
    "F1": "FIN-WAIT-1",
    "F2": "FIN-WAIT-2",
    "CW": "CLOSE-WAIT",
    "CL": "CLOSING",
    "LA": "LAST-ACK",
    "TW": "TIME-WAIT",
}


@dataclass
class Place:
    """A state that was reached. The numbers are relative, as a `Peer` counts."""

    una: int
    """SND.UNA"""
    nxt: int
    """SND.NXT"""
    rcv: int
    """RCV.NXT; where nothing is known of the peer, the number that its SYN will have."""
    fin: int
    """Where the peer's FIN is or will be."""
    app: App | None = None
    listener: Listener | None = None


async def go_to(peer: Peer, state: str) -> Place:
    """Bring the stack into one of `STATES`; nothing is left to be seen."""
    if state == "CD":
        return Place(0, 0, 0, 0)
    if state == "LI":
        return Place(0, 0, 0, 0, listener=peer.listens(80)[0])
    if state == "SP":
        listener, _ = peer.listens(80)
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        return Place(0, 1, 1, 1, listener=listener)
    if state in ("SS", "SA"):
        app = peer.opens()
        await peer.sees(SYN)
        if state == "SS":
            return Place(0, 1, 0, 0, app)
        peer.sends(SYN)
        await peer.sees(SYN | ACK, seq=0, ack=1)
        return Place(0, 1, 1, 1, app)
    app = await peer.connects()
    place = Place(1, 1, 1, 1, app)
    if state in ("CW", "LA"):
        peer.sends(FIN | ACK)
        await peer.sees(ACK, ack=2)
        place.rcv = 2
    if state in ("F1", "F2", "CL", "LA", "TW"):
        app.shutdown()
        await peer.sees(FIN | ACK, seq=1)
        place.nxt = 2
    if state in ("F2", "TW"):
        peer.sends(ACK)
        place.una = 2
    if state in ("CL", "TW"):
        peer.sends(FIN | ACK, ack=place.una)
        await peer.sees(ACK, ack=2)
        place.rcv = 2
    return place
