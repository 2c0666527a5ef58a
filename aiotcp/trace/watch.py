"""Watching stacks: a link wrapper for each host that notes what passes, and an observer of states.

    recording = Recording()
    client = recording.stack(Stack, link, host="client", addresses=["192.0.2.1"])

Where both hosts of a segment are watched, what became of it is found out by comparing what was sent
with what came. So the network in between may be any: nothing in it has to tell.
"""

from __future__ import annotations

import asyncio
import errno
import zlib
from collections import defaultdict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from aiotcp.addresses import pack, unpack
from aiotcp.link.base import Link, Receiver
from aiotcp.link.wrapper import Wrapper
from aiotcp.tcp.connection import Connection
from aiotcp.trace.conversations import Conversations
from aiotcp.trace.events import (
    CORRUPTED,
    DUPLICATED,
    LATE,
    LOST,
    UNDERWAY,
    Fault,
    Said,
    Segment,
    State,
    Trace,
)
from aiotcp.trace.measuring import measured
from aiotcp.transition import Transition
from aiotcp.wire.frame import Frame

if TYPE_CHECKING:
    from aiotcp.stack import PacketStack
    from aiotcp.tcp.flow import Endpoint

_StackT = TypeVar("_StackT", bound="PacketStack")

MAX_EVENTS = 200_000
"""Events that a recording holds; what comes after is counted in `Trace.notes`."""

_MAX_PENDING = 4096
"""Events that wait to be looked at closely: most runs of a test pass, and nobody asks."""


class Recording:
    """The trace of one run, as it grows; `trace` is it, whole after `finish()`.

    samples: whether the variables of connections are noted after each event; a graph wants that.
    max_events: how much is kept; what comes later is counted in `Trace.notes`.
    absolute: sequence numbers are as on the wire, and not relative.

    Times are relative to when the first watched link was attached.
    """

    def __init__(
        self, *, samples: bool = True, max_events: int = MAX_EVENTS, absolute: bool = False
    ) -> None:
        self._trace = Trace(absolute=absolute)
        self._conversations = Conversations(absolute=absolute)
        self._trace.flows = self._conversations.flows
        self._pending: list[tuple[Any, ...]] = []  # what to call, and with what
        self._max_events = max_events
        self._left_out = 0
        self.sampling = samples
        self._began: float | None = None
        self._ended: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watches: dict[str, Watch] = {}
        self._others: set[str] = set()
        self._underway: defaultdict[tuple[int, int], deque[tuple[int, Segment]]]
        self._underway = defaultdict(deque)
        self._arrived: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._sent = 0
        self._latest: dict[tuple[str, int], int] = {}  # where the last sample of each side is

    # -- who is watched -----------------------------------------------------------------------

    def stack(
        self,
        make: Callable[..., _StackT],
        link: Link,
        *,
        host: str,
        addresses: list[str],
        **kwds: Any,
    ) -> _StackT:
        """Make a stack of `make` (`Stack`, `PacketStack`) that is watched; `kwds` go to it."""
        watch = Watch(link, host, self)
        self.knows(host, addresses)
        made = make(watch, addresses=addresses, observer=watch.observe, **kwds)
        watch.find = made.find
        self._watches[host] = watch
        return made

    def hears(self, host: str) -> None:
        """Of this host, which has no stack of ours, `sent` and `came` will be told all the same."""
        self._others.add(host)

    def forget(self, host: str) -> None:
        """The host is no more: whatever its stack still does, nobody sees."""
        watch = self._watches.get(host)
        if watch is not None:
            watch.heard = False

    def knows(self, host: str, addresses: list[str]) -> None:
        """Name a host; it gets the next lane."""
        self._has_lane(host)
        for address in addresses:
            self._conversations.names[address] = host

    def stop(self) -> None:
        """Hear nothing more of any host: this is the end, whatever the time is when the trace is
        asked for."""
        self._ended = self.now
        for host in list(self._watches):
            self.forget(host)

    def begins(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is None:
            self._loop, self._began = loop, loop.time()

    @property
    def now(self) -> float:
        """Seconds since the recording began."""
        if self._ended is not None:
            return self._ended
        if self._loop is None or self._began is None:
            return 0.0
        return round(self._loop.time() - self._began, 9)

    def at(self, time: float) -> float:
        """A time of the loop's clock, as the trace has it."""
        return round(time - (self._began or 0.0), 9)

    # -- what happens -------------------------------------------------------------------------

    @property
    def trace(self) -> Trace:
        """What has happened so far."""
        self._catch_up()
        return self._trace

    @property
    def conversations(self) -> Conversations:
        """The connections seen so far."""
        self._catch_up()
        return self._conversations

    def _note(self, *call: Any) -> None:
        self._pending.append(call)
        if len(self._pending) >= _MAX_PENDING:
            self._catch_up()

    def _catch_up(self) -> None:
        pending, self._pending = self._pending, []
        for function, *args in pending:
            function(*args)

    def said(self, host: str, text: str) -> None:
        """A program on `host` did something, or was told something."""
        self._note(self._add, Said(self.now, host, text))

    def fault(self, text: str, host: str = "", until: float | None = None) -> Fault:
        """Something befell the network, or a host."""
        made = Fault(self.now, text, host, until)
        self._note(self._add, made)
        return made

    def sent(self, packet: bytes, why: str) -> None:
        """An IP packet leaves its host."""
        self._note(self._sent_at, self.now, packet, why)

    def doom(self, frame: Frame, fate: str) -> None:
        """The network knows what becomes of the segment in this frame, the last such one sent."""
        self._note(self._doomed, frame.to_bytes(), fate)

    def becomes(self, frame: Frame, packet: bytes, fate: str) -> None:
        """The network makes `packet` of the segment in this frame, the last such one sent."""
        self._note(self._changed_to, frame.to_bytes(), packet, fate)

    def came(self, host: str, packet: memoryview) -> None:
        """An IP packet has reached `host`."""
        self._note(self._came_at, self.now, host, bytes(packet))

    def entered(self, host: str, transition: Transition) -> None:
        """A connection of `host` entered a state."""
        self._note(self._entered, host, transition)

    def _sent_at(self, at: float, packet: bytes, why: str) -> None:
        segment = self._conversations.segment(at, memoryview(packet), why)
        if segment is None:
            return
        self._has_lane(segment.receiver)
        if self._add(segment) and self._is_heard(segment.receiver):
            self._sent += 1
            self._underway[_mark(packet)].append((self._sent, segment))

    def _doomed(self, packet: bytes, fate: str) -> None:
        queue = self._underway.get(_mark(packet))
        if queue:
            queue[-1][1].fate = fate

    def _changed_to(self, packet: bytes, changed: bytes, fate: str) -> None:
        queue = self._underway.get(_mark(packet))
        if queue:
            queue[-1][1].fate = fate
            self._underway[_mark(changed)].append(queue[-1])

    def _came_at(self, at: float, host: str, packet: bytes) -> None:
        source = _source(packet)
        sender = self._conversations.names.get(source, source)
        if not self._is_heard(sender):
            segment = self._conversations.segment(at, memoryview(packet))
            if segment is not None:
                self._has_lane(segment.sender)
                segment.arrived.append(at)
                self._add(segment)
            return
        queue = self._underway.get(_mark(packet))
        if not queue:
            return
        while len(queue) > 1 and _is_done(queue[0][1]):
            queue.popleft()  # it looks the same, but has met its fate already
        # Of those that look the same, one that is held up comes after the others.
        number, segment = next(
            (each for each in queue if not _is_done(each[1]) and each[1].fate != LATE), queue[0]
        )
        segment.arrived.append(at)
        if len(segment.arrived) > 1:
            segment.fate = DUPLICATED
        elif number < self._arrived[segment.sender, host]:
            segment.fate = LATE
        self._arrived[segment.sender, host] = max(number, self._arrived[segment.sender, host])

    def _entered(self, host: str, transition: Transition) -> None:
        flow = self._flow(transition.local, transition.remote)
        if flow is None:
            return
        error = transition.error
        name = ""
        if error is not None:
            name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        at = self.at(transition.time)
        self._add(State(at, host, flow, str(transition.old), str(transition.new), name))

    def _flow(self, local: Endpoint, remote: Endpoint) -> int | None:
        mine, theirs = (pack(local.host), local.port), (pack(remote.host), remote.port)
        return self._conversations.flow_of(mine, theirs)

    def _has_lane(self, host: str) -> None:
        if host not in self._trace.hosts:
            self._trace.hosts.append(host)

    def sample(self, host: str, conn: Connection) -> None:
        """Note what `conn` knows at this moment."""
        self._catch_up()
        flow = self._flow(conn.local, conn.remote)
        samples = self._trace.samples
        if flow is None or len(samples) >= self._max_events:
            return
        assert self._loop is not None
        now = self._loop.time()
        made = measured(conn, host=host, flow=flow, now=now, began=self._began or 0.0)
        place = self._latest.get((host, flow))
        if place is not None and samples[place].at == made.at:
            samples[place] = made  # of one moment, the last counts
        else:
            self._latest[host, flow] = len(samples)
            samples.append(made)

    def finish(self) -> Trace:
        """The run is over: what has not arrived will not. Returns the trace; may be called again
        after more has happened."""
        trace = self.trace
        slowest: defaultdict[tuple[str, str], float] = defaultdict(float)
        for segment in trace.segments:
            if segment.arrived:
                way = segment.sender, segment.receiver
                slowest[way] = max(slowest[way], segment.arrived[0] - segment.at)
        now = self.now
        for segment in trace.segments:
            if not segment.arrived and self._is_heard(segment.receiver):
                age = now - segment.at
                if segment.fate in ("", UNDERWAY):
                    recent = age <= slowest[segment.sender, segment.receiver]
                    segment.fate = UNDERWAY if recent else LOST
        trace.notes = [f"{self._left_out} more events were left out"] if self._left_out else []
        return trace

    def _is_heard(self, host: str) -> bool:
        return host in self._watches or host in self._others

    def _add(self, event: Segment | State | Said | Fault) -> bool:
        if len(self._trace.events) >= self._max_events:
            self._left_out += 1
            return False
        self._trace.events.append(event)
        return True


class Watch(Wrapper):
    """A link that wraps another one and tells a recording what passes: see `Recording.stack`."""

    def __init__(self, link: Link, host: str, recording: Recording) -> None:
        super().__init__(link)
        self.host = host
        self.recording = recording
        self.heard = True
        """Whether the recording listens."""
        self.find: Callable[[bytes], object] = lambda _: None
        """The stack's entry for a flow."""
        self._changed: dict[bytes, None] = {}

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        super().attach(receiver, loop)
        self.recording.begins(loop)

    def send(self, frame: Frame) -> None:
        if self.heard:
            packet = frame.to_bytes()
            self.recording.sent(packet, str(frame.reason))
            if self.recording.sampling:
                self._note(_inbound_flow(packet, reverse=True))
        self.link.send(frame)

    def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
        if self.heard:
            self.recording.came(self.host, packet)
            if self.recording.sampling:
                self._note(_inbound_flow(packet))
        self.receiver.receive(packet, vouched, gso_size)

    def link_lost(self, exc: OSError) -> None:
        self.recording.fault(f"the link is gone: {exc}", self.host)
        super().link_lost(exc)

    def observe(self, transition: Transition) -> None:
        """What the stack tells of states."""
        if self.heard:
            self.recording.entered(self.host, transition)

    def _note(self, flow: bytes) -> None:
        """This connection's variables change in this turn of the loop; they are looked at after."""
        if not self._changed:
            self.loop.call_soon(self._sample)
        self._changed[flow] = None

    def _sample(self) -> None:
        changed, self._changed = self._changed, {}
        for flow in changed if self.heard else ():
            entry = self.find(flow)
            if isinstance(entry, Connection):
                self.recording.sample(self.host, entry)


def _inbound_flow(packet: bytes | memoryview, *, reverse: bool = False) -> bytes:
    """The stack's key of the connection of a packet that came; with `reverse`, of one sent."""
    if packet[0] >> 4 == 4:
        start, width, ports = 12, 4, (packet[0] & 15) * 4
    else:
        start, width, ports = 8, 16, 40
    source, target = packet[start : start + width], packet[start + width : start + 2 * width]
    first, second = packet[ports : ports + 2], packet[ports + 2 : ports + 4]
    if reverse:
        return b"".join((target, source, second, first))
    return b"".join((source, target, first, second))


def _mark(packet: bytes | memoryview) -> tuple[int, int]:
    """What tells a packet from others, but for what the network may change on the way: all but the
    IP header."""
    start = (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40
    # Nor the checksum, which a link may complete.
    behind = zlib.crc32(packet[start + 18 :], zlib.crc32(packet[start : start + 16]))
    return zlib.crc32(_inbound_flow(packet)), behind


def _is_done(segment: Segment) -> bool:
    """Whether it will not come any more."""
    return bool(segment.arrived) or segment.fate in (LOST, CORRUPTED)


def _source(packet: bytes | memoryview) -> str:
    return unpack(bytes(packet[12:16] if packet[0] >> 4 == 4 else packet[8:24]))
