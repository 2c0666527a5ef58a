"""Transports that notice when another thread than their loop's uses them: asyncio's debug mode.

A stack has no locks. `loop.call_soon_threadsafe()` is for other threads; without it a write from
one can come between two steps of the protocol, and shows much later if at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiotcp.transport import Transport


def transport_type(loop: asyncio.AbstractEventLoop) -> type[Transport]:
    """`Transport`; on a loop in debug mode (`loop.set_debug()`) one that checks its callers."""
    return _Checked if loop.get_debug() else Transport


class _Checked(Transport):
    __slots__ = ()

    def _check(self) -> None:
        loop = self._loop
        if loop is not None and loop.is_running() and asyncio._get_running_loop() is not loop:
            raise RuntimeError(
                "Non-thread-safe operation invoked on an event loop other than the current one"
            )

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._check()
        super().set_protocol(protocol)

    def pause_reading(self) -> None:
        self._check()
        super().pause_reading()

    def resume_reading(self) -> None:
        self._check()
        super().resume_reading()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._check()
        super().write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self._check()
        super().writelines(list_of_data)

    def write_urgent(self, data: bytes | bytearray | memoryview) -> None:
        self._check()
        super().write_urgent(data)

    def write_eof(self) -> None:
        self._check()
        super().write_eof()

    def close(self) -> None:
        self._check()
        super().close()

    def _force_close(self, exc: BaseException | None) -> None:
        self._check()
        super()._force_close(exc)


_Checked.__name__ = Transport.__name__  # for repr()
