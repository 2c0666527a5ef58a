"""Taps: who looks at the packets of a stack that is running, and for how long he likes.

A tap stands at the border between stack and link, where packets in have not been judged yet and
those out have left for good. What a stack sends to itself never gets there, and is not seen.

Without a tap nothing stands there: with the first one, the stack gets another `link` and another
`receive`, and with the last one it loses them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from aiotcp.inbound import Inbound
    from aiotcp.link.base import Link
    from aiotcp.wire.frame import Frame


class Tap(Protocol):
    """Who looks. None of these may raise, or call the stack."""

    def sent(self, frame: Frame) -> None:
        """On its way to the link, which may drop it yet."""
        ...

    def received(self, packet: memoryview) -> None:
        """From the link; valid until `flush`. May be malformed."""
        ...

    def flush(self) -> None:
        """The batch of received packets is over, and was answered."""
        ...


class Taps:
    """The taps of one stack."""

    def __init__(self, engine: Inbound) -> None:
        self._engine = engine
        self._taps: tuple[Tap, ...] = ()
        self._link: _TappedLink | None = None

    def add(self, tap: Tap) -> None:
        """It sees what comes and goes from now on."""
        engine = self._engine
        self._taps = (*self._taps, tap)
        if self._link is not None:
            return
        self._link = _TappedLink(engine.link, self)
        engine.link = self._link
        # Found before the class's methods. Links look these up for each batch, at least.
        engine.receive = self._receive  # type: ignore[method-assign]
        engine.flush = self._flush  # type: ignore[method-assign]

    def remove(self, tap: Tap) -> None:
        """It sees nothing any more. Harmless when repeated."""
        engine = self._engine
        self._taps = tuple(each for each in self._taps if each is not tap)
        if self._taps or self._link is None or engine.link is not self._link:
            return  # or somebody has put a link of his own around ours
        engine.link, self._link = self._link.below, None
        del engine.receive, engine.flush

    def sent(self, frame: Frame) -> None:
        for tap in self._taps:
            tap.sent(frame)

    def _receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
        engine = self._engine
        if not engine.looping:
            for tap in self._taps:
                tap.received(packet)
        type(engine).receive(engine, packet, vouched, gso_size)

    def _flush(self) -> int:
        kept = type(self._engine).flush(self._engine)
        for tap in self._taps:
            tap.flush()
        return kept


class _TappedLink:
    """The link below in everything but that the taps see what is sent."""

    if TYPE_CHECKING:
        mtu: int
        gso_max_bytes: int
        checksum_offload: bool
        counters: dict[str, int]
        attach: Any
        close: Any

    def __init__(self, link: Link, taps: Taps) -> None:
        self.below = link
        self._taps = taps

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)

    def __repr__(self) -> str:
        return repr(self.below)

    def send(self, frame: Frame) -> None:
        self._taps.sent(frame)
        self.below.send(frame)
