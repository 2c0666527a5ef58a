"""Addresses as packets carry them and as people write them, and which may be talked to."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from socket import AF_INET, AF_INET6, AddressFamily
from typing import Final, TypeAlias

from aiotcp.errors import address_not_available
from aiotcp.tcp.flow import (
    LOOPED,
    Endpoint,
    endpoints,
    flow_key,
    is_looped,
    split_flow,
    unpack,
)

__all__ = [
    "LOOPED",
    "Address",
    "LocalAddresses",
    "address_of",
    "endpoints",
    "family_of",
    "flow_key",
    "is_looped",
    "is_unicast",
    "is_wildcard",
    "pack",
    "split_flow",
    "unpack",
]

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""As sockets spell one: (host, port), and flow information and scope for IPv6."""

_UNSPECIFIED: Final = bytes(16)
_LOOPBACK: Final = bytes(15) + b"\1"


@lru_cache(maxsize=128)
def pack(host: str) -> bytes:
    """4 or 16 bytes. Raises ValueError for what is no literal address."""
    address = ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).packed


def is_wildcard(address: bytes) -> bool:
    return not any(address)


def is_unicast(address: bytes) -> bool:
    """Whether a connection may have this address at its other end (MUST-46, MUST-57, MUST-63).

    Neither "this network", loopback, multicast, reserved nor broadcast (RFC 1122 3.2.1.3); in
    IPv6 neither multicast, unspecified nor loopback (RFC 4291 2.5).
    """
    if len(address) == 4:
        return 0 < address[0] < 224 and address[0] != 127
    return address[0] != 0xFF and address not in (_UNSPECIFIED, _LOOPBACK)


class LocalAddresses:
    """The addresses of a stack, in order of preference."""

    def __init__(self, hosts: list[str]) -> None:
        """Raises ValueError for what is no unicast address, or for none at all; TypeError for what
        is no string."""
        for host in hosts:
            if not isinstance(host, str):
                raise TypeError(f"an address must be a string, not {host!r}")
        self.packed = {pack(host): host for host in hosts}
        """By what packets carry; to look at."""
        for address, host in self.packed.items():
            if not is_unicast(address):
                raise ValueError(f"{host} can not be the address of a stack")
        if not self.packed:
            raise ValueError("a stack needs at least one address")

    def __contains__(self, address: bytes) -> bool:
        return address in self.packed

    def __iter__(self) -> Iterator[str]:
        return map(unpack, self.packed)

    def source_for(self, remote: bytes) -> bytes | None:
        """MUST-44: the address that a connection to `remote` uses; None without one. To one of
        these it comes from there, as on Linux."""
        if remote in self.packed:
            return remote
        return next((own for own in self.packed if len(own) == len(remote)), None)

    def require(self, address: bytes) -> bytes:
        """`address` if it is one of these. Raises OSError (EADDRNOTAVAIL)."""
        if address not in self.packed:
            raise address_not_available(unpack(address))
        return address


def family_of(host: str) -> AddressFamily:
    """The address family of a literal address."""
    return AF_INET6 if ":" in host else AF_INET


def address_of(endpoint: Endpoint) -> Address:
    """An endpoint as sockets spell it."""
    host, port = endpoint
    return (host, port, 0, 0) if ":" in host else (host, port)
