"""One connection of a running stack as it happens, for the live view: what passes, sampled where it
is a lot, its states, and what it knows.

A tap that takes so many packets in each interval, and of the rest only that there are some:
whatever the connection carries, watching it costs little more than that.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

from aiotcp.addresses import pack, unpack
from aiotcp.info import describe
from aiotcp.report.page import columns
from aiotcp.serve.service import joined
from aiotcp.stack import PacketStack
from aiotcp.tcp.connection import Connection
from aiotcp.trace.conversations import Conversations, End, Known
from aiotcp.trace.events import Event, Sample, State, Trace
from aiotcp.trace.measuring import measured
from aiotcp.waiting import waiting
from aiotcp.wire.frame import Frame

TICK_S = 0.2
"""Seconds from one update to the next."""

PACKETS_MAX = 40
"""In each tick; the rest are counted."""

SAMPLE_S = 0.01
"""Seconds from one look at the connection's variables to the next, at least."""

ROWS_MAX = 200
"""Connections in the table: the newest."""


_LONGEST = 40 + 0xFFFF
"""Bytes of an IP packet."""


class Watching:
    """Ask it for `news` every TICK_S. A `taps.Tap` that comes and goes with it: to do so each time
    would have the interpreter find its way through the stack anew.

    flow: the stack's key of the connection. Raises LookupError if it has none by it.
    """

    def __init__(self, stack: PacketStack, flow: bytes) -> None:
        conn = stack.find(flow)
        if not isinstance(conn, Connection):
            raise LookupError("no such connection")
        self._stack = stack
        self._flow = flow
        self._conn = conn
        self._began = stack.clock()
        self._events: list[Event] = []
        self._samples: list[Sample] = []
        self._left = PACKETS_MAX
        self._sampling = False
        self._sampled = -SAMPLE_S
        self._state = ""
        self._gap: tuple[float, int] | None = None
        self._told = False
        self._packet = bytearray(_LONGEST)

        here: End = pack(conn.local.host), conn.local.port
        there: End = pack(conn.remote.host), conn.remote.port
        addresses = here[0], there[0]
        self._in = there[0] + here[0], _ports(there[1], here[1])
        self._out = here[0] + there[0], _ports(here[1], there[1])
        self._starts = 12 if len(here[0]) == 4 else 8
        self._host = unpack(here[0])
        self._conversations = Conversations()
        served = any(each.local[1] == here[1] for each in stack.listeners())
        client, server = (there, here) if served else (here, there)
        self._index = self._conversations.join(
            client,
            server,
            {
                here: Known(conn.iss, conn.snd_max - conn.iss, conn.rcv_wscale),
                there: Known(conn.irs, max(conn.rcv_nxt - conn.irs, 0), conn.snd_wscale),
            },
        )
        self._hosts = list(dict.fromkeys(unpack(end[0]) for end in (client, server)))
        assert set(self._hosts) == {unpack(address) for address in addresses}
        self._sample()
        stack.tap(self)

    # -- the tap ------------------------------------------------------------------------------

    def sent(self, frame: Frame) -> None:
        if self._gap is None and self._is_ours(frame.header, self._out):
            # Of the text nothing but its length is of interest: nothing is copied.
            header = frame.header
            self._packet[: len(header)] = header
            self._note(memoryview(self._packet)[: frame.length], str(frame.reason))

    def received(self, packet: memoryview) -> None:
        if self._gap is None and self._is_ours(packet, self._in):
            self._note(packet)

    def flush(self) -> None:
        """Each packet was looked at when it came."""

    def _is_ours(self, packet: bytes | memoryview, wanted: tuple[bytes, bytes]) -> bool:
        addresses, ports = wanted
        starts = self._starts
        at = (packet[0] & 15) * 4 if starts == 12 else 40
        return (
            packet[at : at + 4] == ports and packet[starts : starts + len(addresses)] == addresses
        )

    def _note(self, packet: memoryview, why: str = "") -> None:
        if self._left <= 0:
            self._gap = self._now(), self._segments()
            return
        self._left -= 1
        segment = self._conversations.segment(self._now(), packet, why)
        if segment is None:
            return
        if not why:
            segment.arrived.append(segment.at)
        segment.again = segment.again or "retransmit" in why
        self._events.append(segment)
        if not self._sampling and segment.at >= self._sampled + SAMPLE_S:
            self._sampling = True
            self._stack.loop.call_soon(self._sample)

    # -- what is known ------------------------------------------------------------------------

    def _now(self) -> float:
        return round(self._stack.clock() - self._began, 9)

    def _segments(self) -> int:
        return self._conn.segs_in + self._conn.segs_out

    def _sample(self) -> None:
        self._sampling = False
        conn = self._conn
        entry = self._stack.find(self._flow)
        if isinstance(entry, Connection):
            state = str(entry.state)
        else:
            state = "CLOSED" if entry is None else describe(entry, 0.0).state
        if state != self._state:
            was, self._state = self._state, state
            self._events.append(State(self._now(), self._host, self._index, was, state, ""))
        if not conn.ended:
            self._sampled = self._now()
            sample = measured(
                conn,
                host=self._host,
                flow=self._index,
                now=self._stack.clock(),
                began=self._began,
            )
            if not self._samples or self._samples[-1].at < sample.at:
                self._samples.append(sample)
            else:
                self._samples[-1] = sample

    def news(self) -> dict[str, Any]:
        """What has happened since the last call, as the page takes it; with `over` once the
        connection is."""
        self._sample()
        events, self._events = self._events, []
        samples, self._samples = self._samples, []
        flows = self._conversations.flows
        made = columns(Trace(hosts=self._hosts, flows=flows, events=events, samples=samples))
        for name in ("seed", "replay", "notes"):
            del made[name]
        if self._told:
            del made["hosts"], made["flows"]
        else:
            made["epoch"] = time.time()
            made["here"] = self._host
        made["title"] = str(flows[self._index])
        self._told = True
        if self._state == "CLOSED":
            made["over"] = True
            self.stop()
            return made
        if self._gap is not None:
            (begins, counted), self._gap = self._gap, None
            made["g"] = [[begins, self._now(), max(self._segments() - counted, 1)]]
            made["order"] += "g"  # after the events, all of which came before it
        self._left = PACKETS_MAX
        return made

    def stop(self) -> None:
        """Idempotent."""
        self._stack.untap(self)


def _ports(source: int, target: int) -> bytes:
    return source.to_bytes(2, "big") + target.to_bytes(2, "big")


def rows(stack: PacketStack, chosen: bytes) -> dict[str, Any]:
    """The table of connections: the newest first, and the chosen one among them."""
    entries = stack.entries()
    now = stack.clock()
    newest = list(islice(reversed(entries), ROWS_MAX))
    if (entry := stack.find(chosen)) is not None and entry not in newest:
        newest.append(entry)
    return {"all": len(entries), "rows": [_row(entry, now) for entry in newest]}


def _row(entry: Any, now: float) -> Sequence[Any]:
    about = describe(entry, now)
    what, until = waiting(entry)
    return [
        entry.flow.hex() if isinstance(entry, Connection) else "",
        joined(*about.local),
        joined(*about.remote),
        about.state,
        about.bytes_sent,
        about.bytes_received,
        about.rtt_s,
        about.cwnd_bytes,
        about.retransmissions,
        round(about.age_s, 3),
        what,
        None if until is None else round(max(until - now, 0.0), 3),
    ]
