"""Taps: who looks at the packets of a stack that is running, and for how long he likes.

A tap stands at the border between stack and link, where packets in have not been judged yet and
those out have left for good. What a stack sends to itself never gets there, and is not seen.

Without a tap nothing stands there: with the first one, the stack gets another `link` and another
`receive`, and with the last one its own again. A tap may come and go many times in a second: only
values change, and what the interpreter has learned about the stack stays true.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

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


_Receiving: TypeAlias = tuple[Callable[..., None], Callable[[], int]]
"""`receive` and `flush`."""


class Taps:
    """The taps of one stack."""

    def __init__(self, engine: Inbound) -> None:
        self._engine = engine
        self._taps: tuple[Tap, ...] = ()
        self._link: _TappedLink | None = None
        self._stands = False
        self._untapped: _Receiving = engine.receive, engine.flush
        self._tapped: _Receiving
        # What of the taps is called, in lists that stay the same: see `_stand_between`.
        self._sent: list[Callable[[Frame], None]] = []
        self._received: list[Callable[[memoryview], None]] = []
        self._flushed: list[Callable[[], None]] = []

    def add(self, tap: Tap) -> None:
        """It sees what comes and goes from now on."""
        self._have((*self._taps, tap))
        if self._stands:
            return
        if self._link is None or self._link.below is not self._engine.link:
            self._link = _TappedLink(self._engine.link)
            self._stand_between(self._link)
        self._put(self._link)

    def remove(self, tap: Tap) -> None:
        """It sees nothing any more. Harmless when repeated."""
        engine = self._engine
        self._have(tuple(each for each in self._taps if each is not tap))
        if self._taps or not self._stands or engine.link is not self._link:
            return  # or somebody has put a link of his own around ours
        self._stands = False
        engine.link = self._link.below
        engine.receive, engine.flush = self._untapped  # type: ignore[method-assign]

    def _put(self, link: _TappedLink) -> None:
        engine = self._engine
        self._stands = True
        engine.link = link
        # Found before the class's methods. Links look these up for each batch, at least.
        engine.receive, engine.flush = self._tapped  # type: ignore[method-assign]

    def _have(self, taps: tuple[Tap, ...]) -> None:
        self._taps = taps
        self._sent[:] = [tap.sent for tap in taps]
        self._received[:] = [tap.received for tap in taps]
        self._flushed[:] = [tap.flush for tap in taps]

    def _stand_between(self, link: _TappedLink) -> None:
        """Functions that find all that they need in variables of their own: each packet passes
        through them."""
        engine = self._engine
        sent, received, flushed = self._sent, self._received, self._flushed
        below = link.below.send
        receive_untapped, flush_untapped = self._untapped

        def send(frame: Frame) -> None:
            for see in sent:
                see(frame)
            below(frame)

        def receive(packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
            if not engine.looping:
                for see in received:
                    see(packet)
            receive_untapped(packet, vouched, gso_size)

        def flush() -> int:
            kept: int = flush_untapped()
            for see in flushed:
                see()
            return kept

        link.send = send
        self._tapped = receive, flush


class _TappedLink:
    """The link below in everything but that the taps see what is sent."""

    if TYPE_CHECKING:
        mtu: int
        gso_max_bytes: int
        checksum_offload: bool
        counters: dict[str, int]
        attach: Any
        close: Any
        send: Any

    def __init__(self, link: Link) -> None:
        self.below = link

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)

    def __repr__(self) -> str:
        return repr(self.below)
