"""A stack that has something in every state, and packets made to measure for it.

    crowd = Crowd()                     # in a running loop
    crowd.receive(crowd.packet("ESTABLISHED", ACK, seq=5, ...))
    crowd.flush()
    crowd.check_life()                  # the connection that nobody attacks still works

One remote host has a port for each state. Sequence numbers are relative to what the stack expects
next (`seq`) and has not been acknowledged yet (`ack`), so that 0 and 0 always fit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiotcp.addresses import pack
from aiotcp.link.base import Receiver
from aiotcp.options import Options
from aiotcp.stack import Connection, Endpoint, PacketStack, State
from aiotcp.wire import tcp
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import ACK, FIN, PSH, SYN, HeaderTemplate, Segment

STACK, REMOTE = "192.0.2.2", "192.0.2.1"
STACK_V6 = "2001:db8::2"
LISTENING, CLOSED_PORT = 80, 81

STATES = (
    *("SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT"),
    *("CLOSING", "LAST-ACK", "TIME-WAIT", "SYN-SENT"),
)


class Sink:
    """A link that keeps what is sent until it is taken."""

    mtu = 1500
    gso_max_bytes = 0
    checksum_offload = False

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.frames: list[Frame] = []
        self.receiver: Receiver | None = None

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        self.receiver = receiver

    def send(self, frame: Frame) -> None:
        self.frames.append(frame)

    def close(self) -> None:
        self.receiver = None

    def take(self) -> list[Segment]:
        packets = [frame.to_bytes() for frame in self.frames]
        self.frames.clear()
        return [tcp.parse(memoryview(p), 20, len(p)) for p in packets if p[9] == tcp.PROTOCOL]


class Reader:
    """Takes what arrives."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.received = 0
        connection.user = self

    def progress(self) -> None:
        if self.connection.readable:
            self.received += sum(map(len, self.connection.take()))

    def close(self) -> None:
        self.connection.close()


@dataclass
class Caller:
    """One port of the remote host."""

    port: int
    timestamps: bool
    stack_port: int = LISTENING
    seq: int = 5_000_000
    """What the stack expects next."""
    ack: int = 0
    """What the stack has sent and not heard of."""
    tsval: int = 9_000_000
    tsecr: int = 0
    reader: Reader | None = None
    template: HeaderTemplate = field(init=False)

    def __post_init__(self) -> None:
        self.use(self.stack_port)

    def use(self, stack_port: int) -> None:
        self.stack_port = stack_port
        self.template = HeaderTemplate(pack(REMOTE), self.port, pack(STACK), stack_port)

    def packet(
        self,
        flags: int,
        *,
        seq: int = 0,
        ack: int = 0,
        window: int = 60_000,
        payload: bytes = b"",
        options: bytes | None = None,
        urgent: int = 0,
        tsval: int = 0,
    ) -> bytes:
        """`seq`, `ack` and `tsval` as the module's text says."""
        if options is None:
            stamps = (self.tsval + tsval, self.tsecr) if self.timestamps else None
            options = tcp.pack_options(timestamps=stamps)
        return self.template.frame(
            self.seq + seq,
            self.ack + ack,
            flags,
            window,
            options=options,
            payload=(payload,),
            payload_length=len(payload),
            urgent=urgent,
            offload=False,
        ).to_bytes()


class Crowd:
    """See the module's text. `timestamps`: negotiated by all connections. `receive_buffer`: bytes,
    of each."""

    def __init__(
        self,
        *,
        timestamps: bool = True,
        states: Sequence[str] = STATES,
        receive_buffer: int = 60_000,
    ) -> None:
        self.link = Sink()
        self._given = 0  # packets so far
        self.stack = PacketStack(
            self.link,
            addresses=[STACK, STACK_V6],
            options=Options(receive_buffer=receive_buffer, max_time_wait=20),
            seed=b"crowd",
        )
        self.accepted: list[Connection] = []
        self.stack.listen(Endpoint(STACK, LISTENING), self.accepted.append, backlog=5)
        self.callers = {
            state: Caller(1000 + index, timestamps) for index, state in enumerate(states)
        }
        self.life = Caller(999, timestamps)
        """The connection that is left in peace."""
        self._establish(self.life)
        for state in states:
            self._bring_to(state, self.callers[state])
        shown = [row.state for row in self.stack.connections()]
        assert sorted(shown) == sorted((*states, "ESTABLISHED"))

    # -- making of ------------------------------------------------------------------------------

    def _bring_to(self, state: str, caller: Caller) -> None:
        if state == "SYN-SENT":
            connection = self.stack.connect(Endpoint(REMOTE, caller.port))
            caller.reader = Reader(connection)
            caller.use(connection.local.port)
            (syn,) = self.link.take()
            caller.ack, caller.tsecr = syn.seq, syn.tsval or 0
            return
        if state == "SYN-RECEIVED":
            self._call(caller)
            return
        connection = self._establish(caller)
        if state == "ESTABLISHED":
            connection.send(bytes(2000))  # in flight
            self.stack.push(connection)
            self._deliver(caller.packet(ACK, seq=500, payload=bytes(100)))  # ahead of its turn
        if state in ("CLOSE-WAIT", "LAST-ACK"):
            self._deliver(caller.packet(FIN | ACK))
            caller.seq += 1
        if state not in ("ESTABLISHED", "CLOSE-WAIT"):
            connection.shutdown()
            self.stack.push(connection)
        if state in ("FIN-WAIT-2", "TIME-WAIT"):
            self._deliver(caller.packet(ACK, ack=1))
            caller.ack += 1
        if state in ("CLOSING", "TIME-WAIT"):
            self._deliver(caller.packet(FIN | ACK))
            caller.seq += 1
        assert connection.state is State(state)
        self.link.take()

    def _call(self, caller: Caller) -> None:
        options = tcp.pack_options(
            mss=1460,
            wscale=2,
            sack_permitted=True,
            timestamps=(caller.tsval, 0) if caller.timestamps else None,
        )
        self._deliver(caller.packet(SYN, options=options))
        (answer,) = self.link.take()
        caller.seq += 1
        caller.ack, caller.tsecr = answer.seq + 1, answer.tsval or 0

    def _establish(self, caller: Caller) -> Connection:
        self._call(caller)
        self._deliver(caller.packet(ACK))
        connection = self.accepted.pop()
        caller.reader = Reader(connection)
        return connection

    def _deliver(self, packet: bytes) -> None:
        assert self.receive(packet) == 0
        self.flush()

    # -- packets in -------------------------------------------------------------------------------

    def receive(self, packet: bytes, *, vouched: bool = False) -> int:
        """One packet of a batch; how many drops it counted as, which is 0 or 1."""
        counters = self.stack.counters
        before = sum(counters.dropped.values())
        # The link overwrites its memory after the batch, and so do we.
        self.stack.receive(memoryview(bytearray(packet)), vouched)
        self._given += 1
        drops = sum(counters.dropped.values()) - before
        assert drops in (0, 1)
        return drops

    def flush(self) -> None:
        self.stack.flush()
        assert self.stack.counters.packets_received == self._given  # trains count at their end

    def check_life(self) -> None:
        """Bytes go both ways on the connection that was left in peace."""
        caller, now = self.life, int(self.stack.loop.time() * 1000)
        reader = caller.reader
        assert reader is not None
        assert reader.connection.state is State.ESTABLISHED
        self.link.take()
        before = reader.received
        self._deliver(caller.packet(ACK | PSH, payload=b"alive?", tsval=now))
        caller.seq += 6
        assert reader.received == before + 6
        assert reader.connection.send(b"yes") == 3
        self.stack.push(reader.connection)
        mine = [segment for segment in self.link.take() if bytes(segment.payload) == b"yes"]
        assert [segment.seq for segment in mine] == [caller.ack & 0xFFFF_FFFF]
        caller.ack += 3
        self._deliver(caller.packet(ACK, tsval=now))
        assert reader.connection.unacked == 0

    async def aclose(self) -> None:
        await self.stack.aclose(grace=0)
