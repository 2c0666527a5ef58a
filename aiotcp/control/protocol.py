"""What is said on a control socket, version 1.

Lines of JSON, one object each. The one who asks writes

    {"aiotcp": 1, "verb": "ss", …}

any number of them on one connection, one after the other, and gets for each any number of lines
`{"item": …}` and at last one of

    {"aiotcp": 1, "ok": true, "result": {…}}
    {"aiotcp": 1, "ok": false, "error": "what is wrong"}

info      about the process and its stack
ss        an item for each connection, as `rows` makes them, and then `rows`, how many; `states`:
          of these only, names as `ss` has them; `info`: with `tcp_info`
stat      `nstat`, `sent`, `dropped`, `events`, `totals`, `link`: numbers by name
capture   from the result on, the connection is a pcapng file; `filter`, `count`; `keylog`: the file
          that has the TLS secrets, or true for the program's own one

A program may answer more (`server.Session`).

A capture ends after `count` packets, or when the one who asked says that he writes no more
(shutdown), with a block that says how many packets there were and how many of them he was too slow
for; or when the connection is closed.
"""

from __future__ import annotations

import json
from typing import Any

VERSION = 1

LINE_BYTES = 1 << 16
"""Longer requests are refused."""


class ProtocolError(ValueError):
    """What was said is no request, or no answer."""


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Raises ProtocolError."""
    try:
        message = json.loads(line)
    except ValueError:
        raise ProtocolError("not a line of JSON") from None
    except RecursionError:
        raise ProtocolError("not a line of JSON that anybody would write") from None
    if not isinstance(message, dict):
        raise ProtocolError("not a JSON object")
    return message


def request(verb: str, **arguments: Any) -> bytes:
    return encode({"aiotcp": VERSION, "verb": verb, **arguments})


def verb_of(message: dict[str, Any]) -> str:
    """Raises ProtocolError for a request of another version, or without a verb."""
    version = message.get("aiotcp")
    if version != VERSION:
        raise ProtocolError(f'"aiotcp": {json.dumps(version)}: I speak version {VERSION}')
    verb = message.get("verb")
    if not isinstance(verb, str):
        raise ProtocolError('no "verb"')
    return verb


def result(value: dict[str, Any]) -> bytes:
    return encode({"aiotcp": VERSION, "ok": True, "result": value})


def error(text: str) -> bytes:
    return encode({"aiotcp": VERSION, "ok": False, "error": text})


def item(value: Any) -> bytes:
    return encode({"item": value})
