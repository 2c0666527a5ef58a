"""A capture that leaves by a socket while it is taken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import BinaryIO, cast

from aiotcp.control.packets import Filter
from aiotcp.link.pcapng import Recorder, interface_statistics
from aiotcp.wire.frame import Frame

WAITING_BYTES = 8 << 20
"""At most for a reader who is slow; the packets that follow are left out, and counted."""


class Stream:
    """A `taps.Tap` that records into a transport those packets that the filter wants.

    The stack never waits: what the reader is too slow for is left out, and counted (`dropped`).

    count: how many packets at most; 0: no limit. on_end: called, from within the tap, when there
    are so many, or the reader has gone.
    """

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        loop: asyncio.AbstractEventLoop,
        wanted: Filter,
        *,
        count: int = 0,
        interface: str = "aiotcp",
        keylog: str | None = None,
        on_end: Callable[[], None],
    ) -> None:
        self.seen = 0
        self.dropped = 0
        self._left = count or -1
        self._wanted = wanted
        self._transport = transport
        self._on_end = on_end
        self._out = _Out(transport, loop)
        counters = {"captured_inbound": 0, "captured_outbound": 0, "capture_failed": 0}
        # Of its file a recorder wants no more than `_Out` has.
        self._recorder = Recorder(
            cast(BinaryIO, self._out), counters, interface=interface, keylog=keylog
        )
        self._recorder.loop = loop

    def sent(self, frame: Frame) -> None:
        if self._wanted(frame.header) and self._takes_one():
            self._recorder.sent(frame)

    def received(self, packet: memoryview) -> None:
        if self._wanted(packet) and self._takes_one():
            self._recorder.received(packet)

    def flush(self) -> None:
        self._recorder.flush()

    def end(self) -> None:
        """What is held back leaves, and then how many packets there were."""
        self._recorder.end()
        self._out.write(interface_statistics(time.time_ns(), self.seen, self.dropped))
        self._out.push()

    def _takes_one(self) -> bool:
        if not self._left:
            return False
        if self._transport.is_closing():
            self._left = 0
            self._on_end()
            return False
        self.seen += 1
        if self._out.waiting() > WAITING_BYTES:
            self.dropped += 1
            return False
        self._left -= 1
        if not self._left:
            self._on_end()
        return True


class _Out:
    """What of a file a recorder needs, written to a transport once for each turn of the loop."""

    def __init__(self, transport: asyncio.WriteTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._blocks: list[bytes] = []
        self._bytes = 0

    def waiting(self) -> int:
        return self._bytes + self._transport.get_write_buffer_size()

    def write(self, block: bytes) -> None:
        if not self._blocks:
            self._loop.call_soon(self.push)
        self._blocks.append(block)
        self._bytes += len(block)

    def push(self) -> None:
        blocks, self._blocks, self._bytes = self._blocks, [], 0
        if blocks and not self._transport.is_closing():
            self._transport.write(b"".join(blocks))

    def flush(self) -> None:
        """Nothing stays here longer than for this turn of the loop."""

    def close(self) -> None:
        """The transport is for the one who has it to close."""
