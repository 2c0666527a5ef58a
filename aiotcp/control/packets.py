"""Which packets a capture is to have: what one types of tcpdump's language, pcap-filter(7).

    port 80                      src host 192.0.2.1 and not port 22
    tcp and (port 80 or 443)     net 2001:db8::/32         icmp or icmp6
    dst net 10 and greater 100   host example.org          src or dst portrange 1-1023

    filter := [not] primitive { and|or [not] primitive }    and, or: from left to right, as there
    primitive := ( filter ) | protocol | less N | greater N
               | [protocol] [src|dst|src or dst|src and dst] [host|net|port|portrange] value
    protocol := ip | ip6 | tcp | udp | sctp | icmp | icmp6

`&&`, `||` and `!` are words, too. A value without a word in front of it goes with the words of the
one before it: `port 80 or 443`. A bare address is a host. Lengths are those of IP packets, without
any header of a link.

A stack's process looks up no names of hosts, which takes time: `with_addresses` does so before, for
whoever asks.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable
from typing import NamedTuple

Filter = Callable[[bytes | memoryview], bool]
"""Told the beginning of a packet, its IP and transport headers at least; whether it is wanted."""

_TCP, _UDP, _SCTP, _ICMP, _ICMP6 = 6, 17, 132, 1, 58
_WITH_PORTS = (_TCP, _UDP, _SCTP)
_TOKENS = re.compile(r"\s*(\(|\)|&&|\|\||!=|!|[^\s()!&|]+)")
_PROTOCOLS: dict[str, Filter] = {
    "ip": lambda packet: packet[0] >> 4 == 4,
    "ip6": lambda packet: packet[0] >> 4 == 6,
    "tcp": lambda packet: _protocol(packet)[0] == _TCP,
    "udp": lambda packet: _protocol(packet)[0] == _UDP,
    "sctp": lambda packet: _protocol(packet)[0] == _SCTP,
    "icmp": lambda packet: packet[0] >> 4 == 4 and _protocol(packet)[0] == _ICMP,
    "icmp6": lambda packet: packet[0] >> 4 == 6 and _protocol(packet)[0] == _ICMP6,
}
_DEPTH = 50
_ENDS = (")", "and", "&&", "or", "||")
_KINDS = ("host", "net", "port", "portrange")
_EITHER, _BOTH = "", "src and dst"
_KNOWN = (
    "a filter is made of host, net, port and portrange, with src or dst; less and greater; "
    f"{', '.join(_PROTOCOLS)}; and, or, not, and parentheses"
)

Resolve = Callable[[str], list[str]]
"""The addresses of a host's name. Raises OSError if it has none."""


class FilterError(ValueError):
    """The text is no filter; says why, and where."""


class _Qualifiers(NamedTuple):
    protocol: str = ""
    direction: str = ""
    kind: str = ""


def with_addresses(text: str, resolve: Resolve) -> str:
    """The same filter, with addresses in the place of hosts' names, as they are now. Raises
    FilterError."""
    parser = _Parser(_tokens(text), resolve)
    if parser.tokens:
        parser.whole()
    tokens = list(parser.tokens)
    for begins, ends, hosts in reversed(parser.named):
        tokens[begins:ends] = ["(", " or ".join(hosts), ")"]
    return " ".join(tokens)


def packet_filter(text: str) -> Filter:
    """Raises FilterError. No words at all: every packet."""
    tokens = _tokens(text)
    if not tokens:
        return lambda packet: True
    wanted = _Parser(tokens).whole()

    def test(packet: bytes | memoryview) -> bool:
        try:
            return wanted(packet)
        except IndexError:
            return False  # it is cut short

    return test


def _tokens(text: str) -> list[str]:
    tokens = _TOKENS.findall(text)
    if "".join(tokens) != re.sub(r"\s", "", text):
        raise FilterError(f"cannot read {text!r}: & and | are written && and ||, or in words")
    return tokens


class _Parser:
    """named: where a host's name stands, from which token to which, and what to have there."""

    def __init__(self, tokens: list[str], resolve: Resolve | None = None) -> None:
        self.tokens = self._tokens = tokens
        self.named: list[tuple[int, int, list[str]]] = []
        self._resolve = resolve
        self._at = 0
        self._depth = 0
        self._latest = _Qualifiers()

    def whole(self) -> Filter:
        made = self._filter()
        if self._next() is not None:
            raise FilterError(f"not understood: {self._where()}; {_KNOWN}")
        return made

    def _next(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self) -> str:
        token = self._next()
        if token is None:
            raise FilterError(f"something is missing at the end of {' '.join(self._tokens)!r}")
        self._at += 1
        return token

    def _where(self) -> str:
        before, after = self._tokens[: self._at], self._tokens[self._at :]
        return repr(" ".join(after)) + (f" after {' '.join(before)!r}" if before else "")

    def _filter(self) -> Filter:
        self._depth += 1
        if self._depth > _DEPTH:
            raise FilterError("too many parentheses")
        made = self._negated()
        while (word := self._next()) in ("and", "&&", "or", "||"):
            self._at += 1
            made = (_both if word in ("and", "&&") else _either)(made, self._negated())
        self._depth -= 1
        return made

    def _negated(self) -> Filter:
        negative = False
        while self._next() in ("not", "!"):
            self._at += 1
            negative = not negative
        made = self._primitive()
        return _none(made) if negative else made

    def _primitive(self) -> Filter:
        if self._next() == "(":
            self._at += 1
            made = self._filter()
            if self._next() != ")":
                raise FilterError(
                    f"a ) is missing at {self._where()}" if self._next() else "a ) is missing"
                )
            self._at += 1
            return made
        begins = self._at
        if self._next() in ("less", "greater"):
            return self._length(self._take())
        protocol = direction = kind = ""
        if self._next() in _PROTOCOLS:
            protocol = self._take()
        directed = self._next() in ("src", "dst")
        if directed:
            direction = self._direction()
        if self._next() in _KINDS:
            kind = self._take()
        value = self._next()
        if value is None or value in _ENDS:
            if protocol and not directed and not kind:
                return _PROTOCOLS[protocol]
            where = "at the end" if value is None else f"before {value!r}"
            what = f"{kind or direction} of what? It" if kind or directed else "something"
            raise FilterError(f"{what} is missing {where}")
        if protocol or directed or kind:
            self._latest = _Qualifiers(protocol, direction, kind or "host")
        elif not self._latest.kind and not _is_address(value):
            raise FilterError(f"not understood: {self._where()}; {_KNOWN}")
        protocol, direction, kind = self._latest
        self._at += 1
        kind = kind or "host"
        if kind == "host" and self._resolve is not None and not _is_address(value):
            words = " ".join(filter(None, (protocol, direction, kind)))
            hosts = [f"{words} {address}" for address in self._addresses(value)]
            self.named.append((begins, self._at, hosts))
            return lambda packet: True
        if kind == "net" and self._next() == "mask":
            self._at += 1
            value = f"{value}/{self._take()}"
        made = _primitive(direction, kind, value)
        return _both(_PROTOCOLS[protocol], made) if protocol else made

    def _direction(self) -> str:
        """src, dst, or both words."""
        first = self._take()
        two = self._tokens[self._at : self._at + 2]
        if len(two) < 2 or two[1] not in ("src", "dst") or two[1] == first:
            return first
        if two[0] not in _ENDS[1:]:
            return first
        behind = self._tokens[self._at + 2 : self._at + 3]
        if not behind or behind[0] in _ENDS:
            return first
        self._at += 2
        return _BOTH if two[0] in ("and", "&&") else _EITHER

    def _length(self, word: str) -> Filter:
        """Bounds belong to them, as in pcap-filter(7)."""
        value = self._next()
        if value is None or not (value.isascii() and value.isdigit()):
            raise FilterError(f"{word} than how many bytes? A number is missing")
        self._at += 1
        bound = int(value)
        if word == "less":
            return lambda packet: _total(packet) <= bound
        return lambda packet: _total(packet) >= bound

    def _addresses(self, name: str) -> list[str]:
        assert self._resolve is not None
        try:
            return self._resolve(name)
        except OSError as exc:
            raise FilterError(f"host {name}: {exc.strerror or exc}") from None
        except UnicodeError:
            raise FilterError(f"host {name}: neither an address nor a host's name") from None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _both(one: Filter, other: Filter) -> Filter:
    return lambda packet: one(packet) and other(packet)


def _either(one: Filter, other: Filter) -> Filter:
    return lambda packet: one(packet) or other(packet)


def _none(one: Filter) -> Filter:
    return lambda packet: not one(packet)


def _primitive(direction: str, kind: str, value: str) -> Filter:
    if kind == "port":
        low = high = _port(value)
        return _ports(direction, low, high)
    if kind == "portrange":
        first, dash, last = value.partition("-")
        if not dash:
            raise FilterError(f"portrange {value}: not LOW-HIGH")
        return _ports(direction, _port(first), _port(last))
    try:
        network = _network(value) if kind == "net" else ipaddress.ip_network(value, strict=False)
    except ValueError:
        message = f"{kind} {value}: not an IPv4 or IPv6 address"
        if kind == "net" and _is_address(value.partition("/")[0]):
            message = f"{kind} {value}: not a network; its address has bits beyond the prefix"
        raise FilterError(message) from None
    if kind == "host" and "/" in value:
        raise FilterError(f"host {value}: a network, so it is: net {value}")
    version, width = network.version, network.max_prefixlen
    shift = width - network.prefixlen
    prefix = int(network.network_address) >> shift
    at, size = (12, 4) if version == 4 else (8, 16)

    def matches(packet: bytes | memoryview, start: int) -> bool:
        return int.from_bytes(packet[start : start + size], "big") >> shift == prefix

    def test(packet: bytes | memoryview) -> bool:
        if packet[0] >> 4 != version:
            return False
        if direction == _BOTH:
            return matches(packet, at) and matches(packet, at + size)
        return (direction != "dst" and matches(packet, at)) or (
            direction != "src" and matches(packet, at + size)
        )

    return test


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """`net 10` is 10.0.0.0/8: of an IPv4 address so many bits count as are written."""
    address, _, prefix = text.partition("/")
    parts = address.split(".")
    if len(parts) < 4 and all(part.isascii() and part.isdigit() for part in parts):
        address = ".".join([*parts, "0", "0", "0"][:4])
        text = f"{address}/{prefix or 8 * len(parts)}"
    return ipaddress.ip_network(text)


def _total(packet: bytes | memoryview) -> int:
    if packet[0] >> 4 == 4:
        return packet[2] << 8 | packet[3]
    return 40 + (packet[4] << 8 | packet[5])


def _port(text: str) -> int:
    if text.isascii() and text.isdigit():
        if int(text) <= 0xFFFF:
            return int(text)
        raise FilterError(f"port {text}: ports end at 65535")
    try:
        return socket.getservbyname(text, "tcp")
    except OSError:
        raise FilterError(f"port {text}: neither a number nor a known service") from None


def _ports(direction: str, low: int, high: int) -> Filter:
    def test(packet: bytes | memoryview) -> bool:
        protocol, at = _protocol(packet)
        if protocol not in _WITH_PORTS or (packet[0] >> 4 == 4 and _is_later_fragment(packet)):
            return False
        source = packet[at] << 8 | packet[at + 1]
        target = packet[at + 2] << 8 | packet[at + 3]
        if direction == _BOTH:
            return low <= source <= high and low <= target <= high
        return (direction != "dst" and low <= source <= high) or (
            direction != "src" and low <= target <= high
        )

    return test


def _is_later_fragment(packet: bytes | memoryview) -> bool:
    return bool(packet[6] & 0x1F or packet[7])


def _protocol(packet: bytes | memoryview) -> tuple[int, int]:
    """Of the transport, and where its header begins."""
    if packet[0] >> 4 == 4:
        return packet[9], (packet[0] & 15) * 4
    protocol, at = packet[6], 40
    while protocol in (0, 43, 60):  # hop-by-hop, routing and destination options: RFC 8200 4
        protocol, at = packet[at], at + 8 * (packet[at + 1] + 1)
    return protocol, at
