"""Two stacks, a wire of 10 ms between them, and the story of what happens.

    async with Story() as story:
        await story.serves(80, echo)
        reader, writer = await story.connects(80)
        ...
        story.reads('''
            0.000  client  > SYN seq=0 win=65535
            0.000  client  = SYN-SENT
            0.010  server  > SYN,ACK seq=0 ack=1 win=65535
            ...
            0.020  client  ! connected
        ''')

A story has three kinds of lines, and at one moment they stand in this order, the client's first:

    >   a segment that leaves: flags, relative numbers, window in bytes, bytes of text; and its fate
        if it does not arrive as it should: lost, late
    =   the state that this side of a connection enters
    !   what a program did or was told

Time is virtual and moves only while something waits. Every packet is checked (see `wirecheck`).
By default the receive buffers are 65535 bytes, so that the windows in a story have no scale.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from aiotcp.addresses import pack
from aiotcp.link.base import Receiver
from aiotcp.options import Options
from aiotcp.streams import Stack
from aiotcp.tcp.seq import unwrap
from aiotcp.transition import Transition
from aiotcp.wire import tcp
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import ACK, PSH, RST, SYN, HeaderTemplate, Segment, flags_text
from tests.support.wirecheck import Flow, check, transport

Side = Literal["client", "server"]

CLIENT, SERVER = "192.0.2.1", "192.0.2.2"
HOSTS: dict[Side, str] = {"client": CLIENT, "server": SERVER}
OTHER: dict[Side, Side] = {"client": "server", "server": "client"}

DELAY_S = 0.010
"""One way."""

PLAIN = Options(receive_buffer=65535)

_ORDER = ">=!"
_SIDES = ("forger", "client", "server")


class Line(NamedTuple):
    at: float
    side: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.at:.3f}  {self.side}  {self.kind} {self.text}"


@dataclass
class Passing:
    """A segment on the wire; numbers are relative."""

    at: float
    side: Side
    flags: int
    seq: int
    ack: int
    window: int
    payload: bytes
    packet: bytes
    ports: tuple[int, int]
    """From and to."""
    fate: str = ""

    def __str__(self) -> str:
        text = f"{flags_text(self.flags & ~PSH)} seq={self.seq}"
        if self.flags & ACK:
            text += f" ack={self.ack}"
        if not self.flags & RST:
            text += f" win={self.window}"
        if self.payload:
            text += f" len={len(self.payload)}"
        return text + (f"  ({self.fate})" if self.fate else "")


class End:
    """One end of the wire: the link of a stack."""

    mtu = 1500
    gso_max_bytes = 0
    checksum_offload = False

    def __init__(self, story: Story, side: Side) -> None:
        self.counters: dict[str, int] = {}
        self.story = story
        self.side = side
        self.far: End | None = None
        self.alive = True
        self._receiver: Receiver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arriving: dict[float, list[bytes]] = {}

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        self._receiver, self._loop = receiver, loop

    def close(self) -> None:
        self.alive = False

    def send(self, frame: Frame) -> None:
        if self.alive:
            self.story.carry(self, frame.to_bytes())

    def arrives(self, packet: bytes, delay: float) -> None:
        """Deliver it after `delay` seconds; what arrives at one moment is one batch."""
        assert self._loop is not None
        at = self._loop.time() + delay
        if at not in self._arriving:
            self._arriving[at] = []
            self._loop.call_at(at, self._deliver, at)
        self._arriving[at].append(packet)

    def _deliver(self, at: float) -> None:
        packets = self._arriving.pop(at)
        if self._receiver is None or not self.alive:
            return
        for packet in packets:
            self.story.flow(self, packet, inbound=True).received(segment_of(packet))
            self._receiver.receive(memoryview(packet))
        self._receiver.flush()


def segment_of(packet: bytes) -> Segment:
    _, offset, end = transport(packet)
    return tcp.parse(memoryview(packet), offset, end)


Rule = Callable[[Passing], str | float | None]
"""What becomes of a segment: "lost", or seconds by which it is late; None: not decided here."""


class Story:
    """See the module's text."""

    def __init__(
        self,
        *,
        client: Options = PLAIN,
        server: Options = PLAIN,
        seed: bytes = b"story",
    ) -> None:
        self.lines: list[Line] = []
        self.passed: list[Passing] = []
        self.faults: list[str] = []
        self.kept: list[asyncio.StreamWriter] = []
        self.broken = False
        """Nothing gets through in either direction."""
        self.ends: dict[Side, End] = {"client": End(self, "client"), "server": End(self, "server")}
        self._join()
        self._options: dict[Side, Options] = {"client": client, "server": server}
        self._seed = seed
        self._rules: list[list[Any]] = []
        self._bases: dict[tuple[Side, int, int], int] = {}
        self._flows: dict[tuple[Side, int, int], Flow] = {}
        self._began = 0.0
        self._gone: list[Stack] = []

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        self._began = self.loop.time()
        self.client = self._stack("client")
        self.server = self._stack("server")
        return self

    def _stack(self, side: Side) -> Stack:
        def observe(transition: Transition) -> None:
            self._write(side, "=", str(transition.new), transition.time)

        return Stack(
            self.ends[side],
            addresses=[HOSTS[side]],
            options=self._options[side],
            seed=self._seed + side.encode(),
            observer=observe,
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for end in self.ends.values():
            end.alive = False
        for stack in (*self._gone, self.client, self.server):
            await stack.aclose(grace=0)
        if exc is None:
            assert not self.faults, "\n".join(self.faults)

    def crashes(self, side: Side) -> None:
        """The host is gone, and all that it knew. Nobody is told, not even its own programs."""
        self.tell(side, "crashes")
        self.ends[side].alive = False
        self._gone.append(self.stack(side))

    def restarts(self, side: Side) -> None:
        """A host of the same address is there, and knows nothing."""
        self.tell(side, "restarts")
        self.ends[side] = End(self, side)
        self._join()
        if side == "client":
            self.client = self._stack(side)
        else:
            self.server = self._stack(side)

    def _join(self) -> None:
        self.ends["client"].far, self.ends["server"].far = self.ends["server"], self.ends["client"]

    # -- the wire -----------------------------------------------------------------------------

    def carry(self, end: End, packet: bytes) -> None:
        """A packet of a stack sets out."""
        side = end.side
        segment = segment_of(packet)
        flow = self.flow(end, packet, inbound=False)
        passing = self._passing(side, packet, flow)
        for fault in (*check(packet, end.mtu), *flow.sent(segment)):
            self.faults.append(f"{fault} in {passing}")
        if not segment.flags & SYN:
            passing.window <<= flow.shift
        delay = DELAY_S
        fate = "lost" if self.broken else self._fate(passing)
        if fate == "lost":
            passing.fate = "lost"
        elif isinstance(fate, float | int):
            passing.fate = "late"
            delay += fate
        self.passed.append(passing)
        self._write(side, ">", str(passing))
        if passing.fate != "lost" and end.far is not None:
            end.far.arrives(packet, delay)

    def _fate(self, passing: Passing) -> str | float | None:
        for entry in self._rules:
            rule, times = entry
            if times and (fate := rule(passing)) is not None:
                entry[1] -= 1
                decided: str | float = fate
                return decided
        return None

    def flow(self, end: End, packet: bytes, *, inbound: bool) -> Flow:
        """The rules that the stack at `end` has to keep in this connection."""
        _, offset, _ = transport(packet)
        first, second = packet[offset : offset + 2], packet[offset + 2 : offset + 4]
        own, other = (second, first) if inbound else (first, second)
        key = (end.side, int.from_bytes(own, "big"), int.from_bytes(other, "big"))
        return self._flows.setdefault(key, Flow(536))

    def _passing(self, side: Side, packet: bytes, flow: Flow) -> Passing:
        _, offset, _ = transport(packet)
        segment = segment_of(packet)
        own = int.from_bytes(packet[offset : offset + 2], "big")
        other = int.from_bytes(packet[offset + 2 : offset + 4], "big")
        mine, theirs = (side, own, other), (OTHER[side], other, own)
        if segment.flags & (SYN | RST) == SYN:
            self._bases[mine] = segment.seq
        base, far_base = self._bases.get(mine, 0), self._bases.get(theirs, 0)
        return Passing(
            at=self.now,
            side=side,
            flags=segment.flags,
            seq=unwrap(segment.seq, base + 2**30) - base,
            ack=unwrap(segment.ack, far_base + 2**30) - far_base if segment.flags & ACK else 0,
            window=segment.window,
            payload=bytes(segment.payload),
            packet=packet,
            ports=(own, other),
        )

    def rule(self, rule: Rule, *, times: int = 10**9) -> None:
        """Let `rule` decide about segments, so many times."""
        self._rules.append([rule, times])

    def loses(self, side: Side, flags: int, *, times: int = 1, length: int | None = None) -> None:
        """The next segments of `side` with exactly these flags (PSH aside) do not arrive."""

        def rule(passing: Passing) -> str | None:
            fits = passing.side == side and passing.flags & ~PSH == flags
            return "lost" if fits and length in (None, len(passing.payload)) else None

        self.rule(rule, times=times)

    def delays(self, side: Side, flags: int, by: float, *, length: int | None = None) -> None:
        """The next segment of `side` with exactly these flags takes `by` seconds longer."""

        def rule(passing: Passing) -> float | None:
            fits = passing.side == side and passing.flags & ~PSH == flags
            return by if fits and length in (None, len(passing.payload)) else None

        self.rule(rule, times=1)

    def forges(
        self,
        side: Side,
        ports: tuple[int, int],
        flags: int,
        *,
        seq: int,
        ack: int = 0,
        data: bytes = b"",
        window: int = 65535,
        options: bytes = b"",
    ) -> None:
        """Somebody sends a segment in the name of `side`; it arrives as all do. Numbers are
        relative where there is a connection, else those of the wire."""
        mine, theirs = (side, *ports), (OTHER[side], ports[1], ports[0])
        template = HeaderTemplate(pack(HOSTS[side]), ports[0], pack(HOSTS[OTHER[side]]), ports[1])
        packet = template.frame(
            self._bases.get(mine, 0) + seq,
            self._bases.get(theirs, 0) + ack if flags & ACK else 0,
            flags,
            window,
            options=options,
            payload=[data],
            payload_length=len(data),
            offload=False,
        ).to_bytes()
        text = f"{flags_text(flags)} seq={seq}" + (f" ack={ack}" if flags & ACK else "")
        if data:
            text += f" len={len(data)}"
        self._write("forger", ">", f"{text}  (to the {OTHER[side]})")
        self.ends[OTHER[side]].arrives(packet, DELAY_S)

    # -- telling ------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds since the story began."""
        return self.loop.time() - self._began

    def _write(self, side: str, kind: str, text: str, at: float | None = None) -> None:
        now = self.now if at is None else at - self._began
        self.lines.append(Line(round(now, 6), side, kind, text))

    def tell(self, side: str, text: str) -> None:
        """What a program did or was told."""
        self._write(side, "!", text)

    def told(self) -> list[str]:

        def place(line: Line) -> tuple[float, int, int]:
            return line.at, _ORDER.index(line.kind), _SIDES.index(line.side)

        return [str(line) for line in sorted(self.lines, key=place)]

    def reads(self, expected: str) -> None:
        """All that has happened so far, line by line."""
        wanted = [line.strip() for line in expected.strip().splitlines() if line.strip()]
        got = self.told()
        if wanted != got:
            difference = "\n".join(difflib.ndiff(wanted, got))
            raise AssertionError(f"the story is another one:\n{difference}")
        assert not self.faults, "\n".join(self.faults)

    def forget(self) -> None:
        """Go on with an empty page; the clock of the story goes on."""
        self.lines.clear()

    def states(self, side: Side) -> list[str]:
        return [line.text for line in self.lines if line.side == side and line.kind == "="]

    def segments(self, side: Side) -> list[Passing]:
        return [passing for passing in self.passed if passing.side == side]

    def stack(self, side: Side) -> Stack:
        return self.client if side == "client" else self.server

    async def until(self, at: float) -> None:
        """Let the story go on until then."""
        await asyncio.sleep(max(self._began + at - self.loop.time(), 0))
        await asyncio.sleep(1e-9)

    # -- programs -----------------------------------------------------------------------------

    async def connects(
        self, port: int = 80, *, local_port: int = 50000, limit: int = 2**16
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The client's program connects, and tells."""
        try:
            streams = await self.client.open_connection(
                SERVER, port, local_addr=(CLIENT, local_port), limit=limit
            )
        except OSError as exc:
            self.tell("client", describe_error(exc))
            raise
        self.tell("client", "connected")
        return streams

    async def serves(
        self,
        program: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any] | None = None,
        *,
        port: int = 80,
    ) -> asyncio.AbstractServer:
        """The server's program waits for clients; each connection is handed to `program`, and
        stays open if that does not close it."""

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.tell("server", "accepted")
            self.kept.append(writer)
            if program is not None:
                await program(reader, writer)

        return await self.server.start_server(accepted, SERVER, port)


def describe_error(exc: OSError) -> str:
    """As a program sees it: the exception's type."""
    return type(exc).__name__


def flags_of(passings: Iterable[Passing]) -> list[str]:
    return [flags_text(passing.flags & ~PSH) for passing in passings]
