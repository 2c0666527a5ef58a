"""One connection of a running stack as it happens, for the live view: what passes, sampled where it
is a lot, its states, and what it knows.

A tap that takes the headers of so many packets in each interval and then leaves until the next;
what it has missed, the connection's own counters tell. Headers are read when the page is told. So
watching costs the same, whatever the connection carries.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

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
"""Of the connection, in each tick; the rest are counted."""

LOOKED_MAX = 4000
"""Of all connections, in each tick: to look at each packet of a busy stack costs, too."""

SAMPLE_S = 0.01
"""Seconds from one look at the connection's variables to the next, at least."""

ROWS_MAX = 200
"""Connections in the table: the newest."""


_LONGEST = 40 + 0xFFFF
"""Bytes of an IP packet."""

_HEADERS = 192
"""Bytes of a packet that have its headers, and more than most."""


class _Passed(NamedTuple):
    """A packet of the connection. why: None if it came in."""

    at: float
    header: bytes
    length: int
    why: str | None


class Watching:
    """Ask it for `news` every TICK_S. A `taps.Tap` that is there until it has its packets.

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
        self._events: list[_Passed | State] = []
        self._samples: list[Sample] = []
        self._left = 0
        self._sample_at = 0.0
        """When to look at the variables again; of the stack's clock."""
        self._state = ""
        self._gap: tuple[float, int, int] | None = None
        """Since when nobody looks, how many segments the connection had had by then, and how many
        of those were missed."""
        self._looked = 0
        """Packets of all connections that have passed, in this tick."""
        self._resting = True
        self._told = False
        self._over = False
        self._packet = bytearray(_LONGEST)

        here: End = pack(conn.local.host), conn.local.port
        there: End = pack(conn.remote.host), conn.remote.port
        addresses = here[0], there[0]
        self._in = _key(there, here)
        self._out = _key(here, there)
        self._ipv4 = len(here[0]) == 4
        self._where = slice(12, 24) if self._ipv4 else slice(8, 44)
        self._host = unpack(here[0])
        self._conversations = Conversations({unpack(host): unpack(host) for host in addresses})
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
        self._begin_to_look()

    # -- the tap ------------------------------------------------------------------------------

    def sent(self, frame: Frame) -> None:
        self._looked += 1
        header = frame.header
        if header[self._where] == self._out:
            self._note(bytes(header), frame.length, str(frame.reason))

    def received(self, packet: memoryview) -> None:
        self._looked += 1
        if packet[self._where] == self._in or (
            self._ipv4 and packet[0] & 15 > 5 and _behind_options(packet) == self._in
        ):
            self._note(bytes(packet[:_HEADERS]), len(packet), None)

    def flush(self) -> None:
        if self._looked > LOOKED_MAX:
            self._have_seen_enough(0)

    def _note(self, header: bytes, length: int, why: str | None) -> None:
        """All that is done for a packet while connections wait."""
        now = self._stack.clock()
        if self._left:
            self._left -= 1
            self._events.append(_Passed(now, header, length, why))
            if now >= self._sample_at:
                self._sample_at = now + SAMPLE_S
                self._stack.loop.call_soon(self._sample)
        else:
            self._have_seen_enough(1)

    def _have_seen_enough(self, missed: int) -> None:
        if self._gap is None:
            self._gap = self._now(), self._segments(), missed
            self._stack.loop.call_soon(self._rest)

    def _rest(self) -> None:
        """Nothing stands between stack and link until the next `news`."""
        if self._gap is not None:  # else the next interval has begun
            self._stack.untap(self)
            self._resting = True

    # -- what is known ------------------------------------------------------------------------

    def _now(self) -> float:
        return round(self._stack.clock() - self._began, 9)

    def _segments(self) -> int:
        return self._conn.segs_in + self._conn.segs_out

    def _sample(self) -> None:
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
            now = self._stack.clock()
            self._sample_at = now + SAMPLE_S
            sample = measured(conn, host=self._host, flow=self._index, now=now, began=self._began)
            if not self._samples or self._samples[-1].at < sample.at:
                self._samples.append(sample)
            else:
                self._samples[-1] = sample

    def news(self) -> dict[str, Any]:
        """What has happened since the last call, as the page takes it; with `over` once the
        connection is."""
        self._sample()
        noted, self._events = self._events, []
        events = [each for each in map(self._read, noted) if each is not None]
        samples, self._samples = self._samples, []
        flows = self._conversations.flows
        made = columns(Trace(hosts=self._hosts, flows=flows, events=events, samples=samples))
        for name in ("seed", "replay", "notes", "question", "answer", "chinese"):
            del made[name]
        if self._told:
            del made["hosts"], made["lanes"], made["flows"]
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
            (begins, counted, missed), self._gap = self._gap, None
            if missing := max(self._segments() - counted, missed):
                made["g"] = [[begins, self._now(), missing]]
                made["order"] += "g"  # after the events, all of which came before it
        self._begin_to_look()
        return made

    def _begin_to_look(self) -> None:
        self._looked = 0
        self._left = PACKETS_MAX
        if self._resting and not self._over:
            self._resting = False
            self._stack.tap(self)

    def _read(self, noted: _Passed | State) -> Event | None:
        if isinstance(noted, State):
            return noted
        at, header, length, why = noted
        # As long as the packet was, with whatever text: of that nothing but its length is shown.
        self._packet[: len(header)] = header
        packet = memoryview(self._packet)[:length]
        segment = self._conversations.segment(round(at - self._began, 9), packet, why or "")
        if segment is None or segment.flow != self._index:
            return None
        if why is None:
            segment.arrived.append(segment.at)
        elif "retransmit" in why:
            segment.again = True
        return segment

    def stop(self) -> None:
        """For good. Idempotent."""
        self._over = True
        self._stack.untap(self)


def _key(source: End, target: End) -> bytes:
    """As addresses and ports stand in a packet."""
    ports = source[1] << 16 | target[1]
    return source[0] + target[0] + ports.to_bytes(4, "big")


def _behind_options(packet: memoryview) -> bytes:
    """The same, of a packet with IP options in between."""
    at = (packet[0] & 15) * 4
    return bytes(packet[12:20]) + bytes(packet[at : at + 4])


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
