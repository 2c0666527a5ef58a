"""A Linux TUN device as a link: IP packets to and from the kernel of this machine.

    Tun()                      create a device (CAP_NET_ADMIN), named aiotcp0, aiotcp1, …
    Tun("tun7")                attach to one that exists: without privilege, if its owner is us
    Tun(fd=5)                  take over a descriptor that somebody else has opened and set up

None of these touches addresses, MTU or link state; `aiotcp.link.network` does.

**Offload.** With IFF_VNET_HDR each frame travels behind a 10-byte `virtio_net_hdr` which says that
the checksum is partial and that a TCP segment of up to 64 KiB stands for many of `gso_size` bytes.
The kernel's own TCP thinks in such segments, so neither side does work per packet or per byte.
Without offload the device carries plain packets, and no header.

**Receiving.** When the descriptor is readable, frames are read until none is left or the batch has
BATCH_FRAMES frames or BATCH_BYTES bytes: at some 25 µs for a large frame and its processing that
keeps a batch below a millisecond, so timers and other descriptors of the loop get their turn. Half
as many bytes cost a tenth more for each frame, twice as many save nothing. Each frame of a batch
has a buffer of its own, in memory that is used again for the next batch; small ones touch the first
lines of their buffers only. `FileIO.readinto` is the cheapest way to read that Python has: 0.54 µs
a packet where `os.readv` takes 0.63.

In a conversation each packet comes alone: it waits for an answer to the one before. As long as that
is so, a packet is processed as soon as it is read. Whether the next one is there is asked when the
answer has left, by poll(2): 0.7 µs, where a read in vain takes 2 and a turn of the loop 5.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import io
import os
import select
import socket
import struct
import warnings
from collections.abc import Callable
from typing import Final

from aiotcp.errors import os_error
from aiotcp.link.base import Receiver
from aiotcp.mypyc import mypyc_attr
from aiotcp.wire import virtio
from aiotcp.wire.alike import Frames
from aiotcp.wire.frame import Frame

BATCH_FRAMES: Final = 64
"""Frames read at most before the receiver is flushed."""

BATCH_BYTES: Final = 1 << 20
"""Bytes read at most before the receiver is flushed (exceeded by less than one frame)."""

_TALK_PACKETS: Final = 4
"""So many batches of one packet in a row are a conversation."""

_TALK_STEPS: Final = 8
"""So many packets are then processed before the loop has its turn."""
_SELDOM: Final = 7
"""Where the next packet is never there yet, only one in so many, and one, asks for it."""
_LEAST_BATCH_BYTES: Final = 3 << 16
_GROWTH_BYTES: Final = 1 << 14
"""A batch that nobody takes at once has to be copied, and comes from memory when it is wanted. So
those of programs that pause reading, as streams do, become smaller, down to what asyncio reads at a
time (with the frame by which it is exceeded); else they slowly grow again."""

_DEVICE: Final = "/dev/net/tun"
_FRAME_MAX_BYTES: Final = 65536 + virtio.HEADER_LENGTH
_SLOT_BYTES: Final = 65536 + 192
"""A frame, and a stride that does not map all slots to one cache set."""
_GSO_MAX_BYTES: Final = 65535  # what IPv4's total length field can say
_RUN_FRAMES: Final = 3
"""From so many on they are sent as a run."""
_IOV_MAX: Final = 1024  # buffers in one writev
_SMALL_BYTES: Final = 1024
"""Packets below this size are joined: 0.65 µs for the copy and one buffer, 0.8 for two buffers."""

# linux/if_tun.h, linux/sockios.h
_TUNSETIFF: Final = 0x400454CA
_TUNSETOFFLOAD: Final = 0x400454D0
_TUNGETIFF: Final = 0x800454D2
_TUNSETVNETHDRSZ: Final = 0x400454D8
_SIOCGIFMTU: Final = 0x8921
_IFF_TUN: Final = 0x0001
_IFF_MULTI_QUEUE: Final = 0x0100
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000
_TUN_F_CSUM: Final = 0x01
_TUN_F_TSO4: Final = 0x02
_TUN_F_TSO6: Final = 0x04
_TUN_F_TSO_ECN: Final = 0x08
_SIOCGIFTXQLEN: Final = 0x8942
_USUAL_QUEUE_PACKETS: Final = 500
"""What a TUN device has unless it is told otherwise."""
_IFREQ: Final = struct.Struct("=16sH22x")

_DROP_NAMES: Final = {
    errno.EAGAIN: "send_would_block",
    errno.ENOBUFS: "send_no_memory",
    errno.ENOMEM: "send_no_memory",
    errno.EIO: "send_link_down",
    errno.EINVAL: "send_invalid",
    errno.EBADF: "send_closed",
    errno.EBADFD: "send_device_gone",
    errno.ENODEV: "send_device_gone",
    errno.ENXIO: "send_device_gone",
}


@mypyc_attr(allow_interpreted_subclasses=True)
class Tun:
    """A TUN device, opened.

    name: of the device; "%d" stands for the first free number.
    mtu: the device's MTU in bytes, as it is or is going to be configured. None asks the device.
    offload: ask for checksum and segmentation offload. Off, every frame is a packet of the MTU with
        its checksum complete.
    fd: an open descriptor of /dev/net/tun, already attached to a TUN device (TUNSETIFF done, with
        IFF_NO_PI, which nobody can check afterwards; with IFF_VNET_HDR for offload). It belongs to
        this object once the constructor has returned. If the device is in another network
        namespace, give `mtu`.
    multi_queue: the device may have more queues, each an object like this one (`link.queues`).
    owns: see `aiotcp.link.base.owns`.

    Attributes: those of `Link`, `owns`, `processes`, and `name`, as the kernel chose it.

    Counters: `received_packets`, `received_bytes`, `received_batches`, `sent_packets`,
    `sent_bytes`, and the drops `send_would_block`, `send_no_memory`, `send_link_down` (the
    interface is not up), `send_invalid` (the kernel finds frame and offload header at odds),
    `send_closed`, `send_device_gone`, `send_error` (anything else).

    Raises OSError with a message that names the way out: FileNotFoundError (no /dev/net/tun),
    PermissionError, EBUSY (the device is in use), EINVAL (not a TUN device); ValueError for a name
    or descriptor that cannot be one.
    """

    def __init__(
        self,
        name: str = "aiotcp%d",
        *,
        mtu: int | None = None,
        offload: bool = True,
        fd: int | None = None,
        multi_queue: bool = False,
        owns: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._file: io.FileIO | None = None
        self._fd = -1
        self._warn: Callable[..., object] = warnings.warn  # there still at the interpreter's end
        self.owns = owns
        self.processes = 1
        if fd is None:
            encoded = _encoded(name)
            opened = _open_device()
            try:
                self.name, flags = _attach(opened, encoded, offload, multi_queue)
                self._set_up(opened, flags, mtu, offload)
            except BaseException:
                os.close(opened)
                raise
        else:
            self.name, flags = _inspect(fd)
            os.set_blocking(fd, False)
            self._set_up(fd, flags, mtu, offload)

    def _set_up(self, fd: int, flags: int, mtu: int | None, offload: bool) -> None:
        self._header_bytes = virtio.HEADER_LENGTH if flags & _IFF_VNET_HDR else 0
        offload = offload and self._header_bytes > 0
        if self._header_bytes:
            fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("=i", self._header_bytes))
            _ask_for_offload(fd, offload)
        self.mtu = mtu if mtu is not None else _device_mtu(self.name)
        self.gso_max_bytes = _GSO_MAX_BYTES if offload else 0
        self.checksum_offload = offload
        self.counters = dict.fromkeys(
            (
                *("received_packets", "received_bytes", "received_batches"),
                *("sent_packets", "sent_bytes"),
                *_DROP_NAMES.values(),
                "send_error",
            ),
            0,
        )
        memory = memoryview(bytearray(BATCH_FRAMES * _SLOT_BYTES))
        # Taken and freed, untouched: of what acknowledgments free together, glibc now keeps
        # twice as much, not 128 KiB (mallopt(3)). What it gives back is a fault for each new page.
        bytes(len(memory))
        self._slots = [
            memory[start : start + _FRAME_MAX_BYTES]
            for start in range(0, BATCH_FRAMES * _SLOT_BYTES, _SLOT_BYTES)
        ]
        self._batch_bytes = BATCH_BYTES
        self._receiver: Receiver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_watching: Callable[[int], object]  # uvloop's returns None, not a bool
        self._lost = False
        self._alone = 0  # how many batches in a row were one packet
        self._vain = 0  # how often in a row nobody had more to say yet
        self._waiting = select.poll()
        self._waiting.register(fd, select.POLLIN)
        self._fd = fd
        self._file = io.FileIO(fd, "r+")

    def __repr__(self) -> str:
        state = "closed" if self._file is None else "lost" if self._lost else "open"
        return f"<Tun {self.name} {state} mtu={self.mtu} offload={self.checksum_offload}>"

    @property
    def receive_queue_packets(self) -> int | None:
        """Packets that the device holds for us, its `txqueuelen`. None with offload: then one of
        them is up to 64 KiB, and no window fills so many."""
        if self.gso_max_bytes:
            return None
        try:
            return _ask_device(self.name, _SIOCGIFTXQLEN)
        except OSError:  # in another network namespace
            return _USUAL_QUEUE_PACKETS

    def fileno(self) -> int:
        """The descriptor, or -1 once closed."""
        return self._fd

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        """As `Link.attach`. The loop must be able to watch descriptors (`add_reader`)."""
        if self._file is None:
            raise RuntimeError("the link is closed")
        if self._receiver is not None:
            raise RuntimeError("the link already has a receiver")
        loop.add_reader(self._fd, self.receive_waiting)
        self._stop_watching = loop.remove_reader
        self._receiver = receiver
        self._loop = loop

    def receive_waiting(self) -> bool:
        """Read one batch and give it to the receiver. True: there may be more."""
        if self._alone >= _TALK_PACKETS:
            return self._converse()
        file, receiver = self._file, self._receiver
        if file is None or receiver is None:
            return False
        readinto, receive = file.readinto, receiver.receive
        unpack, vouching = virtio.unpack, virtio.VOUCHING
        header = self._header_bytes
        most = self._batch_bytes
        packets = octets = 0
        more = True
        lost: OSError | None = None
        try:
            for slot in self._slots:
                length = readinto(slot)
                if not length:
                    more = False
                    break
                packets += 1
                octets += length - header
                if header:
                    flags, kind, gso_size = unpack(slot)
                    receive(slot[header:length], flags & vouching != 0, gso_size if kind else 0)
                else:
                    receive(slot[:length])
                if octets >= most:
                    break
        except OSError as exc:
            lost = exc
        except ValueError:  # the file was closed under our hands, by the receiver
            if self._file is not None:
                raise
            return False
        if packets:
            counters = self.counters
            counters["received_packets"] += packets
            counters["received_bytes"] += octets
            counters["received_batches"] += 1
            kept = receiver.flush() or 0
            if 8 * kept > octets:  # not because of one among many connections
                self._batch_bytes = max(most // 2, _LEAST_BATCH_BYTES)
            elif most < BATCH_BYTES and not kept:
                self._batch_bytes = most + _GROWTH_BYTES
        if lost is not None:
            self._lose(lost)
            return False
        if packets == 1 and not more:
            self._alone += 1
        else:
            self._alone = 0
        return more

    def _converse(self) -> bool:
        """As `receive_waiting`, while each packet comes alone: it is answered before anybody asks
        for the next one, which an eager peer has sent by then."""
        slot, header, counters = self._slots[0], self._header_bytes, self.counters
        receiver, steps = self._receiver, 0
        while (file := self._file) is not None and receiver is not None:
            try:
                length = file.readinto(slot)
            except OSError as exc:
                self._lose(exc)
                return False
            if not length:
                return False
            counters["received_packets"] += 1
            counters["received_bytes"] += length - header
            counters["received_batches"] += 1
            kind = 0
            if header:
                flags, kind, size = virtio.unpack(slot)
                vouched = flags & virtio.VOUCHING != 0
                receiver.receive(slot[header:length], vouched, size if kind else 0)
            else:
                receiver.receive(slot[:length])
            receiver.flush()
            self._alone += 1
            if self._vain >= _TALK_PACKETS and self._alone & _SELDOM:
                return True  # nobody knows
            if self._file is None or not self._waiting.poll(0):
                self._vain += 1
                return False
            self._vain = 0
            steps += 1
            if kind or steps == _TALK_STEPS:  # perhaps there are many: the next batch will tell
                self._alone = _TALK_PACKETS - 1
                return True
        return False

    def send(self, frame: Frame) -> None:
        """As `Link.send`: one system call, which copies header and payload into the kernel."""
        payload = frame.payload
        header = frame.header
        if self._header_bytes:  # joining so few bytes costs less than one buffer more
            plain = frame.checksum_start == 20 and not frame.gso_size
            header = (virtio.AFTER_IPV4 if plain else virtio.pack(frame)) + header
        try:
            if not payload:  # an ACK
                os.write(self._fd, header)
            elif frame.length < _SMALL_BYTES and len(payload) == 1:
                os.write(self._fd, header + payload[0])
            elif len(payload) < _IOV_MAX:
                os.writev(self._fd, [header, *payload])
            else:
                os.writev(self._fd, [header, b"".join(payload)])
        except OSError as exc:
            self._dropped(exc)
        else:
            counters = self.counters
            counters["sent_packets"] += 1
            counters["sent_bytes"] += frame.length

    def send_run(self, frames: Frames) -> None:
        """As `link.base.send_run` says: one offload header for all but the last."""
        if not self._header_bytes or len(frames) < _RUN_FRAMES:
            for frame in frames:
                self.send(frame)
            return
        *alike, last = frames
        before = virtio.pack(alike[0])
        fd = self._fd
        packets = octets = 0
        for frame in alike:
            payload = frame.payload
            if len(payload) >= _IOV_MAX:
                payload = (b"".join(payload),)
            try:
                os.writev(fd, [before + frame.header, *payload])
            except OSError as exc:
                self._dropped(exc)
            else:
                packets += 1
                octets += frame.length
        counters = self.counters
        counters["sent_packets"] += packets
        counters["sent_bytes"] += octets
        self.send(last)

    def _dropped(self, exc: OSError) -> None:
        """The device did not take a frame."""
        name = _DROP_NAMES.get(exc.errno or 0, "send_error")
        self.counters[name] += 1
        if name == "send_device_gone" and self._loop is not None:
            self._loop.call_soon(self._lose, exc)

    def _lose(self, exc: OSError) -> None:
        """The device was deleted: stop watching (it would be ready for ever) and say so, once."""
        if self._lost or self._file is None:
            return
        self._lost = True
        assert self._loop is not None
        assert self._receiver is not None
        self._stop_watching(self._fd)
        if _DROP_NAMES.get(exc.errno or 0) == "send_device_gone":
            # The system says EBADFD, "File descriptor in bad state", which tells users nothing.
            exc = os_error(errno.ENODEV, f"{self.name} is gone")
        self._receiver.link_lost(exc)

    def close(self) -> None:
        """Stop reading and close the descriptor. A device that is not persistent disappears."""
        file, self._file = self._file, None
        if file is None:
            return
        if self._loop is not None and not self._lost and not self._loop.is_closed():
            self._stop_watching(self._fd)
        self._fd = -1
        self._receiver = None
        file.close()

    def __del__(self) -> None:
        if self._file is not None:
            # A file of Python's would warn as well, but of a number that nobody knows.
            self._warn(f"unclosed device {self!r}", ResourceWarning, source=self)
            self._file.close()


def _open_device() -> int:
    try:
        return os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            message = (
                f"there is no {_DEVICE}: load the kernel's module (modprobe tun), or give the "
                f"container the device (--device {_DEVICE})"
            )
            raise FileNotFoundError(errno.ENOENT, message) from exc
        if exc.errno in (errno.EACCES, errno.EPERM):
            raise PermissionError(exc.errno, f"{_DEVICE} may not be opened by this user") from exc
        raise


def _encoded(name: str) -> bytes:
    encoded = name.encode()
    if not 0 < len(encoded) < 16 or b"/" in encoded or b"\0" in encoded:
        raise ValueError(f"a device name has 1 to 15 bytes and no slash: {name!r}")
    return encoded


def _attach(fd: int, encoded: bytes, offload: bool, multi_queue: bool) -> tuple[str, int]:
    """Bind the descriptor to the device; returns its name and flags."""
    name = encoded.decode()
    flags = _IFF_TUN | _IFF_NO_PI | (_IFF_VNET_HDR if offload else 0)
    if multi_queue:
        flags |= _IFF_MULTI_QUEUE
    try:
        fcntl.ioctl(fd, _TUNSETIFF, _IFREQ.pack(encoded, flags))
    except OSError as exc:
        if exc.errno == errno.EPERM:
            message = (
                "a TUN device may be created with CAP_NET_ADMIN only, and attached to by its owner "
                "(ip tuntap add dev NAME mode tun user USER)"
            )
        elif exc.errno == errno.EBUSY:
            message = f"{name} is in use by another process"
        elif exc.errno == errno.EINVAL:
            queues = "several queues (multi_queue)" if multi_queue else "a single queue"
            message = f"{name} exists and is not a TUN device with {queues}"
        else:
            message = f"{name}: {os.strerror(exc.errno or 0)}"
        raise OSError(exc.errno, message) from exc
    return _inspect(fd)


def _inspect(fd: int) -> tuple[str, int]:
    """Name and flags of the TUN device that the descriptor is attached to."""
    try:
        name, flags = _IFREQ.unpack(fcntl.ioctl(fd, _TUNGETIFF, bytes(_IFREQ.size)))
    except OSError as exc:
        if exc.errno == errno.EBADF:
            raise
        raise ValueError(f"descriptor {fd} is not attached to a TUN device") from exc
    # IFF_NO_PI cannot be checked: TUNGETIFF uses its bit for IFF_NOFILTER, too.
    if not flags & _IFF_TUN:
        raise ValueError(f"descriptor {fd} is a TAP device: this is for IP packets, TUN")
    return name.rstrip(b"\0").decode(), flags


def _ask_for_offload(fd: int, wanted: bool) -> None:
    """Say what the kernel may send us. What we may send it comes with IFF_VNET_HDR alone."""
    every = _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6
    # With TSO_ECN also those whose first segment has CWR, which would come cut up otherwise.
    for features in (every | _TUN_F_TSO_ECN, every, _TUN_F_CSUM, 0) if wanted else (0,):
        try:
            fcntl.ioctl(fd, _TUNSETOFFLOAD, features)
        except OSError as exc:
            if exc.errno != errno.EINVAL:
                raise
        else:
            return


def _device_mtu(name: str) -> int:
    try:
        return _ask_device(name, _SIOCGIFMTU)
    except OSError as exc:
        message = f"{name} is not in this network namespace: its MTU must be given"
        raise OSError(exc.errno, message) from exc


def _ask_device(name: str, what: int) -> int:
    """One of the numbers that netdevice(7) has. Raises OSError if the device is not here."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, what, struct.pack("=16si20x", name.encode(), 0))
    number: int = struct.unpack("=16si20x", answer)[1]
    return number
