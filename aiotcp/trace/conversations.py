"""From packets to segments of a trace: which connection, relative numbers, scaled windows.

Each side's numbers begin at its SYN where that was seen, else so that the first byte seen is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from aiotcp.addresses import unpack
from aiotcp.tcp.seq import unwrap
from aiotcp.trace.events import Flow, Segment, end_text
from aiotcp.wire import ipv4, ipv6, tcp
from aiotcp.wire.malformed import Malformed
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN

# The same ones again and again.
_flags = lru_cache(512)(tcp.flags_text)
_text = lru_cache(1024)(unpack)

_ECN = ("", "ECT(1)", "ECT(0)", "CE")


End: TypeAlias = tuple[bytes, int]
"""An address, packed, and a port."""


class Known(NamedTuple):
    """What a stack knows of one side of a connection."""

    base: int
    """Its initial sequence number."""
    highest: int
    """Relative to it: the number behind the last that it has used."""
    wscale: int


@dataclass(slots=True)
class _Side:
    """What one end of a conversation has shown."""

    base: int | None = None
    """Its initial sequence number, unwrapped at will."""
    highest: int = 0
    """Relative: the number behind the last that it has used."""
    wscale: int | None = None
    """What its SYN offered; None before, or without that option."""
    syn: bool = False
    """Whether its SYN was seen, with all its options."""


class _Conversation:
    __slots__ = ("client", "hosts", "index", "scale_known", "scaled", "sides")

    def __init__(self, index: int, client: End, hosts: dict[End, str]) -> None:
        self.index = index
        self.client = client
        self.hosts = hosts
        self.sides: dict[End, _Side] = {}
        self.scaled = False
        """Whether both SYNs were seen, with the option."""
        self.scale_known = False
        """Whether it is known that windows are scaled, or that they are not."""


class Conversations:
    """The connections that packets belong to.

    names: of hosts, by address in text form. Addresses that are not in it name themselves; where
        both ends have the same one, the server's name is its address and port.
    absolute: numbers are told as on the wire, and not relative.

    flows: the connections seen so far, in the order of their first segments.
    """

    def __init__(self, names: dict[str, str] | None = None, *, absolute: bool = False) -> None:
        self.names = names or {}
        self.absolute = absolute
        self.flows: list[Flow] = []
        self.unscaled: set[int] = set()
        """Those of `flows` with windows of which nobody knows the scale: they stand in the segments
        as in the headers."""
        self._open: dict[frozenset[End], _Conversation] = {}
        # Who they are, by addresses and ports as they stand in packets.
        self._ways: dict[bytes, tuple[End, End, frozenset[End]]] = {}

    def segment(
        self, at: float, packet: memoryview, why: str = "", missing: int = 0
    ) -> Segment | None:
        """The segment that an IP packet holds; None if it holds none, or can't be read.

        missing: bytes at its end that were not captured, and are zeros.
        """
        try:
            if packet[0] >> 4 == 4:
                protocol, offset, end = ipv4.parse(packet, True)
                source, target, ecn = packet[12:16], packet[16:20], packet[1] & 3
            else:
                protocol, offset, end = ipv6.parse(packet, True)
                source, target, ecn = packet[8:24], packet[24:40], packet[1] >> 4 & 3
            if protocol != tcp.PROTOCOL:
                return None
            read = tcp.parse(packet, offset, end)
        except (Malformed, IndexError):
            return None
        way = b"".join((source, target, packet[offset : offset + 4]))
        known = self._ways.get(way)
        if known is None:
            mine = bytes(source), int.from_bytes(way[-4:-2], "big")
            theirs = bytes(target), int.from_bytes(way[-2:], "big")
            known = self._ways[way] = mine, theirs, frozenset((mine, theirs))
        mine, theirs, both = known
        conversation = self._find(mine, theirs, both, read.flags, read.seq)
        own = conversation.sides[mine]
        other = conversation.sides[theirs]
        if read.flags & SYN:
            if own.base != read.seq:
                own.base, own.highest = read.seq, 0
            own.wscale = read.wscale
            own.syn = offset + (packet[offset + 12] >> 4) * 4 <= len(packet) - missing
            if read.flags & ACK:
                conversation.scaled = own.wscale is not None and other.wscale is not None
            # RFC 7323 2.2: only with the option in both; one SYN without it says enough.
            conversation.scale_known = (own.syn and other.syn) or any(
                side.syn and side.wscale is None for side in (own, other)
            )
        elif not (conversation.scale_known or read.flags & RST):
            self.unscaled.add(conversation.index)
        seq, begins = _relative(own, read.seq, read.flags)
        ack = None
        if read.flags & ACK:
            ack, _ = _relative(other, read.ack, 0, of_peer=True)
        length = len(read.payload)
        end_seq = seq + length + (read.flags & FIN) + (read.flags >> 1 & 1)
        again = begins and end_seq > seq and seq < own.highest and not read.flags & RST
        if not read.flags & RST:
            own.highest = max(own.highest, end_seq)
        shift = own.wscale or 0 if conversation.scaled and not read.flags & SYN else 0
        header_end = offset + (packet[offset + 12] >> 4) * 4
        options = _options(read, other, self.absolute)
        if self.absolute:
            seq, ack = read.seq, read.ack if read.flags & ACK else None
        return Segment(
            at=at,
            sender=conversation.hosts[mine],
            receiver=conversation.hosts[theirs],
            flow=conversation.index,
            flags=_flags(read.flags & ~PSH),
            seq=seq,
            ack=ack,
            window=read.window << shift,
            length=length,
            options=options,
            why=why,
            again=again,
            push=bool(read.flags & PSH),
            ecn=_ECN[ecn],
            header=bytes(packet[:header_end]).hex(),
        )

    def join(self, client: End, server: End, known: Mapping[End, Known]) -> int:
        """Be told of a connection that is under way, before its first packet is seen; returns its
        index in `flows`."""
        made = self._begin(client, server)
        for end, side in made.sides.items():
            side.base, side.highest, side.wscale = known[end]
            side.syn = True
        made.scaled = made.scale_known = True
        return made.index

    def name(self, address: bytes) -> str:
        text = _text(address)
        return self.names.get(text, text)

    def bases(self, mine: End, theirs: End) -> tuple[int, int]:
        """What the numbers of both sides are relative to; 0 where that is not known."""
        found = self._open.get(frozenset((mine, theirs)))
        if found is None:
            return 0, 0
        return found.sides[mine].base or 0, found.sides[theirs].base or 0

    def flow_of(self, local: End, remote: End) -> int | None:
        """The index of the connection between two addresses and ports, if one was seen."""
        found = self._open.get(frozenset((local, remote)))
        return found.index if found is not None else None

    def _find(
        self, mine: End, theirs: End, both: frozenset[End], flags: int, seq: int
    ) -> _Conversation:
        found = self._open.get(both)
        if found is not None:
            side = found.sides[mine]
            if flags & (SYN | ACK) != SYN or side.base == seq or side.highest <= 1:
                return found  # else a SYN of another number: the same addresses once more
        # The first one seen says who asked: a SYN, or whoever does not answer one.
        client, server = (theirs, mine) if flags & (SYN | ACK) == SYN | ACK else (mine, theirs)
        if found is None and not flags & SYN and mine[1] < theirs[1]:
            client, server = theirs, mine  # in the middle of it: servers have the lower port
        return self._begin(client, server)

    def _begin(self, client: End, server: End) -> _Conversation:
        hosts = {end: self.name(end[0]) for end in (client, server)}
        if client[0] == server[0] and hosts[server] not in self.names.values():
            # Over the loopback: one address, which would be one lane, and nothing to see.
            hosts[server] = end_text(_text(server[0]), server[1])
        made = _Conversation(len(self.flows), client, hosts)
        made.sides = {client: _Side(), server: _Side()}
        self._open[frozenset((client, server))] = made
        self.flows.append(
            Flow(
                client=hosts[client],
                client_address=unpack(client[0]),
                client_port=client[1],
                server=hosts[server],
                server_address=unpack(server[0]),
                server_port=server[1],
            )
        )
        return made


def _relative(side: _Side, number: int, flags: int, *, of_peer: bool = False) -> tuple[int, bool]:
    """The relative number, and whether what it is relative to was known before."""
    known = side.base is not None
    if side.base is None:
        if flags & RST:
            return min(number, 1), False  # who knows of no connection has no numbers of his own
        if of_peer and not number:
            return 0, False  # an ACK field of zero says nothing about where it began
        side.base = number - 1 & 0xFFFF_FFFF
    near = side.base + side.highest
    return unwrap(number, near) - side.base, known


def _options(read: tcp.Segment, other: _Side, absolute: bool) -> list[str]:
    options = []
    if read.mss is not None:
        options.append(f"mss={read.mss}")
    if read.wscale is not None:
        options.append(f"wscale={read.wscale}")
    if read.sack_permitted:
        options.append("sack_permitted")
    if read.sack:
        edges = (
            (left, right)
            if absolute
            else tuple(_relative(other, edge, 0, of_peer=True)[0] for edge in (left, right))
            for left, right in read.sack
        )
        options.append("sack=" + ",".join(f"{left}-{right}" for left, right in edges))
    if read.tsval is not None:
        options.append(f"ts={read.tsval}/{read.tsecr}")
    if read.user_timeout is not None:
        options.append(f"uto={read.user_timeout:g}")
    if read.fast_open is not None:
        options.append(f"tfo={read.fast_open.hex() or 'request'}")
    if read.accecn is not None:
        options.append("accecn=" + "/".join("-" if n is None else str(n) for n in read.accecn))
    if read.urgent:
        options.append(f"urg={read.urgent}")
    if read.gso_size:
        options.append(f"gso={read.gso_size}")
    return options
