"""A tap on a link that writes what passes to a pcapng file, for Wireshark, tshark and tcpdump.

Each packet carries its direction, and each one sent its reason label as a comment: the display
filter `frame.comment contains "retransmit"` finds the retransmissions, `-T fields -e frame.comment`
prints why each segment was sent.

Packets are written as the stack and the link exchange them. With offload that means segments of up
to 64 KiB, and checksums that hold the pseudo-header sum only, as in captures taken on a kernel's
own interfaces: leave checksum validation off (the default of Wireshark) or turn offload off.
Received packets are written before anything judges them, sent ones even if the link drops them.

With a TLS key log the secrets go into the file, too, each before the packets that it decrypts: one
file opens decrypted, even for a program that reads it once from front to back. Who has the file can
read what the connections said.

The file format: draft-ietf-opsawg-pcapng, section numbers below.
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
from typing import BinaryIO

from aiotcp.link.base import Link, Receiver
from aiotcp.link.keylog import KeyLog
from aiotcp.link.wrapper import Wrapper
from aiotcp.wire.frame import Frame

FLUSH_AFTER_S = 1.0
"""Seconds that a captured packet may wait in memory before it is in the file."""

_BUFFER_BYTES = 1 << 18
_HELD_BYTES = 1 << 18
_HELD_BYTES_IN_BATCH = 1 << 23
_TLS_KEY_LOG = 0x544C534B  # "TLSK"
_LINKTYPE_RAW = 101  # packets begin with their IPv4 or IPv6 header
_INBOUND, _OUTBOUND = 1, 2


class Capture(Wrapper):
    """A link that wraps another one and records what passes.

    link: the link below; also the attribute `link`. The capture offers the same offloads.
    file: a path, which is created or overwritten, or a binary file open for writing, which is
        flushed but not closed.
    interface: name of the interface in the file.
    keylog: path of the TLS key log, for example what the environment variable SSLKEYLOGFILE says.
        Lines added to it from now on go into the capture. The file may appear later, and be written
        by other processes.
    epoch_s: wall-clock time, in seconds since 1970, at which the loop's clock showed 0. None: each
        packet has the time of the system's clock, right for a loop on real time. Under virtual
        time give 0.0, or any other fixed time, and the file is the same each time.

    Writing happens in the calls that carry packets: buffered, a system call every 256 KiB, and
    within a second of each packet. If the file cannot be written (a full disk), capturing ends,
    `capture_failed` is 1, and the packets pass on as if nothing had happened.

    With a key log, packets wait in memory, at least until the stack has dealt with them: as a
    client, a connection's secrets come from the packet that holds the first record which needs
    them. They wait a half to one second; at most 256 KiB of them, or 8 MiB of one batch.

    Counters: `captured_inbound`, `captured_outbound` (packets), `capture_failed`; with a key log
    those of `KeyLog`, and `captured_early` packets that could not wait for the end of their batch.
    """

    def __init__(
        self,
        link: Link,
        file: str | os.PathLike[str] | BinaryIO,
        *,
        interface: str = "aiotcp",
        keylog: str | os.PathLike[str] | None = None,
        epoch_s: float | None = None,
    ) -> None:
        super().__init__(link)
        self.counters = {"captured_inbound": 0, "captured_outbound": 0, "capture_failed": 0}
        owned = isinstance(file, str | os.PathLike)
        if isinstance(file, str | os.PathLike):
            file = open(file, "wb", buffering=_BUFFER_BYTES)  # noqa: SIM115
        self._recorder = Recorder(
            file, self.counters, owned=owned, interface=interface, keylog=keylog, epoch_s=epoch_s
        )

    def __repr__(self) -> str:
        return f"<Capture {self.counters} of {self.link!r}>"

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        super().attach(receiver, loop)
        self._recorder.loop = loop

    def send(self, frame: Frame) -> None:
        self._recorder.sent(frame)
        self.link.send(frame)

    def close(self) -> None:
        """Close the link, and the file if this object opened it."""
        self.link.close()
        self._recorder.end()

    def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
        self._recorder.received(packet)
        self.receiver.receive(packet, vouched, gso_size)

    def flush(self) -> int | None:
        kept = self.receiver.flush()
        self._recorder.flush()
        return kept


class Recorder:
    """Packets into a pcapng file: what `Capture` does, without a link. Also a `taps.Tap`.

    loop: whose clock and timers it uses; to be set before the first packet.
    counters: a dict to count in, which has `captured_inbound`, `captured_outbound` and
        `capture_failed`, and with a key log gets more.
    owned: whether the file is closed at the end, or flushed only.
    """

    def __init__(
        self,
        file: BinaryIO,
        counters: dict[str, int],
        *,
        owned: bool = False,
        interface: str = "aiotcp",
        keylog: str | os.PathLike[str] | None = None,
        epoch_s: float | None = None,
    ) -> None:
        self.counters = counters
        self.loop: asyncio.AbstractEventLoop | None = None
        self._file: BinaryIO | None = file
        self._owned = owned
        self._epoch_ns = None if epoch_s is None else round(epoch_s * 1e9)
        self._flush_timer: asyncio.TimerHandle | None = None
        self._keylog: KeyLog | None = None
        if keylog is not None:
            self.counters["captured_early"] = 0
            self._keylog = KeyLog(keylog, self.counters)
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._ripe = 0
        self._in_batch = False
        file.write(section_header() + interface_description(interface))

    def sent(self, frame: Frame) -> None:
        if self._file is not None:
            self.counters["captured_outbound"] += 1
            self._record(frame.to_bytes(), _OUTBOUND, frame.reason)

    def received(self, packet: memoryview) -> None:
        if self._file is not None:
            self.counters["captured_inbound"] += 1
            self._in_batch = True
            self._record(packet, _INBOUND, "")

    def flush(self) -> None:
        """The batch is over, and the stack has dealt with it."""
        self._in_batch = False
        if self._held_bytes >= _HELD_BYTES:
            self._release(len(self._held))

    def _record(self, packet: bytes | memoryview, direction: int, comment: str) -> None:
        assert self._file is not None
        assert self.loop is not None, "send() before attach()"
        if self._epoch_ns is None:
            now_ns = time.time_ns()  # not the loop's time, which may be in whole milliseconds
        else:
            now_ns = self._epoch_ns + round(self.loop.time() * 1e9)
        block = enhanced_packet(now_ns, packet, direction, comment)
        if self._keylog is None:
            self._write(block)
            wait_s = FLUSH_AFTER_S
        else:
            self._hold(block)
            wait_s = FLUSH_AFTER_S / 2
        if self._flush_timer is None and self._file is not None:
            self._flush_timer = self.loop.call_later(wait_s, self._flush_file)

    def _hold(self, block: bytes) -> None:
        self._held.append(block)
        self._held_bytes += len(block)
        if self._held_bytes >= _HELD_BYTES:
            if not self._in_batch:
                self._release(len(self._held))
            elif self._held_bytes >= _HELD_BYTES_IN_BATCH:
                self.counters["captured_early"] += len(self._held)
                self._release(len(self._held))

    def _release(self, count: int) -> None:
        """Write the secrets that are known by now, and then the `count` oldest packets."""
        assert self._keylog is not None
        secrets = self._keylog.read()
        if secrets:
            self._write(decryption_secrets(secrets))
        released, self._held = self._held[:count], self._held[count:]
        self._held_bytes = sum(map(len, self._held))
        self._ripe = 0
        for block in released:
            self._write(block)

    def _write(self, block: bytes) -> None:
        if self._file is not None:
            try:
                self._file.write(block)
            except OSError:
                self._fail()

    def _flush_file(self) -> None:
        self._flush_timer = None
        if self._file is None:
            return
        assert self.loop is not None
        if self._keylog is not None:
            # Those that were here half a period ago: a handshake may take several packets.
            self._release(self._ripe)
            self._ripe = len(self._held)
            if self._held:
                self._flush_timer = self.loop.call_later(FLUSH_AFTER_S / 2, self._flush_file)
        try:
            if self._file is not None:
                self._file.flush()
        except OSError:
            self._fail()

    def _fail(self) -> None:
        self.counters["capture_failed"] = 1
        self._held.clear()
        self.end()

    def end(self) -> None:
        """Write what is held back, and record nothing more. Idempotent."""
        if self._held:
            self._release(len(self._held))
        file, self._file = self._file, None
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if self._keylog is not None:
            self._keylog.close()
        if file is None:
            return
        try:
            if self._owned:
                file.close()
            else:
                file.flush()
        except OSError:
            self.counters["capture_failed"] = 1


def section_header() -> bytes:
    """The block that begins a file (section 4.1), of unknown length, in the host's byte order."""
    application = _option(4, b"aiotcp") + _option(0, b"")  # shb_userappl
    return _block(0x0A0D0D0A, struct.pack("=IHHq", 0x1A2B3C4D, 1, 0, -1) + application)


def interface_description(name: str) -> bytes:
    """Interface 0 (section 4.2): raw IP packets of any length, timestamps in nanoseconds."""
    options = _option(2, name.encode()) + _option(9, b"\x09") + _option(0, b"")  # name, if_tsresol
    return _block(1, struct.pack("=HHI", _LINKTYPE_RAW, 0, 0) + options)


def enhanced_packet(
    time_ns: int, packet: bytes | memoryview, direction: int, comment: str = ""
) -> bytes:
    """One packet of interface 0 (section 4.3); direction is 1 for inbound, 2 for outbound."""
    length = len(packet)
    head = struct.pack(
        "=IIIII", 0, time_ns >> 32 & 0xFFFFFFFF, time_ns & 0xFFFFFFFF, length, length
    )
    options = _option(1, comment.encode()) if comment else b""
    options += _option(2, struct.pack("=I", direction)) + _option(0, b"")  # epb_flags
    return _block(6, b"".join((head, packet, bytes(-length % 4), options)))


def decryption_secrets(lines: bytes) -> bytes:
    """Lines of a TLS key log (section 4.7): they hold for the packets that follow."""
    head = struct.pack("=II", _TLS_KEY_LOG, len(lines))
    return _block(0x0A, b"".join((head, lines, bytes(-len(lines) % 4))))


def interface_statistics(time_ns: int, received: int, dropped: int) -> bytes:
    """What became of the packets of interface 0 (section 4.6), for the end of a file: how many
    there were, and how many of them were not written."""
    head = struct.pack("=III", 0, time_ns >> 32 & 0xFFFFFFFF, time_ns & 0xFFFFFFFF)
    counts = (_option(4, struct.pack("=Q", received)), _option(5, struct.pack("=Q", dropped)))
    return _block(5, b"".join((head, *counts, _option(0, b""))))


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("=I", 12 + len(body))
    return b"".join((struct.pack("=I", kind), length, body, length))


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + value + bytes(-len(value) % 4)
