"""IP packets through a file descriptor that keeps their boundaries: whatever somebody has opened.

    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link = Fd(left)                       # the other end: in this process, a child, a container
    link = Fd(3)                          # a descriptor that was inherited
    link = Fd(utun, prefix="family")      # a tunnel device of macOS or a BSD

For Linux' TUN devices there is `aiotcp.link.tun.Tun(fd=…)`, which has their offloads.

Works where descriptors do: not on Windows.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import stat
import sys
from typing import Literal

from aiotcp.errors import numbers, os_error
from aiotcp.link.descriptor import DescriptorLink, enlarge_buffers, packets_from_network, packets_in
from aiotcp.wire.frame import Frame

Prefix = Literal["none", "family", "ethertype"]

_PREFIXES: dict[Prefix, tuple[bytes, bytes]] = {
    "none": (b"", b""),
    "family": (socket.AF_INET.to_bytes(4, "big"), socket.AF_INET6.to_bytes(4, "big")),
    "ethertype": (b"\0\0\x08\0", b"\0\0\x86\xdd"),
}
"""What precedes a packet of IPv4, and one of IPv6."""


_DEVICE_GONE = numbers("EBADFD", "ENODEV", "ENXIO")
_PAIR_GONE = numbers("EPIPE", "ESHUTDOWN", "ECONNRESET", "ENOTCONN", "ECONNREFUSED")
"""The end of two unix sockets that were joined: what is closed does not come again."""


class Fd(DescriptorLink):
    """A descriptor on which each read gives one packet, and each write takes one.

    fd: a descriptor, or a socket. It belongs to this object once the constructor has returned; a
        socket object is detached. Best is a socketpair of SOCK_SEQPACKET: both ends notice when
        the other one is closed. With SOCK_DGRAM only one that sends does.
    mtu: bytes of the largest packet, the same at both ends; 576 to 65535. A socketpair has no wire
        that would limit it: large packets make transfers faster.
    prefix: the four bytes before each packet: "none" of them; its address "family" in network byte
        order, as on the utun devices of macOS, the tun devices of OpenBSD and, with TUNSIFHEAD,
        FreeBSD; flags and "ethertype", as on Linux' TUN devices without IFF_NO_PI. What it says of
        packets received is ignored, as their first bits say it again.

    Counters: those of `DescriptorLink`, and `received_empty`, reads that gave no packet. The link
    is lost (ENETDOWN) when the other end of a SOCK_SEQPACKET pair is closed or a device reports the
    end of its file; or with the error that reading or writing gives then.

    Raises OSError (EBADF); ValueError for a stream, a pipe or a file, which keep no boundaries, for
    a socket that is not connected, an MTU out of range and an unknown prefix; NotImplementedError
    on Windows.
    """

    def __init__(
        self, fd: int | socket.socket, *, mtu: int = 1500, prefix: Prefix = "none"
    ) -> None:
        if sys.platform == "win32":
            raise NotImplementedError("Windows has no descriptors that keep packet boundaries")
        if prefix not in _PREFIXES:
            raise ValueError(f"prefix must be one of {', '.join(_PREFIXES)}, not {prefix!r}")
        self._prefixes = _PREFIXES[prefix]
        super().__init__(mtu, prefix_bytes=len(self._prefixes[0]), drops=("received_empty",))
        number = fd if isinstance(fd, int) else fd.fileno()
        self.receive_queue_packets: int | None = None
        """What the socket holds, if it is one."""
        self._ends = True
        """Whether reading nothing says that it is over; a datagram may be empty."""
        self._errors_pass = False
        """Whether errors of reading do; those of a network do."""
        self._gone |= _DEVICE_GONE
        mode = os.fstat(number).st_mode
        if stat.S_ISSOCK(mode):
            self._look_at_socket(number)
        elif not stat.S_ISCHR(mode):
            raise ValueError("neither files nor pipes keep the boundaries of packets")
        os.set_blocking(number, False)
        self._file: io.FileIO | None = io.FileIO(number, "r+")
        if isinstance(fd, socket.socket):
            fd.detach()

    def _look_at_socket(self, number: int) -> None:
        sock = socket.socket(fileno=number)
        try:
            if sock.type == socket.SOCK_STREAM:
                raise ValueError("a stream does not keep the boundaries of packets")
            self._ends = sock.type == socket.SOCK_SEQPACKET
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                self._errors_pass = True
                self._gone = DescriptorLink._gone
            elif sock.family == socket.AF_UNIX:
                self._gone |= _PAIR_GONE
            else:  # macOS' utun
                return
            try:
                sock.getpeername()
            except OSError as exc:
                raise ValueError("the socket is not connected") from exc
            enlarge_buffers(sock)
            count = packets_from_network if self._errors_pass else packets_in
            self.receive_queue_packets = count(sock, self.mtu)
        finally:
            sock.detach()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "lost" if self._lost else "open"
        return f"<Fd {self.fileno()} {state} mtu={self.mtu}>"

    def fileno(self) -> int:
        """The descriptor, or -1 once closed."""
        return -1 if self._file is None else self._file.fileno()

    def _read(self, slot: memoryview) -> int | None:
        assert self._file is not None
        length = self._file.readinto(slot)
        if length is None:
            return None
        if length <= self._prefix_bytes:
            if self._ends and not length:
                raise os_error(errno.ENETDOWN, "the other end was closed")
            self.counters["received_empty"] += 1
            return 0
        return length

    def _read_failed(self, exc: OSError) -> None:
        if self._errors_pass:
            super()._read_failed(exc)
        else:
            self._lose(exc)

    def _write(self, frame: Frame) -> None:
        header = frame.header
        prefix = self._prefixes[header[0] >> 4 == 6]
        os.write(self.fileno(), b"".join((prefix, header, *frame.payload)))

    def _release(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
