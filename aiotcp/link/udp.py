"""IP packets in UDP datagrams, one in each: a tunnel between two processes or two hosts.

    link = Udp(("127.0.0.1", 7001), peer=("127.0.0.1", 7002))    # the other end: the reverse
    link = Udp(("0.0.0.0", 7001))                                 # whoever comes first is the peer

Nothing is added to the packets, and nothing protects them: there is no encryption, and a source
address can be forged. Across a network that is not yours it belongs inside of something that does
both, as any tunnel without keys.

Works wherever Python's sockets do.
"""

from __future__ import annotations

import errno
import socket
from typing import TypeAlias, cast

from aiotcp.errors import numbers, os_error
from aiotcp.link.descriptor import SocketLink, packets_from_network
from aiotcp.wire import ipv4, ipv6
from aiotcp.wire.frame import Frame
from aiotcp.wire.malformed import Malformed

Address: TypeAlias = tuple[str, int]
"""Host and port. A name is resolved once, in the constructor, which blocks: give addresses where a
loop runs. "fe80::1%eth0" has a scope."""

OUTER_MTU = 1500
"""What Ethernet carries, and nearly every path."""

_HEADERS = {socket.AF_INET: 20 + 8, socket.AF_INET6: 40 + 8}
"""Bytes that the outer IP and UDP headers take."""

_CUT = numbers("EMSGSIZE")
"""What Windows reports where others cut a datagram silently."""


class Udp(SocketLink):
    """A UDP socket of its own, bound to an address, and the one peer that it talks to.

    local: the address to bind; port 0 takes a free one, see `address`; host "" is every address
        of the machine.
    peer: the address that packets go to and come from; datagrams of others are discarded and
        counted. None: the source of the first datagram that holds an IP packet, from then on and
        for good. That is whoever can send one to the port, so it is for places where only the
        other end can: loopback, a private network, a filtered port. Until it has come, packets
        sent are drops.
    mtu: bytes of the largest packet, the same at both ends; 576 to 65535. None: what fits a path
        of 1500 bytes without being fragmented, 1472 over IPv4 and 1452 over IPv6. Less for a path
        that is narrower (PPPoE: 8 bytes less; through another tunnel: its overhead less); on
        loopback more is faster.

    Attributes: those of `Link`, and `address`, which the socket has (as `getsockname()`), and
    `peer`, in the same form, or None if it is not known.

    Counters: those of `DescriptorLink`, and `received_foreign`, datagrams that were not the peer's,
    and `received_empty`. The peer that is not there costs packets, and the link goes on: UDP has
    no connection that could be lost.

    Raises OSError: EADDRINUSE, EADDRNOTAVAIL, EACCES; socket.gaierror for a name that does not
    resolve, or to no address of the family of `local`; ValueError for an MTU out of range;
    TypeError for an address without a port.
    """

    def __init__(
        self, local: Address, peer: Address | None = None, *, mtu: int | None = None
    ) -> None:
        family, bound = _resolve(local, socket.AF_UNSPEC, socket.AI_PASSIVE)
        self.peer = None if peer is None else _resolve(peer, family)[1]
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                sock.bind(bound)
            except OSError as exc:
                raise os_error(exc.errno or 0, f"{bound[0]}:{bound[1]}") from None
            super().__init__(
                sock,
                mtu if mtu is not None else OUTER_MTU - _HEADERS[family],
                drops=("received_foreign", "received_empty"),
            )
            self.address: Address = sock.getsockname()
        except BaseException:
            sock.close()
            raise

    def __repr__(self) -> str:
        state = "closed" if self._closed else "lost" if self._lost else "open"
        return f"<Udp {self.address} {state} peer={self.peer} mtu={self.mtu}>"

    @property
    def receive_queue_packets(self) -> int | None:
        """What the socket's buffers hold, which the kernel limits (on Linux net.core.rmem_max); or
        None where that is little, see `LONG_QUEUE_PACKETS`."""
        if self._closed:
            return None
        return packets_from_network(self._sock, self.mtu)

    def _read(self, slot: memoryview) -> int | None:
        try:
            length, source = self._sock.recvfrom_into(slot)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as exc:
            if exc.errno not in _CUT:
                raise
            self.counters["received_too_big"] += 1
            return 0
        if source != self.peer:
            if self.peer is not None or not _is_packet(slot[:length]):
                self.counters["received_foreign"] += 1
                return 0
            self.peer = source
        elif not length:
            self.counters["received_empty"] += 1
        return length

    def _write(self, frame: Frame) -> None:
        if self.peer is None:
            raise os_error(errno.ENOTCONN)
        self._sock.sendto(frame.to_bytes(), self.peer)


def _is_packet(packet: memoryview) -> bool:
    """Whether it is one of IP, for sure: what scans ports is not to be taken for the peer."""
    try:
        (ipv6 if packet and packet[0] >> 4 == 6 else ipv4).parse(packet)
    except Malformed:
        return False
    return True


def _resolve(address: Address, family: int, flags: int = 0) -> tuple[socket.AddressFamily, Address]:
    if isinstance(address, str) or len(address) < 2:
        raise TypeError(f"an address is a host and a port, not {address!r}")
    host, port = address[:2]
    found = socket.getaddrinfo(host or None, port, family, socket.SOCK_DGRAM, flags=flags)
    resolved, _, _, _, name = found[0]
    return resolved, cast(Address, name)
