"""The key of a connection: its addresses and ports, as the packets that come in carry them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Final, NamedTuple, TypeAlias

_Split: TypeAlias = Callable[[bytes], tuple[bytes, bytes, int, int]]
_split_ipv4: Final[_Split] = struct.Struct("!4s4sHH").unpack_from
_split_ipv6: Final[_Split] = struct.Struct("!16s16sHH").unpack_from

LOOPED: Final = b"\0"
"""Ends the key of a connection between two addresses of one stack (`loopback`). So nothing that is
cut out of a packet of the link is ever equal to it, and a stranger's packet that claims to come
from one of our own addresses finds no connection."""


class Endpoint(NamedTuple):
    """An address in its usual text form, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def unpack(address: bytes) -> str:
    """The usual text form of 4 or 16 bytes."""
    return ".".join(map(str, address)) if len(address) == 4 else str(IPv6Address(address))


def flow_key(local: bytes, local_port: int, remote: bytes, remote_port: int) -> bytes:
    """The 4-tuple in the order of an inbound packet: the demultiplexer's key."""
    return b"".join((remote, local, remote_port.to_bytes(2, "big"), local_port.to_bytes(2, "big")))


def split_flow(flow: bytes) -> tuple[bytes, int, bytes, int]:
    """(local, local port, remote, remote port) of a key."""
    if len(flow) < 36:
        remote, local, remote_port, local_port = _split_ipv4(flow)
    else:
        remote, local, remote_port, local_port = _split_ipv6(flow)
    return local, local_port, remote, remote_port


def is_looped(flow: bytes) -> bool:
    """Whether a key has the mark `LOOPED`."""
    return len(flow) & 1 == 1


def local_endpoint(flow: bytes) -> Endpoint:
    """Our end of a key."""
    local, port, _, _ = split_flow(flow)
    return Endpoint(unpack(local), port)


def remote_endpoint(flow: bytes) -> Endpoint:
    """The peer's."""
    _, _, remote, port = split_flow(flow)
    return Endpoint(unpack(remote), port)


def endpoints(flow: bytes) -> tuple[Endpoint, Endpoint]:
    """Local and remote end of a key."""
    return local_endpoint(flow), remote_endpoint(flow)
