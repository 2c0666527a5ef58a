"""`aiotcp capture`: the packets of a running stack, as they come and go, each with its reason."""

from __future__ import annotations

import io
import os
import select
import signal
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import BinaryIO, cast

import click

from aiotcp.cli import output
from aiotcp.cli.asking import EXIT_CODES, NoAnswer, choose, which_stack
from aiotcp.control.client import Client, ControlError
from aiotcp.control.packets import FilterError, packet_filter, with_addresses
from aiotcp.trace.capturefile import INBOUND, packets
from aiotcp.trace.conversations import Conversations

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_LOOK_MS = 1000
_ENDING_S = 5.0
"""How long a stack that was told to end the capture may say nothing."""


@click.command(epilog=f"{EXIT_CODES} A reader who closes the pipe, and Ctrl-C, are no failure.")
@click.option(
    "-w",
    "--write",
    "file",
    metavar="FILE|-",
    help="Write pcapng to this file, or to stdout. Without it: a line for each packet.",
)
@click.option("-c", "--count", type=click.IntRange(min=1), help="End after so many packets.")
@click.option(
    "--secrets",
    is_flag=True,
    help="With the TLS secrets that the program writes where SSLKEYLOGFILE says.",
)
@click.option(
    "--keylog",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With the TLS secrets that are added to FILE, such as those of another program; it is the "
    "stack's process that reads them.",
)
@which_stack
@click.argument("filter", nargs=-1, type=click.UNPROCESSED, metavar="[FILTER]")
def command(
    filter: tuple[str, ...],
    pid: int | None,
    sockets: tuple[Path, ...],
    file: str | None,
    count: int | None,
    secrets: bool,
    keylog: Path | None,
) -> None:
    """Capture the packets of a running stack, from now until Ctrl-C. Each one that it sends has a
    comment, which says why: in Wireshark, show the column frame.comment.

      aiotcp capture -w - | wireshark -k -i -

      aiotcp capture -w web.pcapng -c 100 'port 80 and host 192.0.2.1'

    FILTER is tcpdump's language: host, net, port, portrange, with src or dst; less, greater; ip,
    ip6, tcp, udp, sctp, icmp, icmp6; and, or, not, and parentheses. Names of hosts are looked up
    once, now.
    """
    try:
        text = with_addresses(" ".join(filter), _addresses)
        packet_filter(text)
    except FilterError as exc:
        raise click.UsageError(str(exc)) from None
    if secrets and keylog is not None:
        raise click.UsageError("--secrets and --keylog exclude each other")
    if file == "-" and sys.stdout.isatty():
        raise click.UsageError("a terminal can't show pcapng: -w FILE, or | wireshark -k -i -")
    with ExitStack() as closing:
        stack = choose(pid, sockets)
        out = _opened(file, private=secrets or keylog is not None) if file else None
        clients = [closing.enter_context(client) for client in _clients(stack.paths)]
        asked = {
            "filter": text,
            "count": count or 0,
            "keylog": True if secrets else str(keylog.absolute()) if keylog else None,
        }
        merged = _Merged(count)
        with merged.ended_by_signals():
            try:
                for client in clients:
                    merged.add(client.stream("capture", **asked))
            except ControlError as exc:
                raise NoAnswer(str(exc)) from None
            try:
                if out is None:
                    _tell(merged)
                else:
                    _write(merged, closing.enter_context(out))
            except BrokenPipeError:
                if out is None:
                    output.to_nowhere()
                merged.abandon()
        click.echo(merged.summary(), err=True)


def _addresses(name: str) -> list[str]:
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in found))


def _clients(paths: list[Path]) -> Iterator[Client]:
    for path in paths:
        try:
            yield Client(path)
        except ControlError as exc:
            raise NoAnswer(str(exc)) from None


def _opened(name: str, *, private: bool) -> io.FileIO:
    try:
        if name == "-":
            return io.FileIO(os.dup(sys.stdout.fileno()), "wb")
        mode = 0o600 if private else 0o666
        return io.FileIO(name, "wb", opener=lambda path, flags: os.open(path, flags, mode))
    except OSError as exc:
        raise NoAnswer(f"-w {name}: {exc.strerror}") from None


def _write(merged: _Merged, file: io.FileIO) -> None:
    merged.watch(file.fileno())
    size = captured = 0
    try:
        for blocks in merged.blocks():
            left = memoryview(blocks)
            while left:
                left = left[file.write(left) :]
            size, captured = size + len(blocks), merged.captured
    except ConnectionError:
        raise BrokenPipeError from None  # a socket may say so in other words
    except OSError as exc:
        with suppress(OSError):
            file.truncate(size)  # to whole packets
        raise NoAnswer(f"-w: {exc.strerror}, after {_packets(captured)}") from None


def _tell(merged: _Merged) -> None:
    """A line for each packet, in the manner of tcpdump, with relative numbers and the reason."""
    out = output.console()
    conversations = Conversations()
    for packet in packets(cast(BinaryIO, io.BufferedReader(_File(merged.blocks())))):
        segment = conversations.segment(0.0, memoryview(packet.data), packet.comment)
        seconds, part = divmod(packet.time_ns, 10**9)
        at = f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{part // 1000:06}"
        direction = "In " if packet.direction == INBOUND else "Out"
        parts = [(f"{at} {direction} ", "dim")]
        if segment is None:
            parts.append((f"{len(packet.data)} bytes that are no TCP segment", ""))
        else:
            flow = conversations.flows[segment.flow]
            client, server = flow.ends.split(" → ")
            ways = (client, server) if segment.sender == flow.client else (server, client)
            parts.append((f"{' > '.join(ways)}: ", ""))
            parts.append((segment.text(), "yellow" if segment.again else ""))
            if segment.options:
                parts.append((f" [{' '.join(segment.options)}]", "dim"))
        parts.append((f"  {packet.comment}", "cyan"))
        output.line(out, *parts)
        out.file.flush()


class _File(io.RawIOBase):
    """What comes in pieces, to be read as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._left:
            self._left = next(self._pieces, b"")
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


class _Merged:
    """The captures of several processes as one file, in which each is an interface."""

    def __init__(self, count: int | None) -> None:
        self.captured = self.dropped = 0
        self._streams: dict[int, socket.socket] = {}
        self._pending: dict[int, bytes] = {}
        self._interface: dict[int, int] = {}
        self._begun = False
        self._limit = count
        self._poll = select.poll()
        self._reader = -1
        self._ended_at: float | None = None

    def add(self, stream: socket.socket) -> None:
        """One more."""
        descriptor = stream.fileno()
        self._streams[descriptor] = stream
        self._pending[descriptor] = b""
        self._poll.register(descriptor, select.POLLIN)
        if self._ended_at is not None:
            self.end()

    def watch(self, descriptor: int) -> None:
        """Of a pipe, be told when its reader has gone, though nothing is written."""
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):
            self._reader = descriptor
            self._poll.register(descriptor, 0)

    @contextmanager
    def ended_by_signals(self) -> Iterator[None]:
        """SIGINT, SIGTERM, and SIGHUP unless it is ignored, let it end in order; a second one ends
        the program."""
        before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

        def end(number: int, frame: FrameType | None) -> None:
            signal.signal(number, before[signal.Signals(number)])
            self.end()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # by nohup
                before[number] = signal.signal(number, end)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def end(self) -> None:
        """Say that there is to be no more; what is under way still comes."""
        self._ended_at = time.monotonic()
        for stream in self._streams.values():
            with suppress(OSError):
                stream.shutdown(socket.SHUT_WR)

    def abandon(self) -> None:
        """Nobody takes the packets any more. How many were dropped is told all the same."""
        captured = self.captured
        if self._reader != -1:
            self._poll.unregister(self._reader)
            self._reader = -1
        self.end()
        for _ in self.blocks():
            pass
        self.captured = captured

    def summary(self) -> str:
        missing = f", {self.dropped} dropped: they came faster than they were read"
        return f"{_packets(self.captured)} captured{missing if self.dropped else ''}"

    def blocks(self) -> Iterator[bytes]:
        """Whole blocks, some at a time, to the end. Raises BrokenPipeError as `watch` says."""
        while self._pending:
            found = []
            ready = self._poll.poll(_LOOK_MS)
            if not ready and self._ended_at and time.monotonic() > self._ended_at + _ENDING_S:
                return
            for descriptor, _ in ready:
                if descriptor == self._reader:
                    raise BrokenPipeError
                found += self._read(descriptor)
            if found:
                yield b"".join(found)

    def _read(self, descriptor: int) -> list[bytes]:
        try:
            data = self._streams[descriptor].recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self._poll.unregister(descriptor)
            del self._pending[descriptor]
            return []
        found = []
        data = self._pending[descriptor] + data
        at = 0
        while len(data) - at >= 12:
            kind, length = struct.unpack_from("=II", data, at)
            if len(data) - at < length:
                break
            block = self._block(descriptor, kind, data[at : at + length])
            if block:
                found.append(block)
            at += max(length, 12)
        self._pending[descriptor] = data[at:]
        return found

    def _block(self, descriptor: int, kind: int, block: bytes) -> bytes:
        """As it is to be in the file; empty if it is not."""
        if kind == _SECTION:
            if self._begun:
                return b""
            self._begun = True
        elif kind == _INTERFACE:
            self._interface[descriptor] = len(self._interface)
        elif kind in (_PACKET, _STATISTICS):
            if kind == _PACKET:
                if self.captured == self._limit:
                    return b""
                self.captured += 1
                if self.captured == self._limit:
                    self.end()
            else:
                self.dropped += _dropped(block)
            number = struct.pack("=I", self._interface.get(descriptor, 0))
            return b"".join((block[:8], number, block[12:]))
        return block


def _packets(count: int) -> str:
    return "1 packet" if count == 1 else f"{count} packets"


def _dropped(block: bytes) -> int:
    """What statistics of an interface say of packets that were left out."""
    at = 20
    while at + 4 <= len(block) - 4:
        code, length = struct.unpack_from("=HH", block, at)
        if code == 0:
            break
        if code == 5:
            return int.from_bytes(block[at + 4 : at + 4 + length], sys.byteorder)
        at += 4 + length + -length % 4
    return 0
