"""The most that a TUN link can carry: a responder that acknowledges and does nothing else.

No loss is handled, no data kept, IPv4 or IPv6, without timestamps: what a complete TCP adds to this
is its own cost.
"""

from __future__ import annotations

import struct

from aiotcp.link.tun import Tun
from aiotcp.wire import ipv4, ipv6, tcp
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN, HeaderTemplate

WSCALE = 10
WINDOW_BYTES = 4 << 20  # of what may be on its way, in either direction
WINDOW_OF_MANY_BYTES = 512 << 10
"""Of each of several connections, as aiotcp begins: what all of them have on its way has to fit the
device's queue, since nothing is repeated."""

_fields = struct.Struct("!HHIIBBH").unpack_from


class RawResponder:
    """A `Receiver` of what comes to one port, one connection at a time. role: "sink" acknowledges
    it, "echo" sends it back, "source" sends without end, canned frames, as far as the peer's window
    allows."""

    def __init__(self, tun: Tun, role: str, port: int, window: int = WINDOW_BYTES) -> None:
        self._tun = tun
        self._window = window
        self._port = port
        self._echoes, self._sends = role == "echo", role == "source"
        self._template: HeaderTemplate | None = None
        self._answer = b""
        self._burst = b""
        self._mss = 0
        self._rcv_nxt = self._acknowledged = self._snd_una = self._snd_nxt = 0
        self._peer_window = self._peer_shift = 0

    def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
        ip = ipv4 if packet[0] >> 4 == 4 else ipv6
        protocol, start, end = ip.parse(packet, vouched)
        if protocol != tcp.PROTOCOL:
            return
        _, port, seq, ack, offset, flags, window = _fields(packet, start)
        if port != self._port:
            return
        if flags & SYN:
            self._open(packet, start, end)
        elif flags & (RST | FIN):
            if flags & FIN and self._template is not None:
                self._rcv_nxt += end - start - (offset >> 4) * 4 + 1
                self._transmit(ACK | FIN, self._snd_nxt)
            self._template = None
        else:
            length = end - start - (offset >> 4) * 4
            if length and seq == self._rcv_nxt & 0xFFFFFFFF:
                self._rcv_nxt += length
                if self._echoes:
                    self._answer = bytes(packet[end - length : end])
            self._snd_una += (ack - self._snd_una) & 0x7FFFFFFF
            self._peer_window = window << self._peer_shift

    def _open(self, packet: memoryview, start: int, end: int) -> None:
        syn = tcp.parse(packet, start, end)
        (source,) = struct.unpack_from("!H", packet, start)
        addresses = bytes(packet[12:20] if start == 20 else packet[8:40])
        remote, local = addresses[: len(addresses) // 2], addresses[len(addresses) // 2 :]
        self._template = HeaderTemplate(local, self._port, remote, source)
        self._mss = self._tun.mtu - start - 20
        limit = self._tun.gso_max_bytes - start - 20 if self._tun.gso_max_bytes else self._mss
        self._burst = bytes(limit // self._mss * self._mss)
        self._rcv_nxt = self._acknowledged = syn.seq + 1
        self._snd_una, self._snd_nxt = 1000, 1001
        self._peer_shift = syn.wscale or 0
        options = tcp.pack_options(mss=self._mss, wscale=WSCALE)
        self._transmit(SYN | ACK, 1000, options=options)

    def flush(self) -> None:
        if self._template is None:
            return
        if self._rcv_nxt != self._acknowledged:
            self._acknowledged = self._rcv_nxt
            self._transmit(ACK | PSH if self._answer else ACK, self._snd_nxt, self._answer)
            self._snd_nxt += len(self._answer)
            self._answer = b""
        if self._sends and self._snd_una > 1000:
            limit = self._snd_una + min(self._peer_window, self._window)
            while self._snd_nxt + len(self._burst) <= limit:
                self._transmit(ACK | PSH, self._snd_nxt, self._burst)
                self._snd_nxt += len(self._burst)
            if self._snd_nxt == self._snd_una < limit:  # no acknowledgment would open the window
                part = self._burst[: limit - self._snd_nxt]
                self._transmit(ACK | PSH, self._snd_nxt, part)
                self._snd_nxt += len(part)

    def _transmit(self, flags: int, seq: int, payload: bytes = b"", options: bytes = b"") -> None:
        assert self._template is not None
        self._tun.send(
            self._template.frame(
                seq,
                self._rcv_nxt,
                flags,
                0xFFFF if flags & SYN else self._window >> WSCALE,
                options=options,
                payload=(payload,) if payload else (),
                payload_length=len(payload),
                gso_size=self._mss if len(payload) > self._mss else 0,
                offload=self._tun.checksum_offload,
            )
        )

    def link_lost(self, exc: OSError) -> None:
        raise exc


class RawResponders:
    """The same for several connections at a time, of one peer: one `RawResponder` for each of its
    ports."""

    def __init__(self, tun: Tun, role: str, port: int) -> None:
        self._each = (tun, role, port, WINDOW_OF_MANY_BYTES)
        self._connections: dict[bytes, RawResponder] = {}
        self._touched: dict[RawResponder, None] = {}

    def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
        source = bytes(packet[20:22] if packet[0] == 0x45 else packet[40:42])
        connection = self._connections.get(source)
        if connection is None:
            connection = self._connections[source] = RawResponder(*self._each)
        self._touched[connection] = None
        connection.receive(packet, vouched, gso_size)

    def flush(self) -> None:
        for connection in self._touched:
            connection.flush()
        self._touched.clear()

    def link_lost(self, exc: OSError) -> None:
        raise exc
