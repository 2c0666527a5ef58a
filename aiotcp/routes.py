"""Which addresses belong to a stack and which to the kernel, where both serve one event loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Generic, TypeVar

_StackT = TypeVar("_StackT")

EVERYTHING = ("0.0.0.0/0", "::/0")
LOOPBACK = ("127.0.0.0/8", "::1/128")
"""What stays with the kernel: no stack can have it."""
LINK_LOCAL = "fe80::/10"
"""So does this as long as nobody says otherwise: it means nothing without the interface."""


class Routes(Generic[_StackT]):
    """A table from prefixes to stacks; None stands for the kernel. The longest prefix decides."""

    def __init__(self) -> None:
        self._tables: dict[tuple[int, int], dict[int, _StackT | None]] = {}
        """By IP version and prefix length, the longest first; then by the prefix's value."""

    def __repr__(self) -> str:
        rows = (f"{prefix} -> {owner or 'kernel'}" for prefix, owner in self)
        return f"<Routes {', '.join(rows)}>"

    def __iter__(self) -> Iterator[tuple[str, _StackT | None]]:
        """Each prefix and whose it is, longer prefixes before shorter ones."""
        for (version, length), table in self._tables.items():
            network = IPv4Network if version == 4 else IPv6Network
            for value, owner in table.items():
                yield str(network((value, length))), owner

    def add(self, prefix: str, stack: _StackT | None) -> None:
        """Send what is within `prefix` ("10.0.0.0/8"; a bare address stands for itself alone) to
        the stack, or with None to the kernel. A later word on the same prefix replaces an earlier
        one. Raises ValueError for what is no prefix."""
        if isinstance(prefix, int):  # ipaddress would take it for the number of an address
            raise TypeError(f"a prefix must be a string, not {prefix!r}")
        network = ip_network(prefix)
        key = (network.version, network.prefixlen)
        if key not in self._tables:
            tables = {**self._tables, key: {}}
            self._tables = dict(sorted(tables.items(), key=lambda item: -item[0][1]))
        self._tables[key][int(network.network_address)] = stack

    def update(
        self, stack: _StackT, routes: Iterable[str] | Mapping[str, _StackT | None] | None
    ) -> None:
        """Add `routes`: prefixes that belong to `stack`, or a mapping from prefixes to stacks; None
        is everything but IPv6's link-local addresses. Loopback remains the kernel's, unless it is
        among the prefixes. Raises ValueError, TypeError."""
        if routes is None:
            routes = {**dict.fromkeys(EVERYTHING, stack), LINK_LOCAL: None}
        elif isinstance(routes, str):
            raise TypeError(f"routes must be a list of prefixes, not the string {routes!r}")
        elif not isinstance(routes, Mapping):
            routes = dict.fromkeys(routes, stack)
        for prefix, owner in {**dict.fromkeys(LOOPBACK), **routes}.items():
            self.add(prefix, owner)

    def lookup(self, address: str) -> _StackT | None:
        """Whose `address` is; None is the kernel, which has all that nobody was given. Raises
        ValueError for what is no literal address."""
        ip = ip_address(address.partition("%")[0])
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        value, bits = int(ip), ip.max_prefixlen
        for (version, length), table in self._tables.items():
            if version == ip.version:
                shift = bits - length
                key = value >> shift << shift
                if key in table:
                    return table[key]
        return None
