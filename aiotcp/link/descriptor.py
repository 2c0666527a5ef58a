"""What the links over a file descriptor share: batches, buffers, and what becomes of errors.

**Receiving.** When the descriptor is readable, packets are read until none is left or the batch has
BATCH_PACKETS packets or BATCH_BYTES bytes, and the receiver is flushed once. Each packet of a batch
has a buffer of its own, in memory that is used again for the next batch. What is discarded counts
for the batch as well, so that a flood of it does not keep the loop from the rest of its work.

**Sending.** One system call for each packet, which the kernel takes whole or not at all. A packet
is joined into one buffer for it: 4.05 µs for 1500 bytes through a socketpair where a list of
buffers takes 3.98, 5.8 against 5.4 for 16 KB, and it works everywhere.

`aiotcp.link.tun` does the same by itself, as what it reads has the header of the offloads.
"""

from __future__ import annotations

import asyncio
import socket

from aiotcp.errors import numbers
from aiotcp.link.base import Receiver
from aiotcp.wire.frame import Frame

BATCH_PACKETS = 64
"""Packets read at most before the receiver is flushed."""

BATCH_BYTES = 1 << 19
"""Bytes read at most before the receiver is flushed (exceeded by less than one packet)."""

MTU_MIN = 576
"""Bytes that each link must carry; IPv6 needs 1280."""

MTU_MAX = 65535
"""The longest packet that IPv4's total length field can tell."""

SOCKET_BUFFER_BYTES = 1 << 22
"""What is asked of the kernel for the queue of a socket; it gives what its own limit allows."""

LONG_QUEUE_PACKETS = 1000
"""A shorter one at the end of a network path is no measure for windows: over 50 ms, what fits into
Linux' usual limit for a socket (net.core.rmem_max) would be 2 MB/s. Loss finds its end as well; on
loopback, with that limit, a transfer was as fast, and 1 to 5 of 100 packets were sent again."""

_SEND_DROPS = {
    "send_would_block": ("EAGAIN", "EWOULDBLOCK"),
    "send_no_memory": ("ENOBUFS", "ENOMEM"),
    "send_too_big": ("EMSGSIZE",),
    "send_no_peer": (
        *("ECONNREFUSED", "ECONNRESET", "ENOTCONN", "EDESTADDRREQ", "EPIPE", "ESHUTDOWN"),
        *("ENOENT", "ENOTDIR", "EPROTOTYPE"),
    ),
    "send_unreachable": ("ENETUNREACH", "EHOSTUNREACH", "EADDRNOTAVAIL"),
    "send_link_down": ("ENETDOWN", "EIO"),
    "send_device_gone": ("EBADFD", "ENODEV", "ENXIO"),
    "send_not_permitted": ("EPERM", "EACCES"),
    "send_invalid": ("EINVAL",),
    "send_closed": ("EBADF", "ENOTSOCK"),
}
_SEND_DROP_OF = {number: drop for drop, names in _SEND_DROPS.items() for number in numbers(*names)}


class DescriptorLink:
    """A link over a descriptor, without offload. Its kinds say how a packet is read and written.

    Counters: `received_packets`, `received_bytes`, `received_batches`, `sent_packets`,
    `sent_bytes`; the drops `received_too_big` (larger than the MTU), `send_too_big` (the same, or
    larger than what the kernel takes in one piece), `send_would_block` (the queue is full),
    `send_no_memory` (so it is, on some systems), `send_no_peer` (nobody is there to take it),
    `send_unreachable`, `send_link_down`, `send_device_gone`, `send_not_permitted`, `send_invalid`,
    `send_closed`, `send_error` (anything else); `receive_error`, errors that reading reported and
    that pass.
    """

    gso_max_bytes = 0
    checksum_offload = False
    processes = 1

    _gone = numbers("EBADF", "ENOTSOCK")
    """The errors after which the descriptor is of no use any more."""

    def __init__(self, mtu: int, *, prefix_bytes: int = 0, drops: tuple[str, ...] = ()) -> None:
        """`prefix_bytes` precede each packet that is read; `drops` are more counters.

        Raises ValueError for an MTU out of range.
        """
        if not isinstance(mtu, int):
            raise TypeError(f"mtu must be a whole number of bytes, not {mtu!r}")
        if not MTU_MIN <= mtu <= MTU_MAX:
            raise ValueError(f"mtu must be {MTU_MIN} to {MTU_MAX} bytes, not {mtu}")
        self.mtu = mtu
        self.counters = dict.fromkeys(
            (
                *("received_packets", "received_bytes", "received_batches"),
                *("sent_packets", "sent_bytes", "received_too_big", *drops, "receive_error"),
                *(*_SEND_DROPS, "send_error"),
            ),
            0,
        )
        self._prefix_bytes = prefix_bytes
        # One byte more than may come, which tells what is larger: the kernel cuts it.
        slot = prefix_bytes + mtu + 1
        memory = memoryview(bytearray(BATCH_PACKETS * slot))
        self._slots = [memory[start : start + slot] for start in range(0, len(memory), slot)]
        self._receiver: Receiver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._lost = False

    # What a kind of link says for itself

    def fileno(self) -> int:
        """The descriptor, or -1 once closed."""
        raise NotImplementedError

    def _read(self, slot: memoryview) -> int | None:
        """Read one packet into `slot`. Returns its length with the prefix, 0 if it was discarded
        and counted, None if there is none. Raises OSError."""
        raise NotImplementedError

    def _write(self, frame: Frame) -> None:
        """Write one packet. Raises OSError, for the packet that is dropped."""
        raise NotImplementedError

    def _release(self) -> None:
        """Close the descriptor."""
        raise NotImplementedError

    # Link

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        """As `Link.attach`. The loop must be able to watch descriptors (`add_reader`): uvloop's
        and asyncio's SelectorEventLoop are, Windows' ProactorEventLoop is not."""
        if self._closed:
            raise RuntimeError("the link is closed")
        if self._receiver is not None:
            raise RuntimeError("the link already has a receiver")
        loop.add_reader(self.fileno(), self._readable)
        self._receiver = receiver
        self._loop = loop

    def _readable(self) -> None:
        """Read one batch and give it to the receiver."""
        receiver = self._receiver
        if receiver is None:
            return
        read, receive = self._read, receiver.receive
        start = self._prefix_bytes
        longest = start + self.mtu
        packets = octets = 0
        error: OSError | None = None
        length: int | None = None
        try:
            for slot in self._slots:
                length = read(slot)
                if length is None:
                    break
                if not length:
                    continue
                if length > longest:
                    self.counters["received_too_big"] += 1
                    continue
                packets += 1
                octets += length - start
                receive(slot[start:length])
                if self._receiver is None:  # the receiver has closed the link
                    return
                if octets >= BATCH_BYTES:
                    break
        except OSError as exc:
            error = exc
        if packets:
            counters = self.counters
            counters["received_packets"] += packets
            counters["received_bytes"] += octets
            counters["received_batches"] += 1
            receiver.flush()
        if error is not None:
            self._read_failed(error)
        if not packets and length is None:
            self._watch_anew()

    def _watch_anew(self) -> None:
        """Called for nothing: for an error of the socket, which reading or sending has taken off it
        by now. libuv has stopped watching then, as it takes the error for the last."""
        if self._loop is not None and not self._lost and not self._closed:
            self._loop.remove_reader(self.fileno())
            self._loop.add_reader(self.fileno(), self._readable)

    def _read_failed(self, exc: OSError) -> None:
        if exc.errno in self._gone:
            self._lose(exc)
        else:
            self.counters["receive_error"] += 1

    def send(self, frame: Frame) -> None:
        """As `Link.send`."""
        counters = self.counters
        if self._closed:
            counters["send_closed"] += 1
            return
        if frame.length > self.mtu:
            counters["send_too_big"] += 1
            return
        try:
            self._write(frame)
        except OSError as exc:
            counters[_SEND_DROP_OF.get(exc.errno or 0, "send_error")] += 1
            if exc.errno in self._gone and self._loop is not None and not self._lost:
                self._loop.call_soon(self._lose, exc)
        else:
            counters["sent_packets"] += 1
            counters["sent_bytes"] += frame.length

    def _lose(self, exc: OSError) -> None:
        """Stop watching the descriptor, which would be ready for ever, and say so, once."""
        if self._lost or self._receiver is None:
            return
        self._lost = True
        assert self._loop is not None
        self._loop.remove_reader(self.fileno())
        self._receiver.link_lost(exc)

    def close(self) -> None:
        """As `Link.close`: the descriptor is closed. What waits in it is lost."""
        if self._closed:
            return
        self._closed = True
        if self._loop is not None and not self._lost and not self._loop.is_closed():
            self._loop.remove_reader(self.fileno())
        self._receiver = None
        self._release()


class SocketLink(DescriptorLink):
    """A link over a datagram socket."""

    def __init__(self, sock: socket.socket, mtu: int, *, drops: tuple[str, ...] = ()) -> None:
        """The socket belongs to this object once the constructor has returned."""
        super().__init__(mtu, drops=drops)
        sock.setblocking(False)
        enlarge_buffers(sock)
        self._sock = sock

    def fileno(self) -> int:
        """The descriptor, or -1 once closed."""
        return self._sock.fileno()

    def _release(self) -> None:
        self._sock.close()


def enlarge_buffers(sock: socket.socket) -> None:
    """Ask for long queues: a batch of the loop is easily more than the usual one holds."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        if sock.getsockopt(socket.SOL_SOCKET, option) < SOCKET_BUFFER_BYTES:
            try:
                sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
            except OSError:  # BSD refuses what is above its limit, where Linux gives what it can
                pass


def packets_in(sock: socket.socket, mtu: int) -> int:
    """How many packets of the MTU wait for the socket, at the least.

    Linux counts the memory that each takes, as the allocator cuts it: 2304 bytes for 1500, at most
    twice the packet and some. Between unix sockets it counts them to the one that sent them: the
    other end's buffer is taken to be as our own.
    """
    options = (socket.SO_RCVBUF, socket.SO_SNDBUF)
    room = min(sock.getsockopt(socket.SOL_SOCKET, option) for option in options)
    return max(room // (2 * mtu + 512), 1)


def packets_from_network(sock: socket.socket, mtu: int) -> int | None:
    """`packets_in`, or None if they are too few to hold windows down to: LONG_QUEUE_PACKETS."""
    packets = packets_in(sock, mtu)
    return packets if packets >= LONG_QUEUE_PACKETS else None
