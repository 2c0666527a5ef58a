"""The listening ports of a stack."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from aiotcp.tcp.connection import Connection
from aiotcp.tcp.listener import Listener

_Accept = Callable[[Connection], None]


class Listeners:
    """Listeners by address and port. An address of zeros stands for all of its family."""

    def __init__(self) -> None:
        self._by_port: dict[int, dict[bytes, list[Listener]]] = {}
        self._shared: set[Listener] = set()
        self._accept: dict[Listener, _Accept] = {}

    def all(self) -> list[Listener]:
        return list(self._accept)

    def find(self, address: bytes, port: int, flow: bytes) -> Listener | None:
        """Who takes a SYN to `address`; of several that share the port, `flow` decides."""
        bound = self._by_port.get(port)
        if bound is None:
            return None
        candidates = bound.get(address) or bound.get(bytes(len(address)))
        if not candidates:
            return None
        return candidates[crc32(flow) % len(candidates)] if len(candidates) > 1 else candidates[0]

    def clashes(self, address: bytes, port: int, *, sharing: bool = False) -> bool:
        """Whether a new listener there is refused: as bind(2) does, wildcard against all."""
        for other, listeners in self._by_port.get(port, {}).items():
            if len(other) != len(address) or not (
                other == address or not any(other) or not any(address)
            ):
                continue
            if any(not (sharing and listener in self._shared) for listener in listeners):
                return True
        return False

    def add(
        self, listener: Listener, address: bytes, port: int, accept: _Accept, *, shared: bool
    ) -> None:
        self._by_port.setdefault(port, {}).setdefault(address, []).append(listener)
        self._accept[listener] = accept
        if shared:
            self._shared.add(listener)

    def remove(self, listener: Listener) -> None:
        bound = self._by_port[listener.local.port]
        for address, listeners in list(bound.items()):
            if listener in listeners:
                listeners.remove(listener)
                if not listeners:
                    del bound[address]
        if not bound:
            del self._by_port[listener.local.port]
        self._shared.discard(listener)
        del self._accept[listener]

    def accept(self, listener: Listener, conn: Connection) -> None:
        self._accept[listener](conn)
