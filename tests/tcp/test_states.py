"""SEGMENT ARRIVES (RFC 9293 3.10.7): every kind of segment in every state, as one table.

The answers are those of the RFC's text, with the choices that RFC 5961 (challenge ACKs) and
RFC 1337 (a RST does not end TIME-WAIT) make. Where the text is silent there is a note.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN, URG
from tests.support.conversation import Fields, Peer
from tests.support.states import STATES, Place, go_to

FAR = 100_000
"""Beyond every window here."""

Shape = Callable[[Place], tuple[int, Fields]]

SHAPES: dict[str, Shape] = {
    "ACK": lambda p: (ACK, {"seq": p.rcv, "ack": p.una}),
    "ACK of all": lambda p: (ACK, {"seq": p.rcv, "ack": p.nxt}),
    "ACK of the unsent": lambda p: (ACK, {"seq": p.rcv, "ack": p.nxt + 1}),
    "ACK too old": lambda p: (ACK, {"seq": p.rcv, "ack": p.una - FAR}),
    "ACK from beyond": lambda p: (ACK, {"seq": p.rcv + FAR, "ack": p.nxt}),
    "text": lambda p: (ACK | PSH, {"seq": p.rcv, "ack": p.una, "data": b"hello"}),
    "text acks all": lambda p: (ACK | PSH, {"seq": p.rcv, "ack": p.nxt, "data": b"hello"}),
    "text again": lambda p: (ACK | PSH, {"seq": p.fin - 5, "ack": p.una, "data": b"hello"}),
    "text past hole": lambda p: (ACK, {"seq": p.rcv + 10, "ack": p.una, "data": b"hello"}),
    "FIN": lambda p: (FIN | ACK, {"seq": p.fin, "ack": p.una}),
    "FIN acks all": lambda p: (FIN | ACK, {"seq": p.fin, "ack": p.nxt}),
    "FIN past hole": lambda p: (FIN | ACK, {"seq": p.rcv + 5, "ack": p.una}),
    "SYN": lambda p: (SYN, {"seq": p.rcv}),
    "SYN from beyond": lambda p: (SYN, {"seq": p.rcv - FAR}),
    "SYN,FIN": lambda p: (SYN | FIN, {"seq": p.rcv}),
    "SYN,ACK": lambda p: (SYN | ACK, {"seq": 0, "ack": p.nxt}),
    "RST": lambda p: (RST, {"seq": p.rcv}),
    "RST,ACK": lambda p: (RST | ACK, {"seq": p.rcv, "ack": p.nxt}),
    "RST with text": lambda p: (RST, {"seq": p.rcv, "data": b"go away"}),
    "RST in window": lambda p: (RST, {"seq": p.rcv + 10}),
    "RST from beyond": lambda p: (RST, {"seq": p.rcv + FAR}),
    "SYN,RST": lambda p: (SYN | RST, {"seq": p.rcv}),
    "no flag": lambda p: (0, {"seq": p.rcv}),
    "text, no ACK": lambda p: (PSH, {"seq": p.rcv, "data": b"hello"}),
    "FIN, no ACK": lambda p: (FIN, {"seq": p.rcv}),
    "URG": lambda p: (URG | ACK, {"seq": p.rcv, "ack": p.una, "urgent": 3}),
}

# .  nothing is sent                      R  <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>
# a  <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>  r  <SEQ=SEG.ACK><CTL=RST>
# aN the same, N numbers on               s  <SEQ=ISS><ACK=SEG.SEQ+1><CTL=SYN,ACK>
# >  the state that follows, if another
TABLE = """
                   CD LI    SS    SP    SA    ES    F1    F2    CW    CL    LA    TW
ACK                r  r     r     r     r     .     .     .     .     .     .     .
ACK of all         r  r     .     .>ES  .>ES  .     .>F2  .     .     .>TW  .>CD  .
ACK of the unsent  r  r     r     r     r     a     a     a     a     a     a     a
ACK too old        r  r     r     r     r     a     a     a     a     a     a     a
ACK from beyond    r  r     .     a     a     a     a     a     a     a     a     a
text               r  r     r     r     r     a5    a5    a5    .     .     .     a
text acks all      r  r     .     a5>ES a5>ES a5    a5>F2 a5    .     .>TW  .>CD  a
text again         r  r     r     a     a     a     a     a     a     a     a     a
text past hole     r  r     r     r     r     a     a     a     .     .     .     a
FIN                r  r     r     r     r     a1>CW a1>CL a1>TW a     a     a     a
FIN acks all       r  r     .     a1>CW a1>CW a1>CW a1>TW a1>TW a     a     a     a
FIN past hole      r  r     r     r     r     a     a     a     .     .     .     a
SYN                R  s>SP  s>SA  .>LI  a     a     a     a     a     a     a     a
SYN from beyond    R  s>SP  s>SA  a     a     a     a     a     a     a     a     a
SYN,FIN            R  s>SP  s>SA  .>LI  a     a     a     a     a     a     a     a
SYN,ACK            r  r     a1>ES a     .>ES  a     a     a     a     a     a     a
RST                .  .     .     .>LI  .>CD  .>CD  .>CD  .>CD  .>CD  .>CD  .>CD  .
RST,ACK            .  .     .>CD  .>LI  .>CD  .>CD  .>CD  .>CD  .>CD  .>CD  .>CD  .
RST with text      .  .     .     .>LI  .>CD  .>CD  .>CD  .>CD  .>CD  .>CD  .>CD  .
RST in window      .  .     .     a     a     a     a     a     a     a     a     .
RST from beyond    .  .     .     .     .     .     .     .     .     .     .     .
SYN,RST            .  .     .     .>LI  .>CD  .>CD  .>CD  .>CD  .>CD  .>CD  .>CD  .
no flag            R  .     .     .     .     .     .     .     .     .     .     .
text, no ACK       R  .     .     .     .     .     .     .     .     .     .     .
FIN, no ACK        R  .     .     .     .     .     .     .     .     .     .     .
URG                r  r     r     r     r     .     .     .     .     .     .     .
"""
# Notes. SYN,ACK in SA: figure 8 of the RFC, whose step 5 is the same segment. Text and a FIN beyond
# the peer's FIN: "this should not occur [...] ignore the segment text"; TIME-WAIT may acknowledge
# whatever it is sent, since an ACK says no more than where it stands. FIN acks all in CL and LA:
# the FIN is an old one, so "send an acknowledgment, drop the unacceptable segment" comes first.


def rows() -> list[tuple[str, str, str]]:
    header, *lines = TABLE.strip().splitlines()
    columns = header.split()
    cells = []
    for line in lines:
        name = line[:19].strip()
        cells += [
            (name, column, cell) for column, cell in zip(columns, line[19:].split(), strict=True)
        ]
    return cells


def test_the_table_is_complete() -> None:
    assert {(shape, state) for shape, state, _ in rows()} == {
        (shape, state) for shape in SHAPES for state in STATES
    }


@pytest.mark.own_numbers
@pytest.mark.req("ST-1", "ST-2", "ST-3", "ST-4", "ST-5", "ST-6", "ST-7", "ST-9", "ST-10", "ST-11")
@pytest.mark.req("ST-12", "ST-13", "ST-14", "ST-16", "ST-20", "ST-21", "X-1")
@pytest.mark.req("5961-1", "5961-2", "5961-3", "1337-1", "1337-2", "SHLD-2", "MUST-11")
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("iss", [1000, 2**31 - 1, 2**32 - 1])
async def test_segment_arrives(state: str, iss: int) -> None:
    """All rows of one column; the numbers of the peer are at every edge of 32 bits."""
    wrong = []
    for shape, column, cell in rows():
        if column == state:
            try:
                await one_cell(shape, state, cell, iss)
            except AssertionError as failure:
                wrong.append(f"{shape}: should be {cell!r}: {failure}")
    assert not wrong, "\n\n".join(wrong)


async def one_cell(shape: str, state: str, cell: str, iss: int) -> None:
    answer, _, following = cell.partition(">")
    async with Peer(iss=iss) as peer:
        place = await go_to(peer, state)
        assert peer.state == STATES[state] or state == "LI"
        flags, fields = SHAPES[shape](place)
        if state not in ("CD", "LI", "SS"):
            peer.seq = place.rcv
        peer.sends(flags, **fields)
        seq, ack = fields["seq"], fields.get("ack", 0)
        length = len(fields.get("data", b"")) + bool(flags & SYN) + bool(flags & FIN)
        if answer == "r":
            await peer.sees(RST, seq=ack)
        elif answer == "R":
            await peer.sees(RST | ACK, seq=0, ack=seq + length)
        elif answer == "s":
            await peer.sees(SYN | ACK, seq=0, ack=seq + 1)
        elif answer.startswith("a"):
            await peer.sees(ACK, seq=place.nxt, ack=place.rcv + int(answer[1:] or 0), within=0.1)
        await peer.sees_nothing(for_s=0.1)
        if not following:
            following = state
        if following == "LI" or (following == "CD" and place.listener):
            following = "CD"  # a listener has no row
        assert peer.state == STATES[following]
        if place.app is not None and flags & RST and following == "CD":
            # "CLOSING, LAST-ACK [...] enter the CLOSED state": only before is the user told.
            refused, told = state in ("SS", "SA"), state not in ("CL", "LA")
            error = ConnectionRefusedError if refused else ConnectionResetError
            assert isinstance(place.app.error, error) if told else place.app.error is None
