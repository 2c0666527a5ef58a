"""The listening ports of a stack."""

from __future__ import annotations

import itertools
from binascii import crc32
from collections.abc import Callable

from aiotcp.tcp.connection import Connection
from aiotcp.tcp.listener import Listener

_Accept = Callable[[Connection], None]

_ByPort = dict[int, dict[bytes, list[Listener]]]


class Listeners:
    """Listeners by address and port. An address of zeros stands for all of its family that the
    stack has, `everywhere` for all that there are; port 0 for every port, and only together with
    that.

    Some only hold their port: as after bind(2) and before listen(2), nobody else can have it, and
    nobody takes a SYN.
    """

    def __init__(self) -> None:
        self._by_port: _ByPort = {}
        self._held: _ByPort = {}
        self._shared: set[Listener] = set()
        self._accept: dict[Listener, _Accept] = {}
        self.transparent = 0
        """How many of them are for addresses that are not the stack's, too."""

    def all(self) -> list[Listener]:
        return list(self._accept)

    def listening(self) -> list[Listener]:
        """Without those that only hold their port."""
        return [
            listener
            for bound in self._by_port.values()
            for listeners in bound.values()
            for listener in listeners
        ]

    def find(self, address: bytes, port: int, flow: bytes, *, own: bool) -> Listener | None:
        """Who takes a SYN to `address`, which is the stack's `own` or not; of several that share
        the port, `flow` decides."""
        bound = self._by_port.get(port)
        candidates = None
        if own and bound is not None:
            candidates = bound.get(address) or bound.get(bytes(len(address)))
        if not candidates and self.transparent:
            everyone = everywhere(address)
            if bound is not None:
                candidates = bound.get(everyone)
            candidates = candidates or self._by_port.get(0, {}).get(everyone)
        if not candidates:
            return None
        return candidates[crc32(flow) % len(candidates)] if len(candidates) > 1 else candidates[0]

    def clashes(self, address: bytes, port: int, *, sharing: bool = False) -> bool:
        """Whether a new listener there is refused: as bind(2) does, wildcard against all."""
        bound = self._by_port.get(port, {}), self._held.get(port, {})
        for other, listeners in itertools.chain(*(each.items() for each in bound)):
            if len(other) != len(address) or not (
                other == address or not any(other) or not any(address)
            ):
                continue
            if any(not (sharing and listener in self._shared) for listener in listeners):
                return True
        return False

    def add(
        self,
        listener: Listener,
        address: bytes,
        port: int,
        accept: _Accept,
        *,
        shared: bool,
        held: bool,
    ) -> None:
        """With `held`, until `start`, it only holds its port."""
        bound = self._held if held else self._by_port
        bound.setdefault(port, {}).setdefault(address, []).append(listener)
        self._accept[listener] = accept
        self.transparent += listener.transparent
        if shared:
            self._shared.add(listener)

    def start(self, listener: Listener) -> None:
        """It held its port, and takes SYNs from now on. Idempotent."""
        address = _take_out(self._held, listener)
        if address is not None:
            bound = self._by_port.setdefault(listener.local.port, {})
            bound.setdefault(address, []).append(listener)

    def remove(self, listener: Listener) -> None:
        if _take_out(self._by_port, listener) is None:
            _take_out(self._held, listener)
        self._shared.discard(listener)
        self.transparent -= listener.transparent
        del self._accept[listener]

    def accept(self, listener: Listener, conn: Connection) -> None:
        self._accept[listener](conn)


def everywhere(address: bytes) -> bytes:
    """What stands for all addresses of the family of `address`. It has another length: who listens
    there keeps nobody out of one address, or of all that the stack has, nor the other way round."""
    return bytes(len(address) + 1)


def _take_out(by_port: _ByPort, listener: Listener) -> bytes | None:
    """Its address; None if it is not there."""
    port = listener.local.port
    bound = by_port.get(port, {})
    for address, listeners in bound.items():
        if listener in listeners:
            listeners.remove(listener)
            if not listeners:
                del bound[address]
            if not bound:
                del by_port[port]
            return address
    return None
