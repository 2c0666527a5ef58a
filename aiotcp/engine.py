"""The table of connections, and what timers do: output, packets out, the end of an entry.

What comes in is added by `passive` and `inbound`, which derive from it. A batch of packets from the
link goes through four steps, and nothing is sent before the last two:

1. `receive` parses each packet once and gives the segment to the entry of its 4-tuple: a
   connection, a half-open entry or a TIME-WAIT record. One dict lookup on a slice of the packet.
2. `flush` lets the user of each touched connection look at it (`User.progress`).
3. It asks each touched entry what should go out now.
4. It looks at each one's next deadline, and retires those that have ended.

Timers, and the calls of users in `stack`, go through steps 3 and 4 in the same way.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from aiotcp.addresses import (
    LocalAddresses,
    endpoints,
    is_looped,
    split_flow,
)
from aiotcp.clock import NO_LOOP, no_clock
from aiotcp.counters import Counters
from aiotcp.errors import timed_out
from aiotcp.failures import Failures
from aiotcp.halfopens import HalfOpens
from aiotcp.limits import TokenBucket
from aiotcp.link.base import Link, memory_limit, require_link, send_run
from aiotcp.listeners import Listeners
from aiotcp.loopback import Loopback
from aiotcp.mypyc import mypyc_attr
from aiotcp.options import Options
from aiotcp.ports import EphemeralPorts
from aiotcp.reasons import Event, Why
from aiotcp.tcp.ackwait import Turns
from aiotcp.tcp.buffers import wants_more
from aiotcp.tcp.challenge import SharedLimit
from aiotcp.tcp.connection import Connection, Path, State
from aiotcp.tcp.fastopen import CookieCache
from aiotcp.tcp.halfopen import HalfOpen
from aiotcp.tcp.isn import initial_numbers
from aiotcp.tcp.listener import Listener
from aiotcp.tcp.memory import UNNOTED_BYTES, MemoryBudget
from aiotcp.tcp.output import output, output_usual
from aiotcp.tcp.pmtucache import PathMtuCache
from aiotcp.tcp.prediction import Train
from aiotcp.tcp.queueshare import QueueShare, ReceiveQueue
from aiotcp.tcp.timeouts import next_deadline
from aiotcp.tcp.timewait import TimeWait
from aiotcp.timers import Timed, TimerQueue
from aiotcp.timewaits import TimeWaits
from aiotcp.wire import tcp
from aiotcp.wire.alike import Frames, Run
from aiotcp.wire.frame import Frame, length_of

if TYPE_CHECKING:
    from aiotcp.icmp import IcmpHost
    from aiotcp.tcp.terms import Terms
    from aiotcp.transition import Transition

Entry = Connection | HalfOpen | TimeWait
_TIME_WAIT: Final = State.TIME_WAIT
_REORDERING: Final = Event.REORDERING
_NEVER: Final = math.inf


@mypyc_attr(allow_interpreted_subclasses=True)
class Engine:
    """The table of connections on one link."""

    _timers: TimerQueue

    def __init__(
        self,
        link: Link,
        *,
        addresses: Sequence[str],
        options: Options | Mapping[str, Any] | None = None,
        seed: bytes | None = None,
        observer: Callable[[Transition], None] | None = None,
    ) -> None:
        require_link(link)
        if isinstance(addresses, str) or not isinstance(addresses, Iterable):
            raise TypeError(f"addresses must be a list of strings, not {addresses!r}")
        self.link = link
        self.options = Options.of(options)
        self.addresses = LocalAddresses(list(addresses))
        self.counters = Counters()
        self.paths = PathMtuCache(self.options.max_path_mtus, self._path_mtu_evicted)
        """The paths whose MTU is known to be less than the link's."""
        self.fast_opens = CookieCache(self.options.max_tfo_servers, self._cookie_evicted)
        """The servers that RFC 7413 was tried with."""
        self.initial_number: int | None = None
        """Where the sequence numbers of each connection begin, instead of where RFC 6528 has them
        begin: in tests, and to show what happens at a certain number. It makes every connection
        easy to forge."""
        self.closed = False
        self.lost: OSError | None = None
        """Why the link is gone, if it is."""
        source = random.Random(seed) if seed is not None else None
        secrets = source.randbytes(32) if source is not None else os.urandom(32)
        self._secret = secrets[:16]
        self._random = random.Random(secrets)
        self._ports = EphemeralPorts(secrets[16:])
        self.closers: dict[Callable[[], None], None] = {}
        """Called, in order of entry, when the stack is closed or its link is lost."""
        self._observer = observer
        self._table: dict[bytes, Entry] = {}
        self._time_waits = TimeWaits()  # those of the table
        self._half_opens = HalfOpens()  # of the table, those that are not in `_timers` themselves
        self._listeners = Listeners()
        self._resets = self._bucket(self.options.rst_rate)
        self._icmp: IcmpHost | None = None  # made for the first packet that is not of TCP
        self._transparent = False  # whether there was ever a listener at others' addresses
        # One object for all connections: a bound method is made anew whenever it is looked up.
        self._chance = self._random.random
        self._shared_transmit = self._transmit
        self._shared_transmit_run = self._transmit_run
        self.on_state = self.counters.on_state if observer is None else self._on_state
        self._challenges = SharedLimit(
            self.options.challenge_ack_rate, self._random.random, self._note_challenge_withheld
        )
        self.memory = MemoryBudget(
            self.options.memory_limit or memory_limit(link), self._note_pressure
        )
        """What the connections hold."""
        self._orphans: dict[bytes, Connection] = {}  # those of the table, oldest first
        self._now = 0.0
        self._in_batch = False
        self._batches = 0  # how many there have been
        self._turns = Turns()
        self._touched: list[Entry] = []
        self._soon: dict[Connection, None] = {}  # at the end of this turn of the loop; in order
        self._answering: Connection | None = None
        self._train = Train()
        self._accepted: list[tuple[Listener, Connection]] = []
        self._replies: list[tuple[Callable[[Frame], None], Frame]] = []
        self._transitions: list[Transition] = []
        self._loopback = Loopback(self.counters)
        self._failures = Failures()
        self._receive_queue: ReceiveQueue | None = None
        self._latest_way = (0, 0, 0, False)
        self._latest_path = Path(*self._latest_way)
        self._connections = 0  # how many of the table's entries are connections
        self._drained: asyncio.Event | None = None
        self.bound = False
        """Whether it lives on an event loop."""
        self.loop: asyncio.AbstractEventLoop = NO_LOOP
        self.clock: Callable[[], float] = no_clock

    # -- after a batch, a timer, a call -------------------------------------------------------

    def _call_user(self, function: Callable[..., None], *args: object) -> None:
        """What one user raises is reported; it must not cost the others their turn."""
        try:
            function(*args)
        except BaseException as exc:
            self._user_failed(function, exc)

    def _user_failed(self, function: Callable[..., None], exc: BaseException) -> None:
        self._failures.report(self.loop, function, exc)

    def _finish(self, entry: Entry, now: float) -> None:
        """Output, then the deadline; what has ended leaves the table."""
        if type(entry) is Connection:
            begin = entry.snd_nxt
            if not (entry.calm and output_usual(entry, now)):
                output(entry, now)
            if entry.ended:
                self._retire_connection(entry, now)
            else:
                sending = entry.sending  # as `held_bytes`
                held = entry.received_bytes + sending.end - sending.start
                if not entry.calm:
                    held += entry.reassembly.cost
                if not -UNNOTED_BYTES < held - entry.accounted < UNNOTED_BYTES:
                    self._account(entry, held)
                if entry.closed_by_user and entry.flow not in self._orphans:
                    self._adopt(entry, now)
                deadline = next_deadline(entry)
                if deadline < entry.armed_at:
                    self._timers.enter(entry, deadline)
                if entry.more and entry.snd_nxt != begin and wants_more(entry):
                    self.push_soon(entry)
        elif type(entry) is HalfOpen:
            if entry.due is not None or entry.resets:
                template = entry.template
                if template is None:
                    entry.template = template = self._template(entry.flow, entry.options)
                entry.output(now, template, self._way(entry.flow))
            if entry.ended:
                self._retire(entry, now)
            elif entry.deadline < entry.armed_at:
                waits: Timed = self._half_opens if self._half_opens.add(entry) else entry
                if entry.deadline < waits.armed_at:
                    self._timers.enter(waits, entry.deadline)
        elif type(entry) is TimeWait:
            if entry.due is not None:
                template = self._template(entry.flow, entry.options)
                entry.output(now, template, self._way(entry.flow))
            if entry.ended:
                self._retire(entry, now)
            elif entry.restarted:
                self._time_waits.moved(entry)
        if self._transitions:
            self._notify()

    def push_soon(self, conn: Connection) -> None:
        """After calls on `conn`: output at the end of this turn of the loop, so that the small
        things which programs write in one turn leave as one. Where all has left already, and the
        program has more, that is asked for first."""
        if not self._soon:
            self.loop.call_soon(self._push_all)
        self._soon[conn] = None

    def push_later(self, conn: Connection) -> None:
        """Who has called `push_soon` is going to `push` soon himself."""
        self._soon.pop(conn, None)

    def expect_answer(self, conn: Connection) -> None:
        """Called from `User.progress`: a task has been woken that is going to write on `conn`. If
        nothing is due at once, output is asked behind that task, and not with the batch. Called
        while `conn` is accepted: the same, and its user has looked at it."""
        self._answering = conn

    def _push_behind(self, woken: list[Connection]) -> None:
        if not self._soon:
            self.loop.call_soon(self._push_all)
        for conn in woken:
            self._soon[conn] = None

    def _push_all(self) -> None:
        soon, self._soon = self._soon, {}
        clock = self.clock
        for conn in soon:
            if conn.more and conn.user is not None and wants_more(conn):
                self._call_user(conn.user.progress)
            try:
                self._finish(conn, clock())
            except BaseException as exc:  # of a congestion control of the user's own
                self._user_failed(self._finish, exc)

    def _retire(self, entry: Entry, now: float) -> None:
        """It has ended, and leaves the table."""
        if type(entry) is Connection:
            self._retire_connection(entry, now)
        elif self._table.get(entry.flow) is entry:
            self._forget(entry)
            if type(entry) is TimeWait:
                self._tell(entry.flow, _TIME_WAIT, State.CLOSED)
            else:
                self._tell(entry.flow, State.SYN_RECEIVED, State.LISTEN)

    def _retire_connection(self, conn: Connection, now: float) -> None:
        current = self._table.get(conn.flow)
        if current is conn:
            self._forget_connection(conn)
            if conn.state is _TIME_WAIT:
                if conn.options.time_wait_s > 0 and self.options.max_time_wait > 0:
                    self._keep_time_wait(TimeWait(conn, now))
                else:
                    self._tell(conn.flow, _TIME_WAIT, State.CLOSED)
        elif type(current) is TimeWait:  # made earlier in this batch
            current.offer(conn)

    def _keep_time_wait(self, record: TimeWait) -> None:
        while self._time_waits.count >= self.options.max_time_wait:
            oldest = self._time_waits.oldest()
            oldest.ended = True
            self._retire(oldest, self._now)
            self.counters.time_wait_evicted += 1
        self._table[record.flow] = record
        self._time_waits.add(record)
        if record.deadline < self._time_waits.armed_at:
            self._timers.enter(self._time_waits, record.deadline)

    def _adopt(self, conn: Connection, now: float) -> None:
        """Its program has closed it: an orphan now, of which there may be `max_orphans`."""
        self._orphans[conn.flow] = conn
        if len(self._orphans) > self.options.max_orphans or self.memory.exhausted:
            oldest = next(iter(self._orphans.values()))
            self.counters.orphans_reset += 1
            oldest.terminate(Why.RST_ORPHAN, timed_out())
            self._finish(oldest, now)

    def _account(self, conn: Connection, held: int) -> None:
        if held < UNNOTED_BYTES:
            held = 0
        self.memory.account(held - conn.accounted)
        conn.accounted = held

    def _bucket(self, rate: int) -> TokenBucket:
        return TokenBucket(rate, rate, self._random.random)

    def _note_pressure(self) -> None:
        self.counters.memory_pressures += 1

    def _note_challenge_withheld(self) -> None:
        self.counters.challenge_acks_withheld += 1

    def _enter(self, conn: Connection) -> None:
        self._table[conn.flow] = conn
        self._connections += 1

    def _touch(self, entry: Entry) -> None:
        if not entry.touched:
            entry.touched = True
            self._touched.append(entry)

    def _forget(self, entry: Entry) -> None:
        if type(entry) is Connection:
            self._forget_connection(entry)
            return
        del self._table[entry.flow]
        if type(entry) is HalfOpen:
            self._disarm(entry)
        elif type(entry) is TimeWait:
            entry.ended = True
            self._time_waits.ended()

    def _disarm(self, entry: HalfOpen) -> None:
        if not self._half_opens.drop(entry):
            self._timers.drop(entry)

    def _forget_connection(self, conn: Connection) -> None:
        flow = conn.flow
        del self._table[flow]
        if conn.armed_at != _NEVER:
            self._timers.drop(conn)
        self._connections -= 1
        if conn.recovery.rack.reord_seen:
            self.counters.events[_REORDERING] += conn.recovery.rack.reord_seen
        if conn.closed_by_user:
            self._orphans.pop(flow, None)
        if conn.accounted:
            self._account(conn, 0)
        if self._drained is not None and not self._connections:
            self._drained.set()

    def _on_due(self, item: Timed, due: float) -> None:
        if isinstance(item, TimeWaits):
            for record in item.due(due):
                self._retire(record, due)
            self._notify()
            return
        assert isinstance(item, Connection | HalfOpen)
        item.expire(due)
        if (
            isinstance(item, Connection)
            and item.user is not None
            and (item.ended or item.error_news)
        ):
            self._call_user(item.user.progress)
        # Not `due`, which may lie ahead by the queue's slack: timestamps must not go back after it.
        self._finish(item, self.clock())

    def link_lost(self, exc: OSError) -> None:
        """The device is gone: every connection ends with the error, and no new one begins."""
        self.lost = exc
        self._loopback.close()
        self._stop_listening()
        for entry in list(self._table.values()):
            if type(entry) is Connection:
                entry.fail(OSError(exc.errno, exc.strerror))
                if entry.user is not None:
                    self._call_user(entry.user.progress)
            self._forget(entry)
        self._notify()

    def _stop_listening(self) -> None:
        for closer in list(self.closers):
            self._call_user(closer)
        for listener in self._listeners.all():
            listener.close()

    # -- packets out --------------------------------------------------------------------------

    def _transmit(self, frame: Frame) -> None:
        self.link.send(frame)
        counters = self.counters
        counters.bytes_sent += frame.length
        counters.sent[frame.reason] += 1

    def _transmit_run(self, frames: Frames) -> None:
        """The same for several of one reason."""
        link, counters = self.link, self.counters
        take = send_run(link)  # asked each time: somebody may have put a `send` of his own there
        if take is not None:
            take(frames)
        else:
            send = link.send
            for frame in frames:
                send(frame)
        if type(frames) is Run:
            octets, reason = frames.length, frames.last.reason
        else:
            octets, reason = sum(map(length_of, frames)), frames[-1].reason
        counters.bytes_sent += octets
        counters.sent[reason] += len(frames)

    def _way(self, key: bytes) -> Callable[[Frame], None]:
        """Who carries what is sent on this 4-tuple."""
        return self._loopback.send if len(key) & 1 else self._shared_transmit  # as `is_looped`

    def _path(self, key: bytes) -> Path:
        return self._path_on(self._loopback if is_looped(key) else self.link, key)

    def _path_on(self, link: Link | Loopback, key: bytes) -> Path:
        ip_header = 20 if len(key) < 36 else 40
        way = (link.mtu, ip_header, link.gso_max_bytes, link.checksum_offload)
        if way != self._latest_way:  # as most are: one object for all of them
            self._latest_way, self._latest_path = way, Path(*way)
        return self._latest_path

    def _path_mtu_evicted(self) -> None:
        self.counters.path_mtus_evicted += 1

    def _cookie_evicted(self) -> None:
        self.counters.fast_open_cookies_evicted += 1

    def _template(self, key: bytes, options: Options) -> tcp.HeaderTemplate:
        return tcp.HeaderTemplate(*split_flow(key), options.hop_limit, options.traffic_class & 0xFC)

    def _initial_numbers(self, key: bytes, now: float) -> tuple[int, int]:
        """Where a connection's sequence numbers and its timestamps begin."""
        number, timestamp = initial_numbers(self._secret, key, now)
        return number if self.initial_number is None else self.initial_number, timestamp

    def _new_connection(
        self,
        key: bytes,
        terms: Terms,
        template: tcp.HeaderTemplate,
        iss: int,
        ts_offset: int,
        now: float,
    ) -> Connection:
        looped = len(key) & 1  # as `is_looped`
        conn = Connection(
            key,
            terms,
            template,
            iss,
            ts_offset,
            now,
            self._chance,
            self.paths,
            self._loopback.send if looped else self._shared_transmit,
            self.memory,
            self.counters.events,
            self._challenges,
        )
        if not looped:
            conn.transmit_run = self._shared_transmit_run
            if self._receive_queue is not None:
                conn.queue_share = QueueShare(self._receive_queue)
        return conn

    @property
    def looping(self) -> bool:
        """Whether the packet that is being received is its own, and has never been on the link."""
        return self._loopback.delivering

    def _live(self) -> list[Connection]:
        return [entry for entry in self._table.values() if isinstance(entry, Connection)]

    # -- observation --------------------------------------------------------------------------

    def _on_state(self, conn: Connection, old: State, new: State) -> None:
        self.counters.on_state(conn, old, new)
        self._note_transition(conn.flow, old, new, conn.error)

    def _tell(self, flow: bytes, old: State, new: State) -> None:
        self.counters.moved(old, new)
        if self._observer is not None:
            self._note_transition(flow, old, new, None)

    def _note_transition(self, flow: bytes, old: State, new: State, error: OSError | None) -> None:
        local, remote = endpoints(flow)
        now = self._now if self._in_batch else self.clock()
        from aiotcp.transition import Transition  # few stacks are observed

        self._transitions.append(Transition(now, local, remote, old, new, error))

    def _notify(self) -> None:
        """Tell the observer, now that no connection is in the middle of something."""
        told, self._transitions = self._transitions, []
        for transition in told:
            assert self._observer is not None
            self._call_user(self._observer, transition)
