"""One connection: the life story of RFC 9293 figure 5, and the calls of its user.

Theory of operation
-------------------
`life()` is a bare coroutine that reads as the figure does. It yields the milestones that it waits
for and is resumed by `reach`, synchronously, in the call stack of the segment, timer or call that
reached one; a reset, an abort or a timeout enters by `fail` as an exception. Nothing else may
resume it, and it waits for nothing else: it is no asyncio task.

Segments, timers and calls are plain methods that change variables (`Tcb`), in modules named after
RFC 9293 3.10: `arrival`, `output`, `timeouts`. None of them sends, except `output`, which the
owner asks once after a batch. User code never runs in here: the owner calls `user.progress()`
between input and output, and the user looks at the connection.

States that are no connection: LISTEN (`listener`), SYN-RECEIVED of a passive open until its
handshake is complete (`halfopen`), and TIME-WAIT once the last segment is sent (`timewait`). They
are small records, since strangers can make us keep many of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiotcp.errors import aborted, broken_pipe, reset
from aiotcp.reasons import Drop, Event, Why
from aiotcp.tcp import arrival, fastopen_setup, opening, output, timeouts
from aiotcp.tcp.buffers import send_room
from aiotcp.tcp.challenge import SharedLimit
from aiotcp.tcp.congestion import CongestionControl, Start
from aiotcp.tcp.flow import Endpoint
from aiotcp.tcp.memory import LEAST_SEND_BYTES, MemoryBudget
from aiotcp.tcp.pmtucache import PathMtuCache
from aiotcp.tcp.reassembly import NOTHING_HELD
from aiotcp.tcp.scoreboard import NOTHING_IN_FLIGHT
from aiotcp.tcp.sendbuffer import Buffer
from aiotcp.tcp.tcb import Milestone, Path, State, Tcb
from aiotcp.tcp.tuning import tune
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import HeaderTemplate, Segment

if TYPE_CHECKING:
    from aiotcp.tcp.halfopen import HalfOpen
    from aiotcp.tcp.icmp import IcmpNews
    from aiotcp.tcp.listener import Listener
    from aiotcp.tcp.opening import Offer
    from aiotcp.tcp.terms import Terms

# Figure 5 speaks of these. Looked up once: a member of an enumeration costs as much as a call.
_CLOSED: Final = State.CLOSED
_SYN_SENT: Final = State.SYN_SENT
_SYN_RECEIVED: Final = State.SYN_RECEIVED
_ESTABLISHED: Final = State.ESTABLISHED
_CLOSE_WAIT: Final = State.CLOSE_WAIT
_LAST_ACK: Final = State.LAST_ACK
_FIN_WAIT_1: Final = State.FIN_WAIT_1
_FIN_WAIT_2: Final = State.FIN_WAIT_2
_CLOSING: Final = State.CLOSING
_TIME_WAIT: Final = State.TIME_WAIT
_SYN_CROSSED: Final = Milestone.SYN_CROSSED
_SYNCHRONIZED: Final = Milestone.SYNCHRONIZED
_WE_CLOSE: Final = Milestone.WE_CLOSE
_THEY_CLOSE: Final = Milestone.THEY_CLOSE
_FIN_ACKED: Final = Milestone.FIN_ACKED

_SMALL_BYTES: Final = 1024
"""Received chunks below this size are joined with what follows."""

__all__ = ["Connection", "Endpoint", "Milestone", "Path", "State", "User"]


class User(Protocol):
    """Who reads and writes a connection."""

    def progress(self) -> None:
        """Something changed: look at the connection. Called by its owner, outside the engine."""

    def close(self) -> None:
        """The owner is closing: close the connection once everything is written."""


class Connection(Tcb):
    """A connection from its first SYN or its completed handshake to its end.

    Every method only changes state. Whoever calls one asks `output` afterwards.
    """

    __slots__ = (
        "_awaited",
        "_life",
        "_reached",
        "accounted",
        "armed_at",
        "ended",
        "error",
        "established",
        "events",
        "farewell",
        "memory",
        "on_state",
        "opened_at",
        "orphan_until",
        "random",
        "stray_resets",
        "touched",
        "transmit",
        "user",
    )

    def __init__(
        self,
        flow: bytes,
        terms: Terms,
        template: HeaderTemplate,
        iss: int,
        ts_offset: int,
        now: float,
        random: Callable[[], float],
        paths: PathMtuCache,
        transmit: Callable[[Frame], None],
        memory: MemoryBudget,
        events: Counter[Event],
        challenges: SharedLimit | None = None,
    ) -> None:
        # Not by `super()`, which is an object of its own; nor is anything that each connection
        # makes called with keywords: a class that is takes 0.1 us for each of them.
        Tcb.__init__(self, flow, terms, template, paths, challenges, iss, ts_offset, now)
        self.random = random
        """Evenly distributed over [0, 1)."""
        self.transmit = transmit
        """Takes each frame that `output` makes, perhaps before its effects are noted here: it must
        not call the connection."""
        self.memory = memory
        """The stack's."""
        self.events = events
        """The stack's."""
        self.accounted = 0
        """What it knows of us."""
        self.user: User | None = None
        self.on_state: Callable[[Connection, State, State], None] | None = None
        """Told of every transition, with the old state and the new one."""
        self.opened_at = now
        self.established = False
        """Whether the handshake was ever completed."""
        self.ended = False
        """CLOSED or TIME-WAIT: no segment, timer or call changes anything any more."""
        self.error: OSError | None = None
        """Why it ended, if not by closing on both sides."""
        self.farewell: Why | None = None
        """A RST to send, and for what."""
        self.stray_resets: tuple[int, ...] = ()
        self.orphan_until = math.inf
        """When an orphan gives up waiting for the peer's FIN (ST-29)."""
        # The owner's marks: where its timer queue stands, and whether this batch touched us.
        self.armed_at = math.inf
        self.touched = False

        self._reached: tuple[Milestone, ...] = ()
        self._awaited: tuple[Milestone, ...] = ()
        self._life: Generator[tuple[Milestone, ...], Milestone, None] | None = None

    def __repr__(self) -> str:
        return (
            f"<Connection {self.state} {self.local} -> {self.remote}"
            f" una={self.snd_una - self.iss} nxt={self.snd_nxt - self.iss}"
            f" rcv={self.rcv_nxt - self.irs} cwnd={self.cc.cwnd} wnd={self.snd_wnd}>"
        )

    # -- the life ---------------------------------------------------------------------------

    def life(self) -> Generator[tuple[Milestone, ...], Milestone, None]:
        """RFC 9293 figure 5, from the first SYN on. What is yielded is awaited: the first of these
        that is reached, or was; the order breaks a tie."""
        if self.state is _SYN_SENT:
            reached = yield _SYNCHRONIZED, _SYN_CROSSED
            if reached is _SYN_CROSSED:
                self._enter(_SYN_RECEIVED)
        if self.state is _SYN_RECEIVED and not self.established:
            yield (_SYNCHRONIZED,)

        self.established = True
        self._enter(_ESTABLISHED)
        reached = yield _WE_CLOSE, _THEY_CLOSE
        if reached is _THEY_CLOSE:
            self._enter(_CLOSE_WAIT)  # passive close
            yield (_WE_CLOSE,)
            self._enter(_LAST_ACK)
            yield (_FIN_ACKED,)
            self._enter(_CLOSED)
            return

        self._enter(_FIN_WAIT_1)  # active close
        reached = yield _FIN_ACKED, _THEY_CLOSE
        if reached is _FIN_ACKED:
            self._enter(_FIN_WAIT_2)
            yield (_THEY_CLOSE,)
        else:
            self._enter(_CLOSING)  # simultaneous close
            yield (_FIN_ACKED,)
        self._enter(_TIME_WAIT)  # 2MSL is spent as a small record: see timewait

    def begin(self) -> None:
        """The life begins, in the state in which the connection is opened."""
        self._life = self.life()
        self._awaited = next(self._life)

    def reach(self, milestone: Milestone) -> None:
        """Something the life waits for, now or later, has happened."""
        life = self._life
        if life is None:
            return
        if milestone not in self._awaited:
            self._reached += (milestone,)
            return
        try:
            self._awaited = life.send(milestone)
            if self._reached:
                while before := [each for each in self._awaited if each in self._reached]:
                    self._awaited = life.send(before[0])
        except StopIteration:
            self._end(None)

    def fail(self, exc: OSError) -> None:
        """End the life by `exc`: a reset, an abort, a timeout."""
        if self._life is None:
            return
        try:
            self._life.throw(exc)
        except OSError as raised:
            # Its traceback would hold our frames, and so us; and the packet that brought it.
            self.error = raised.with_traceback(None)  # for those who are told of the transition
            self._enter(_CLOSED)
            self._end(raised)

    def terminate(self, why: Why, exc: OSError) -> None:
        """End the life by `exc` and tell the peer with a RST, except in SYN-SENT, where there is
        nobody to tell (ST-24)."""
        if self.state is not _SYN_SENT:
            self.farewell = why
        self.fail(exc)

    def delete(self) -> None:
        """CLOSED at once, and no error: both sides had closed."""
        if self._life is not None:
            self._life.close()
            self._enter(_CLOSED)
            self._end(None)

    def _end(self, error: OSError | None) -> None:
        self._life = None
        self.ended = True
        self.error = error
        self.rexmt_at = self.tlp_at = self.reo_at = self.pace_at = self.orphan_until = math.inf
        self.sending.end_here()
        self.scoreboard = NOTHING_IN_FLIGHT
        self.reassembly = NOTHING_HELD

    def _enter(self, state: State) -> None:
        before, self.state = self.state, state
        self.calm = False
        on_state = self.on_state
        if on_state is not None:
            on_state(self, before, state)

    # -- opening ----------------------------------------------------------------------------

    def open_active(self) -> None:
        """OPEN, active (RFC 9293 3.10.1): the SYN leaves with the next output."""
        mss = self.path.mss
        self.cc = CongestionControl(Start(mss, mss, mss, self.opened_at, None, self.random))
        self._enter(_SYN_SENT)
        self.begin()

    def open_passive(self, entry: HalfOpen, now: float) -> None:
        """The half-open `entry` got the segment that completes its handshake: `opening.complete`
        follows, or `begin` and `arrive`."""
        self.snd_nxt = self.snd_max = self.iss + 1
        self.syn_sent_at = entry.sent_at
        self.retransmissions = int(entry.repeated)
        opening.settle(self, entry.offer, entry.irs, now, entry.terms)
        self.state = _SYN_RECEIVED

    def open_fast(self, listener: Listener, offer: Offer, segment: Segment, now: float) -> None:
        """A SYN brought a valid cookie (RFC 7413): its user need not wait for the handshake."""
        opening.settle(self, offer, segment.seq, now)
        fastopen_setup.accept(self, listener, offer, segment)
        self.state = _SYN_RECEIVED
        self.begin()

    @property
    def opens_early(self) -> bool:
        """In SYN-SENT, and its user may read and write all the same: Fast Open (RFC 7413)."""
        return fastopen_setup.opens_early(self)

    # -- the owner's calls ------------------------------------------------------------------

    def arrive(self, segment: Segment, now: float) -> Drop | None:
        """SEGMENT ARRIVES: the name under which it was discarded, or None."""
        self.calm = self.parting = False
        return arrival.arrive(self, segment, now)

    def on_icmp(self, news: IcmpNews, now: float) -> Drop | None:
        """An ICMP error about a packet of ours (RFC 5927)."""
        from aiotcp.tcp.icmp import on_icmp

        self.calm = self.parting = False
        return on_icmp(self, news, now)

    def output(self, now: float) -> None:
        """Send what should go out now, through `transmit`."""
        output.output(self, now)

    def next_deadline(self) -> float:
        return timeouts.next_deadline(self)

    def expire(self, now: float) -> None:
        self.calm = self.parting = False
        timeouts.expire(self, now)

    def settle_batch(self) -> int:
        """The batch is over: what of it the user did not take, so many bytes, must leave the link's
        memory.

        It is joined, so that a peer that sends single bytes does not make each cost an object.
        """
        received = self.received
        fresh = [received.pop() for _ in range(min(self.unsettled, len(received)))]
        self.unsettled = 0
        kept = 0
        if fresh:
            kept = sum(map(len, fresh))
            if received and len(received[-1]) < _SMALL_BYTES:
                fresh.append(received.pop())
            fresh.reverse()
            received.append(b"".join(fresh))
        return kept

    def answer_with_reset(self, seq: int) -> None:
        """`<SEQ=SEG.ACK><CTL=RST>`, while this connection goes on."""
        if len(self.stray_resets) < 4:
            self.stray_resets += (seq,)

    def refuse_data(self) -> None:
        """Data for a user who is gone (SHLD-3)."""
        self.terminate(Why.RST_DATA_AFTER_CLOSE, reset())

    # -- the user's calls -------------------------------------------------------------------

    @property
    def readable(self) -> int:
        """Bytes that wait to be taken."""
        return self.received_bytes

    @property
    def eof(self) -> bool:
        """The peer's FIN was reached and everything before it was taken."""
        return self.fin_reached and not self.received_bytes

    @property
    def held_bytes(self) -> int:
        """What is kept for the user and for the peer, for `MemoryBudget`."""
        if self.ended:
            return 0
        sending = self.sending
        return self.received_bytes + self.reassembly.cost + sending.end - sending.start

    @property
    def send_space(self) -> int:
        """Bytes that `send` would accept."""
        if self.ended or self.fin_seq is not None:
            return 0
        return send_room(self)

    @property
    def unacked(self) -> int:
        """Bytes sent and not yet acknowledged."""
        return min(self.snd_nxt, self.sending.end) - self.sending.start

    @property
    def _taken(self) -> int:
        """Sequence number of the next byte that the user gets; a FIN is not one."""
        return self.rcv_nxt - self.fin_reached - self.received_bytes

    @property
    def urgent_remaining(self) -> int:
        """Bytes up to the end of the peer's urgent data; 0 if there is none ahead (MUST-33)."""
        return 0 if self.rcv_up is None else max(self.rcv_up - self._taken, 0)

    def send(self, data: Buffer, *, urgent: bool = False) -> int:
        """SEND (RFC 9293 3.10.2): how many bytes of `data` were accepted, as send(2) does.

        Views are kept until they are acknowledged, so the caller must not change them. With
        `urgent` the urgent pointer marks the end of what was accepted (RFC 6093: new programs
        should not). Raises BrokenPipeError after `shutdown`, and the connection's own error,
        or BrokenPipeError, once it has ended.
        """
        if self.ended or self.fin_seq is not None:
            raise self.error or broken_pipe()
        view = memoryview(data)
        accepted = min(view.nbytes, self.send_space)
        if accepted:
            sending = self.sending
            sending.append(view if accepted == view.nbytes else view.cast("B")[:accepted])
            if sending.end - sending.start - self.accounted > LEAST_SEND_BYTES:
                held = self.held_bytes  # before others write in the same batch
                self.memory.account(held - self.accounted)
                self.accounted = held
            if urgent:
                self.snd_up = sending.end
                self.calm = self.parting = False
        return accepted

    def take(self, limit: int | None = None) -> list[Buffer]:
        """RECEIVE (3.10.3): up to `limit` bytes, in order; what opens the receive window.

        The views are good until the batch is over: copy or join them at once.
        """
        received = self.received
        if limit is None or limit >= self.received_bytes:
            chunks = received
            self.received = []
            self.received_bytes = self.unsettled = 0
        else:
            chunks = []
            self.received_bytes -= limit
            while limit > 0:
                chunk = received[0]
                if len(chunk) > limit:
                    received[0] = chunk[limit:]
                    chunk = chunk[:limit]
                else:
                    del received[0]
                chunks.append(chunk)
                limit -= len(chunk)
        if self.rcv_up is not None and self._taken >= self.rcv_up:
            self.rcv_up = None
        return chunks

    def configure(self, **changes: Any) -> None:
        """Change options while the connection lives (see `tuning`). Raises as `Options`."""
        self.calm = self.parting = False
        tune(self, changes)

    def set_cork(self, corked: bool) -> None:
        """TCP_CORK: hold back what does not fill a segment, up to 200 ms."""
        self.calm = self.parting = False
        if not corked:
            self.cork = None
        elif self.cork is None:
            from aiotcp.tcp.cork import Cork  # seldom asked for

            self.cork = Cork()

    def shutdown(self) -> None:
        """CLOSE (3.10.4) in the sense of a half-close: FIN after what is queued."""
        if self.fin_seq is not None or self.ended:
            return
        if self.state is _SYN_SENT and not self.opens_early:
            # "Delete the TCB and return "error: closing" responses to any queued SENDs"
            self.fail(aborted())
            return
        calm = self.calm
        self.fin_seq = self.sending.finish()
        self.reach(_WE_CLOSE)
        self.parting = calm

    def close(self) -> None:
        """As close(2): nothing more is sent or read. RST if unread bytes wait (SHLD-3), else FIN;
        the connection goes on alone until TIME-WAIT or CLOSED."""
        self.closed_by_user = True
        self.user = None
        if self.ended:
            return
        if self.received_bytes:
            self.received.clear()
            self.received_bytes = 0
            self.terminate(Why.RST_UNREAD_DATA, aborted())
            return
        self.shutdown()

    def abort(self, *, discarded: bool = False) -> None:
        """ABORT (3.10.5). RST if anything is discarded by it; otherwise as `close`.

        `discarded`: the caller throws away data of its own. In SYN-SENT there is nobody to tell.
        """
        if self.ended:
            self.close()
            return
        if self.state is _SYN_SENT:
            self.fast_open = None
        elif discarded or self.received_bytes or self.reassembly or len(self.sending):
            self.closed_by_user = True
            self.user = None
            self.received.clear()
            self.received_bytes = 0
            self.terminate(Why.RST_ABORT, aborted())
            return
        self.close()
