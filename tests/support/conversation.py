"""A scripted peer: the test is the other end of the stack's link, and says what goes over it.

    async with Peer() as peer:
        app = await peer.connects(port=80)          # the peer opens, the stack listens
        peer.sends(ACK, data=b"hello")              # seq and ack follow by themselves
        await peer.sees(ACK, ack=6, within=0.5)     # exactly this segment, and next
        assert app.received == b"hello"
        app.shutdown()
        await peer.sees(FIN | ACK, seq=1, ack=6)
        await peer.sees_nothing(for_s=0.1)          # the end of the block asserts it as well

Numbers are relative: a side's SYN is 0, its first byte 1 (as captures show them). Windows are in
bytes. Time is virtual and moves only in `wait`, `sees(within=, after=)` and `sees_nothing(for_s=)`;
everything else happens at one moment. Every packet of the stack is checked (see `wirecheck`), and
all must be seen: an unexpected one fails the test, with a transcript of the conversation.

`Peer` is one end of one connection. `peer.another(...)` is one more on the same link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self, Unpack

from aiotcp.addresses import pack
from aiotcp.info import ConnectionInfo
from aiotcp.options import Options
from aiotcp.stack import Connection, Endpoint, Listener
from aiotcp.streams import Stack
from aiotcp.tcp.seq import unwrap
from aiotcp.transition import Transition
from aiotcp.wire import icmp, tcp
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN, HeaderTemplate, Segment, flags_text
from tests.support.app import App
from tests.support.wire import AUTO, Auto, Fields, Seen, Wire, describe
from tests.support.wirecheck import (
    Flow,
    codepoint,
    options_of,
    readable,
    transport,
    with_checksum,
)

__all__ = ["App", "Fields", "Peer", "Seen", "describe", "with_checksum"]

STACK_V4, STACK_V6 = "192.0.2.2", "fd61:696f:7463:70::2"
PEER_V4, PEER_V6 = "192.0.2.1", "fd61:696f:7463:70::1"

ISN_TICKS_PER_S = 250_000


class Peer:
    """One end of one connection, played by the test; see the module's text.

    Attributes that a test may set at any time:

    seq, ack    what the next segment carries that is not told otherwise. `seq` moves on with each
                segment sent without `seq=`, `ack` with the segments seen in order
    window      bytes, offered by default
    """

    def __init__(
        self,
        *,
        iss: int = 1000,
        stack_iss: int | None = None,
        port: int = 50000,
        ipv6: bool = False,
        mtu: int = 1500,
        offload: bool = False,
        options: Options | None = None,
        addresses: Sequence[str] = (STACK_V4, STACK_V6),
        seed: bytes = b"conversation",
        host: str | None = None,
        link: Wire | None = None,
    ) -> None:
        """`iss`: of this peer, on the wire. `stack_iss`: what the stack is to begin with, to
        within a few; brought about by waiting for its clock (hours, virtually). `options`: of the
        stack. `offload`: the link takes segments of up to 64 KiB; the peer sees them cut."""
        self.iss = iss
        self.stack_iss = stack_iss
        self.port = port
        self.host = host or (PEER_V6 if ipv6 else PEER_V4)
        self.stack_host = next(a for a in addresses if (":" in a) == (":" in self.host))
        self.stack_port = 80
        self.wire = link or Wire(mtu, offload)
        self.wire.ends.append(self)
        self.transitions: list[Transition] = []
        self._addresses = addresses
        self._options = options
        self._seed = seed
        self._default_mss = 1220 if ":" in self.host else 536
        self.stack: Stack = None  # type: ignore[assignment]  # made on entry, in the loop
        self.reset()

    def reset(self) -> None:
        """Forget the connection: numbers start again, what was not seen yet is lost."""
        self.irs: int | None = None
        self.seq = 0
        self.ack = 0
        self.window = 65535
        self.timestamps = False
        self.tsval_offset = 7_000_000
        self.flow = Flow(self._default_mss)
        self._last_tsval = 0
        self._first_transition = len(self.transitions)
        self.unseen: list[Seen] = []

    async def __aenter__(self) -> Self:
        self.stack = Stack(
            self.wire,
            addresses=self._addresses,
            options=self._options,
            seed=self._seed,
            observer=self.transitions.append,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc is None:
                await self.sees_nothing()
        finally:
            self.wire.close()
            await self.stack.aclose(grace=0)

    def another(
        self, *, iss: int = 5000, port: int = 50001, host: str | None = None, ipv6: bool = False
    ) -> Peer:
        """One more end on the same link, for another connection. It is not entered or left."""
        host = host or (PEER_V6 if ipv6 else PEER_V4)
        addresses = self._addresses
        other = Peer(iss=iss, port=port, host=host, addresses=addresses, link=self.wire)
        other.stack, other.transitions = self.stack, self.transitions
        return other

    # -- what the stack sends ---------------------------------------------------------------

    def is_addressed_by(self, packet: bytes) -> bool:
        protocol, offset, _ = transport(packet)
        port = int.from_bytes(packet[offset + 2 : offset + 4], "big")
        target = packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]
        return protocol == tcp.PROTOCOL and port == self.port and target == pack(self.host)

    def take(self, packet: bytes, why: str) -> tuple[Seen, list[str]]:
        """A packet of the stack for this peer: what it is, and what is wrong with it."""
        _, offset, end = transport(packet)
        segment = tcp.parse(memoryview(packet), offset, end)
        segment.ecn = codepoint(packet)
        faults = list(self.flow.sent(segment))
        options = options_of(packet, offset)
        if len(segment.payload) + len(options) * bool(segment.payload) > self.flow.largest():
            faults.append(f"{len(segment.payload)} bytes: more than the peer's MSS (MUST-16)")
        self.stack_port = int.from_bytes(packet[offset : offset + 2], "big")
        if segment.flags & (SYN | RST) == SYN:
            self.irs = segment.seq
        if segment.tsval is not None:
            self._last_tsval = segment.tsval
        self.timestamps = self.flow.timestamps
        seen = self._relative(segment, packet, options, why)
        self.unseen.append(seen)
        return seen, faults

    def _relative(self, segment: Segment, packet: bytes, options: bytes, why: str) -> Seen:
        irs = self.irs or 0
        flags = segment.flags
        return Seen(
            at=self.now,
            flags=flags,
            seq=unwrap(segment.seq, irs + self.ack) - irs,
            ack=unwrap(segment.ack, self.iss + self.seq) - self.iss if flags & ACK else 0,
            window=segment.window << (0 if flags & SYN else self.flow.shift),
            payload=bytes(segment.payload),
            sack=tuple(
                (unwrap(left, self.iss + self.seq) - self.iss,
                 unwrap(right, self.iss + self.seq) - self.iss)
                for left, right in segment.sack
            ),
            why=why,
            segment=segment,
            options=options,
            packet=packet,
        )  # fmt: skip

    async def sees(
        self,
        flags: int,
        *,
        seq: int | None = None,
        ack: int | None = None,
        data: bytes | None = None,
        length: int | None = 0,
        window: int | None = None,
        sack: Sequence[tuple[int, int]] | None = None,
        why: str | None = None,
        within: float = 0,
        after: float | None = None,
    ) -> Seen:
        """The next segment of the stack is this one.

        flags: exactly; PSH counts only if it is asked for. length: of the payload, by default none;
        None means any, `data` says it itself. within: seconds that it may take, by default none
        at all. after: seconds that it takes, to the millisecond. What is None is not looked at.
        """
        began = self.now
        wanted = flags_text(flags)
        seen = await self._next(after + 0.001 if after is not None else within)
        if seen is None:
            raise self.wire.fail(f"expected {wanted}, nothing was sent")
        expected: dict[str, tuple[object, object]] = {
            "flags": (wanted, flags_text(seen.flags & ~(PSH & ~flags)))
        }
        if seq is not None:
            expected["seq"] = (seq, seen.seq)
        if ack is not None:
            expected["ack"] = (ack, seen.ack)
        if data is not None:
            expected["data"] = (data, seen.payload)
        elif length is not None:
            expected["length"] = (length, len(seen.payload))
        if window is not None:
            expected["window"] = (window, seen.window)
        if sack is not None:
            expected["sack"] = (tuple(sack), seen.sack)
        if why is not None:
            expected["why"] = (why, seen.why)
        if after is not None and abs(seen.at - began - after) > 0.001:
            expected["after"] = (after, seen.at - began)
        wrong = [f"{k} {want!r}, not {got!r}" for k, (want, got) in expected.items() if want != got]
        if wrong:
            raise self.wire.fail(f"expected {', '.join(wrong)} in {describe(seen)}")
        if seen.seq <= self.ack < seen.end or seen.flags & SYN:
            self.ack = seen.end
        return seen

    async def _next(self, patience: float) -> Seen | None:
        wire = self.wire
        deadline = self.now + patience
        if not self.unseen:
            await wire.settle()
        while not self.unseen and self.now < deadline:
            wire.news.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await wire.news.wait()
            except TimeoutError:
                break
        wire.verify()
        return self.unseen.pop(0) if self.unseen else None

    async def sees_all(self) -> list[Seen]:
        """All that was sent and not seen yet, any number of segments."""
        await self.wire.settle()
        seen, self.unseen = self.unseen, []
        for each in seen:
            if each.seq <= self.ack < each.end or each.flags & SYN:
                self.ack = each.end
        return seen

    async def sees_nothing(self, for_s: float = 0) -> None:
        """Nothing was sent on the whole link that was not seen, and nothing is for `for_s`."""
        if for_s:
            await asyncio.sleep(for_s)
        await self.wire.settle()
        if self.wire.others:
            raise self.wire.fail("packets were sent to nobody here")
        for end in self.wire.ends:
            if end.unseen:
                raise self.wire.fail(f"expected nothing, sent was {describe(end.unseen[0])}")

    # -- what the peer sends ----------------------------------------------------------------

    def packet(self, flags: int, **fields: Unpack[Fields]) -> bytes:
        """The packet that `sends` would send."""
        irs = self.irs or 0
        data = fields.get("data", b"")
        seq = fields.get("seq")
        if seq is None:
            seq = self.seq
            self.seq += len(data) + bool(flags & SYN) + bool(flags & FIN)
        ts = fields.get("ts", AUTO)
        if isinstance(ts, Auto):
            ts = (self.tsval, self._last_tsval if flags & ACK else 0) if self.timestamps else None
        options = fields.get("options")
        if options is None:
            options = tcp.pack_options(
                mss=fields.get("mss"),
                wscale=fields.get("wscale"),
                sack_permitted=fields.get("sack_permitted", False),
                timestamps=ts,
                sack=[(irs + left, irs + right) for left, right in fields.get("sack", ())],
                fast_open=fields.get("fast_open"),
            )
        window = fields.get("window", self.window)
        if not flags & SYN:
            window >>= self.flow.peer_shift
        template = HeaderTemplate(
            pack(self.host),
            self.port,
            pack(self.stack_host),
            self.stack_port,
            traffic_class=fields.get("ecn", 0),
        )
        return template.frame(
            self.iss + seq,
            irs + fields.get("ack", self.ack) if flags & ACK else 0,
            flags,
            min(window, 0xFFFF),
            options=options,
            payload=[data],
            payload_length=len(data),
            urgent=fields.get("urgent", 0),
            offload=False,
        ).to_bytes()

    def wire_number(self, relative: int) -> int:
        """A number of the stack's as it is on the wire."""
        return (self.irs or 0) + relative & 0xFFFF_FFFF

    @property
    def tsval(self) -> int:
        """The peer's timestamp clock: milliseconds."""
        return int(self.now * 1000) + self.tsval_offset & 0xFFFF_FFFF

    def sends(self, flags: int, *, gso_size: int = 0, **fields: Unpack[Fields]) -> None:
        """Send a segment; the stack has dealt with it on return, unless in a `batch`.

        `gso_size`: as a link with offload delivers many segments in one.
        """
        self.injects(self.packet(flags, **fields), vouched=gso_size > 0, gso_size=gso_size)

    def injects(self, packet: bytes, *, vouched: bool = False, gso_size: int = 0) -> None:
        """Send any bytes at all, such as a `packet` that was changed."""
        line = packet.hex()
        segment = readable(packet)
        if segment is not None:
            self.flow.received(segment)
            self.timestamps = self.flow.timestamps
            irs = self.irs or 0
            segment.seq = unwrap(segment.seq, self.iss + self.seq) - self.iss
            segment.ack = unwrap(segment.ack, irs + self.ack) - irs
            line = repr(segment)
        self.wire.deliver(packet, f"{self.port} > stack: {line}", vouched, gso_size)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """What is sent in this block arrives as one batch: all packets, then one flush."""
        self.wire.holding = True
        try:
            yield
        finally:
            self.wire.holding = False
            self.wire.flush()

    def reports(
        self, type_: int, code: int, about: Seen | bytes, *, mtu: int = 0, router: str | None = None
    ) -> None:
        """An ICMP error (or an ICMPv6 one, as the family is) about a packet of the stack."""
        packet = about.packet if isinstance(about, Seen) else about
        source = pack(router) if router else None
        frame = icmp.error(packet, type_, code, source=source, parameter=mtu)
        line = f"{router or self.host} > stack: ICMP type {type_} code {code} mtu {mtu}"
        self.wire.deliver(frame.to_bytes(), line)

    # -- handshakes and the program -----------------------------------------------------------

    def listens(
        self, port: int = 80, *, options: Options | None = None, backlog: int = 100
    ) -> tuple[Listener, list[App]]:
        """Let the stack listen; accepted connections are appended to the list."""
        self.stack_port = port
        accepted: list[App] = []

        def accept(conn: Connection) -> None:
            app = App(self.stack)
            app.conn, conn.user = conn, app
            accepted.append(app)

        local = Endpoint(self.stack_host, port)
        return self.stack.listen(local, accept, options=options, backlog=backlog), accepted

    def opens(
        self, *, local_port: int = 40000, options: Options | None = None, reading: bool = True
    ) -> App:
        """Let the stack connect to this peer: its SYN is under way."""
        app = App(self.stack, reading=reading)
        self.stack_port = local_port
        app.conn = self.stack.connect(
            Endpoint(self.host, self.port),
            local=Endpoint(self.stack_host, local_port),
            user=app,
            options=options,
        )
        return app

    async def connects(
        self,
        port: int = 80,
        *,
        mss: int | None = 1460,
        wscale: int | None = None,
        ts: bool = False,
        sack: bool = False,
        window: int = 65535,
        options: Options | None = None,
        reading: bool = True,
    ) -> App:
        """The peer opens a connection to `port` of the stack, where a listener is made for it.

        `options` are the listener's. On return both sides are ESTABLISHED, and both at number 1.
        """
        listener, accepted = self.listens(port, options=options)
        if self.stack_iss is not None:
            self.sends(SYN, seq=0)
            syn = await self.sees(SYN | ACK)
            self.sends(RST, seq=1)
            await self._wait_for_stack_iss(syn)
        self.window = window
        offer = (self.tsval, 0) if ts else None
        self.sends(SYN, mss=mss, wscale=wscale, sack_permitted=sack, ts=offer)
        await self.sees(SYN | ACK, seq=0, ack=1)
        self.sends(ACK)
        listener.close()
        if not accepted:
            raise self.wire.fail("the stack accepted no connection")
        accepted[0].reading = reading
        return accepted[0]

    async def accepts(
        self,
        *,
        mss: int | None = 1460,
        wscale: int | None = None,
        ts: bool = False,
        sack: bool = False,
        window: int = 65535,
        options: Options | None = None,
        reading: bool = True,
        local_port: int = 40000,
    ) -> App:
        """The stack opens a connection to the peer. `options` are those of this connection."""
        if self.stack_iss is not None:
            self.opens(local_port=local_port)
            syn = await self.sees(SYN)
            self.sends(RST | ACK, seq=0, ack=1)
            await self._wait_for_stack_iss(syn)
        app = self.opens(local_port=local_port, options=options, reading=reading)
        await self.sees(SYN, seq=0)
        self.window = window
        answer = (self.tsval, self._last_tsval) if ts else None
        self.sends(SYN | ACK, mss=mss, wscale=wscale, sack_permitted=sack, ts=answer)
        await self.sees(ACK, seq=1, ack=1)
        return app

    async def _wait_for_stack_iss(self, syn: Seen) -> None:
        """Wait until the stack's clock gives this connection the initial number asked for."""
        assert self.stack_iss is not None
        away = self.stack_iss - syn.segment.seq & 0xFFFF_FFFF
        self.reset()
        await self.wait(away / ISN_TICKS_PER_S)

    # -- time and state -----------------------------------------------------------------------

    @property
    def now(self) -> float:
        return self.wire.now()

    async def wait(self, seconds: float) -> None:
        """Let virtual time pass; what the stack sends meanwhile is there to be seen."""
        await asyncio.sleep(seconds)
        await self.wire.settle()

    @property
    def info(self) -> ConnectionInfo | None:
        """The stack's row of this connection; None if it has none."""
        for row in self.stack.connections():
            if row.remote == (self.host, self.port) and row.local.port == self.stack_port:
                return row
        return None

    @property
    def state(self) -> str:
        """The state of the stack's side; CLOSED if there is no connection."""
        return self.info.state if self.info else "CLOSED"

    @property
    def states(self) -> list[str]:
        """The states that the stack's side has gone through, the first one included."""
        since = self._first_transition
        mine = [t for t in self.transitions[since:] if t.remote == (self.host, self.port)]
        return [str(mine[0].old), *(str(t.new) for t in mine)] if mine else []
