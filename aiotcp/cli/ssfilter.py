"""What follows the options of `ss`: which states, and which addresses and ports.

    state established                       '( sport = :80 or sport = :443 )' dst 192.0.2.0/24
    exclude listening exclude time-wait     not dport gt :1024

Operators are = (==, eq), != (ne), < (lt), <= (le), > (gt), >= (ge); none is =. `and` binds closer
than `or`; side by side is `and`; & | ! are words, too.
"""

from __future__ import annotations

import ipaddress
import operator
import re
import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Row = dict[str, Any]
Test = Callable[[Row], bool]

ALL = frozenset(
    {
        *("ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "UNCONN"),
        *("CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING"),
    }
)
_CONNECTED = ALL - {"LISTEN", "UNCONN"}
_BUCKET = frozenset({"SYN-RECV", "TIME-WAIT"})
USUAL = _CONNECTED - _BUCKET
"""What is shown when nothing is said."""

_STATES: dict[str, frozenset[str]] = {
    "all": ALL,
    "connected": _CONNECTED,
    "synchronized": _CONNECTED - {"SYN-SENT"},
    "bucket": _BUCKET,
    "big": ALL - _BUCKET,
    "established": frozenset({"ESTAB"}),
    "listening": frozenset({"LISTEN"}),
    "closed": frozenset({"UNCONN"}),
    **{name.lower(): frozenset({name}) for name in ALL},
}
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("=", "==", "eq"), operator.eq),
    **dict.fromkeys(("!=", "ne", "neq"), operator.ne),
    **dict.fromkeys((">", "gt"), operator.gt),
    **dict.fromkeys((">=", "ge", "geq"), operator.ge),
    **dict.fromkeys(("<", "lt"), operator.lt),
    **dict.fromkeys(("<=", "le", "leq"), operator.le),
}
_AND, _OR, _NOT = ("and", "&", "&&"), ("or", "|", "||"), ("not", "!")
_TOKENS = re.compile(r"\(|\)|&&?|\|\|?|[!=<>]=|[!=<>]|[^\s()&|!=<>]+")
_NOT_HERE = {"autobound", "dev", "fwmark", "cgroup", "family"}
_DEPTH = 50


class FilterError(ValueError):
    """What was said is no filter; in words for people."""


class Filter(NamedTuple):
    states: frozenset[str] | None
    """None: nothing was said about them."""
    test: Test


def parse(arguments: Sequence[str]) -> Filter:
    """Raises FilterError."""
    tokens = _TOKENS.findall(" ".join(arguments))
    states: frozenset[str] | None = None
    at = 0
    while at < len(tokens) and tokens[at] in ("state", "exclude"):
        word, name = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ""
        named = _STATES.get(name)
        if named is None:
            known = ", ".join(sorted(set(_STATES) - {"estab", "listen", "unconn"}))
            raise FilterError(f"{word} {name or 'of what'}: the states are {known}")
        if word == "state":
            states = named if states is None else states | named
        else:
            states = (ALL if states is None else states) - named
        at += 2
    parser = _Parser(tokens[at:])
    return Filter(states, parser.whole() if parser.left else lambda row: True)


class _Parser:
    def __init__(self, tokens: list[str]) -> None:
        self.left = tokens
        self._depth = 0

    def whole(self) -> Test:
        made = self._either()
        if self.left:
            raise FilterError(f"not understood: {' '.join(self.left)!r}")
        return made

    def _next_is(self, words: tuple[str, ...]) -> bool:
        if self.left and self.left[0] in words:
            del self.left[0]
            return True
        return False

    def _either(self) -> Test:
        made = self._all()
        while self._next_is(_OR):
            made = _or(made, self._all())
        return made

    def _all(self) -> Test:
        made = self._one()
        while self._next_is(_AND) or (self.left and self.left[0] not in (")", *_OR)):
            made = _and(made, self._one())
        return made

    def _one(self) -> Test:
        if self._next_is(_NOT):
            return _negated(self._one())
        if self._next_is(("(",)):
            self._depth += 1
            if self._depth > _DEPTH:
                raise FilterError("too many parentheses")
            made = self._either()
            if not self._next_is((")",)):
                raise FilterError("a ) is missing")
            self._depth -= 1
            return made
        return self._condition()

    def _condition(self) -> Test:
        word = self._take("a condition, such as sport = :80")
        if word in _NOT_HERE:
            raise FilterError(f"{word}: there is no such thing here")
        if word not in ("src", "dst", "sport", "dport"):
            raise FilterError(f"not understood: {word!r}; conditions are src, dst, sport and dport")
        compare = _OPERATORS["="]
        if self.left and self.left[0] in _OPERATORS:
            compare = _OPERATORS[self.left.pop(0)]
        value = self._take(f"what {word} is compared with")
        side = "local" if word in ("src", "sport") else "peer"
        if word.endswith("port"):
            port = _port(value.removeprefix("*").removeprefix(":"))
            return lambda row: bool(compare(row[side]["port"], port))
        if compare not in (operator.eq, operator.ne):
            raise FilterError(f"{word}: addresses are equal (=) or not (!=)")
        same = _address(value)
        if compare is operator.ne:
            return lambda row: not same(row[side])
        return lambda row: same(row[side])

    def _take(self, what: str) -> str:
        if not self.left or self.left[0] == ")":
            raise FilterError(f"missing: {what}")
        return self.left.pop(0)


def _address(text: str) -> Callable[[dict[str, Any]], bool]:
    """ADDRESS[/PREFIX][:PORT]; with a port, an IPv6 address is in brackets."""
    host, port = text, None
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        prefix, _, end = rest.partition(":")
        if not closed or (prefix and not prefix.startswith("/")):
            raise FilterError(f"{text}: not [ADDRESS]:PORT")
        host += prefix
        port = _port(end) if end else None
    elif text.count(":") == 1:
        host, _, end = text.partition(":")
        port = _port(end) if end not in ("", "*") else None
    if host in ("", "*"):
        return lambda end: port is None or end["port"] == port
    try:
        network = ipaddress.ip_network(host, strict=False)
    except ValueError:
        raise FilterError(f"{text}: not an address, ADDRESS/PREFIX or ADDRESS:PORT") from None

    def same(end: dict[str, Any]) -> bool:
        if end["address"] == "*" or (port is not None and end["port"] != port):
            return False
        return ipaddress.ip_address(end["address"]) in network

    return same


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 0xFFFF:
        return int(text)
    try:
        return socket.getservbyname(text, "tcp")
    except OSError:
        raise FilterError(f"{text!r}: neither a port's number nor a known service") from None


def _and(one: Test, other: Test) -> Test:
    return lambda row: one(row) and other(row)


def _or(one: Test, other: Test) -> Test:
    return lambda row: one(row) or other(row)


def _negated(one: Test) -> Test:
    return lambda row: not one(row)
