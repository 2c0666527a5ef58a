"""Pairs of links over descriptors, each made and joined in its own way."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from aiotcp.link.descriptor import DescriptorLink
from aiotcp.link.fd import Fd
from aiotcp.link.udp import Udp
from aiotcp.link.unix import Unix

Pair: TypeAlias = tuple[DescriptorLink, DescriptorLink]

LOCALHOST = {4: "127.0.0.1", 6: "::1"}


@dataclass(frozen=True)
class Kind:
    """A way to join two processes."""

    name: str
    make: Callable[[Path, int], Pair]
    """Two links of an MTU; the folder is for the paths of sockets."""


def udp(version: int, mtu: int) -> Pair:
    """One end knows its peer, the other learns it."""
    left = Udp((LOCALHOST[version], 0), mtu=mtu)
    right = Udp((LOCALHOST[version], 0), peer=left.address[:2], mtu=mtu)
    left.peer = right.address
    return left, right


def unix(folder: Path, mtu: int) -> Pair:
    left, right = folder / "left.sock", folder / "right.sock"
    return Unix(left, peer=right, mtu=mtu), Unix(right, peer=left, mtu=mtu)


def socketpair(kind: int, mtu: int) -> Pair:
    """One end is handed over as a socket, the other as a number."""
    left, right = socket.socketpair(socket.AF_UNIX, kind)
    with left, right:  # what has been handed over is not closed here
        return Fd(left, mtu=mtu), Fd(os.dup(right.fileno()), mtu=mtu)


UDP = Kind("udp", lambda _, mtu: udp(4, mtu))
UDP_V6 = Kind("udp6", lambda _, mtu: udp(6, mtu))
UNIX = Kind("unix", unix)
SEQPACKET = Kind("seqpacket", lambda _, mtu: socketpair(socket.SOCK_SEQPACKET, mtu))
DATAGRAM = Kind("dgram", lambda _, mtu: socketpair(socket.SOCK_DGRAM, mtu))

KINDS = (UDP, UDP_V6, UNIX, SEQPACKET, DATAGRAM)


@contextmanager
def joined(kind: Kind, folder: Path, mtu: int = 1400) -> Iterator[Pair]:
    """A pair, closed at the end."""
    left, right = kind.make(folder, mtu)
    try:
        yield left, right
    finally:
        left.close()
        right.close()
