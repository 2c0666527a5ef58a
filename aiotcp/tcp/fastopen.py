"""TCP Fast Open: the server's cookies and what a client remembers of servers (RFC 7413 4.1).

A cookie shows that its bearer has received packets at its address before. That is why a server
may act on data that comes with it in a SYN, and answer, before the handshake is complete.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiotcp.tcp.digest import blake2b, compare_digest

PERIOD_S: Final = 86400.0
"""RFC 7413 4.1.2, 5: "The cookie expires after a certain amount of time". One that a stack made
with a key of its own is good in the period in which it was made and in the next."""

COOKIE_BYTES: Final = 8

PENALTY_S: Final = 60.0
"""How long a reset connection still counts as pending (RFC 7413 5.1), and how long a path is left
alone after its first failure; both as in Linux."""

_MAX_DOUBLINGS: Final = 10
_USUAL_MSS: Final = {4: 1460, 16: 1440}
_DEFAULT_MSS: Final = {4: 536, 16: 1220}


# -- the server -------------------------------------------------------------------------------


def own_keys(secret: bytes, now: float) -> tuple[bytes, bytes]:
    """The keys of a stack that was not given any: of this period and of the one before."""
    period = int(now // PERIOD_S)
    made, before = (
        blake2b(
            number.to_bytes(8, "big", signed=True),
            key=secret,
            digest_size=16,
            person=b"aiotcp-tfo-key",
        ).digest()
        for number in (period, period - 1)
    )
    return made, before


def make(key: bytes, client: bytes, server: bytes) -> bytes:
    """The cookie of `client` at `server`, addresses as in IP headers (4.1.2: "a MAC tag" that
    "authenticates the client's (source) IP address")."""
    said = client + server
    return blake2b(said, key=key, digest_size=COOKIE_BYTES, person=b"aiotcp-tfo").digest()


def check(keys: tuple[bytes, ...], client: bytes, server: bytes, cookie: bytes) -> int | None:
    """With which of the `keys` the cookie was made; None: with none of them.

    After the first the client is to get a new one: "the server can implement key rotation to
    generate and verify cookies using multiple keys" (4.1.2).
    """
    for index, key in enumerate(keys):
        if compare_digest(make(key, client, server), cookie):
            return index
    return None


# -- the client -------------------------------------------------------------------------------


class Known:
    """What is known of one server's port, from one address of ours."""

    __slots__ = ("cookie", "disabled_until", "failures", "mss")

    def __init__(self) -> None:
        self.cookie = b""
        self.mss = 0
        self.failures = 0
        """In a row; each doubles the time for which Fast Open is not tried."""
        self.disabled_until = 0.0


class CookieCache:
    """Cookies by remote address, local address and remote port (4.1.3): bounded, the least
    recently used gives way beyond `limit`."""

    __slots__ = ("_known", "_on_evicted", "limit")

    def __init__(self, limit: int, on_evicted: Callable[[], None]) -> None:
        """`on_evicted` is called for each entry that gives way."""
        self.limit = limit
        self._on_evicted = on_evicted
        self._known: dict[bytes, Known] = {}  # the least recently used first

    def __len__(self) -> int:
        return len(self._known)

    def find(self, server: bytes) -> Known | None:
        """What is known of a server, whose key is remote and local address and remote port."""
        known = self._known.pop(server, None)
        if known is not None:
            self._known[server] = known
        return known

    def usable(self, server: bytes, now: float) -> Known | None:
        """How to open a connection to `server`: with the cookie, with the request for one if that
        is empty, or, None, without Fast Open."""
        known = self.find(server) or Known()
        return known if now >= known.disabled_until else None

    def learn(self, server: bytes, cookie: bytes, mss: int | None) -> None:
        """A SYN+ACK brought a cookie; `mss` is its MSS option's. RFC 7413 4.1.3: a client "MAY
        limit the cached MSS to 1460 bytes for IPv4 or 1440 for IPv6"."""
        address = (len(server) - 2) // 2
        if mss is None:
            mss = _DEFAULT_MSS[address]
        self._entry(server).cookie = cookie
        self._entry(server).mss = min(mss, _USUAL_MSS[address])
        self.worked(server)

    def worked(self, server: bytes) -> None:
        """Fast Open passes on this path."""
        known = self._entry(server)
        known.failures = 0
        known.disabled_until = 0.0

    def failed(self, server: bytes, now: float) -> None:
        """4.1.3.1: "For any negative responses, the client SHOULD disable Fast Open on the
        specific path [...] at least temporarily": a minute, then two, up to 17 hours."""
        known = self._entry(server)
        known.disabled_until = now + PENALTY_S * (1 << min(known.failures, _MAX_DOUBLINGS))
        known.failures += 1

    def _entry(self, server: bytes) -> Known:
        known = self.find(server)
        if known is None:
            known = self._known[server] = Known()
            if len(self._known) > self.limit:
                del self._known[next(iter(self._known))]
                self._on_evicted()
        return known
