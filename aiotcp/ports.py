"""Ephemeral ports (RFC 6056)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiotcp.tcp.digest import blake2b

FIRST: Final = 49152
LAST: Final = 65535
"""The dynamic ports of RFC 6335 6."""

_TABLE_SIZE: Final = 1024


class EphemeralPorts:
    """Double-hash port selection (RFC 6056 3.3.4, algorithm 4).

    Outsiders cannot guess the port, and one destination sees its ports in turn, so that a port
    comes back only after all the others: the longest wait for TIME-WAIT there can be.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._next: dict[int, int] = {}  # the RFC's table, each entry from when it is needed

    def _hash(self, purpose: bytes, data: bytes) -> int:
        digest = blake2b(data, key=self._secret, digest_size=4, person=purpose)
        return int.from_bytes(digest.digest(), "big")

    def choose(self, destination: bytes, is_free: Callable[[int], bool]) -> int | None:
        """A port towards `destination` (addresses and remote port), or None if all are in use."""
        count = LAST - FIRST + 1
        offset = self._hash(b"ports-offset", destination)
        index = self._hash(b"ports-index", destination) % _TABLE_SIZE
        if index not in self._next:
            self._next[index] = self._hash(b"ports-init", index.to_bytes(4, "big"))
        for _ in range(count):
            port = FIRST + (offset + self._next[index]) % count
            self._next[index] += 1
            if is_free(port):
                return port
        return None
