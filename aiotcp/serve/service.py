"""What the program asks of a service, and how the two write addresses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from aiotcp.streams import Stack

Listening = Callable[[Sequence[tuple[str, int]]], None]
"""Called by a service with the addresses and ports at which it accepts connections now."""


_DEFAULT_PORTS = {"http": 80, "https": 443}


class Service(Protocol):
    """Something served on a stack."""

    what: str
    """In a word or two, for people."""

    def commands(self, host: str, port: int) -> list[str]:
        """What to type to see it work at one address."""
        ...

    async def run(self, stack: Stack, listening: Listening) -> None:
        """Serve until stopped, then finish what is in hand."""
        ...

    def stop(self) -> None:
        """Take no more connections, and let `run` return when it can."""
        ...


def joined(host: str, port: int) -> str:
    """ "192.0.2.2:80", "[2001:db8::2]:80"."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def curl(scheme: str, host: str, port: int) -> str:
    """The command that fetches from there; quoted where a shell would read brackets its own way."""
    at = joined(host, port)
    if scheme in _DEFAULT_PORTS:
        at = at.removesuffix(f":{_DEFAULT_PORTS[scheme]}") if port == _DEFAULT_PORTS[scheme] else at
        at += "/"
    return f"curl '{scheme}://{at}'" if ":" in host else f"curl {scheme}://{at}"
