"""A receiver that keeps what a link delivers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Arrival:
    """One packet as it was received, and the loop's time at which that was."""

    packet: bytes
    vouched: bool
    gso_size: int
    at: float


class Recorder:
    """Attach it to a link: ``link.attach(recorder, loop)``.

    arrivals: every packet. batches: the number of packets before each flush. lost: what
    ``link_lost`` reported.
    """

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.batches: list[int] = []
        self.lost: list[OSError] = []
        self._unflushed = 0
        self._news = asyncio.Event()

    @property
    def packets(self) -> list[bytes]:
        return [arrival.packet for arrival in self.arrivals]

    def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
        now = asyncio.get_running_loop().time()
        self.arrivals.append(Arrival(bytes(packet), vouched, gso_size, now))
        self._unflushed += 1

    def flush(self) -> None:
        self.batches.append(self._unflushed)
        self._unflushed = 0
        self._news.set()

    def link_lost(self, exc: OSError) -> None:
        self.lost.append(exc)
        self._news.set()

    async def until(self, wanted: Callable[[bytes], bool], *, start: int = 0) -> Arrival:
        """The first arrival from number `start` on whose packet is wanted, waited for."""
        async with asyncio.timeout(60):
            while True:
                for arrival in self.arrivals[start:]:
                    if wanted(arrival.packet):
                        return arrival
                await self._changed()

    async def until_lost(self) -> OSError:
        async with asyncio.timeout(60):
            while not self.lost:
                await self._changed()
        return self.lost[0]

    async def _changed(self) -> None:
        self._news.clear()
        await self._news.wait()
