"""Scripts: what their lines mean, and what is said about lines that mean nothing."""

from __future__ import annotations

from typing import Any

import pytest

from aiotcp.link.impair import Netem
from aiotcp.scenario.script import parse, pattern_of

HOSTS = ["client", "server"]


@pytest.mark.parametrize(
    ("line", "who", "verb", "nth", "args"),
    [
        ("0 server listens on 80", "server", "listen", 1, {"port": 80}),
        (
            "0 server listens on 80 with a backlog of 3",
            *("server", "listen", 1),
            {"port": 80, "backlog": 3},
        ),
        (
            "0.5 client connects to server:80 from 50000",
            *("client", "connect", 1),
            {"to_host": "server", "to_port": 80, "local_port": 50000},
        ),
        (r'0 client.2 writes "a\r\n\x00\"b\""', "client", "write", 2, {"data": b'a\r\n\x00"b"'}),
        ("0 client writes 300 bytes", "client", "write", 1, {"data": pattern_of(300)}),
        (
            "0 client writes 1 byte and waits until it may write more",
            *("client", "write", 1),
            {"data": b"\x00", "drain": True},
        ),
        ('0 client writes "!" as urgent', "client", "urgent", 1, {"data": b"!"}),
        ("0 server.1 reads", "server", "read", 1, {}),
        ("0 server reads 5 bytes", "server", "read", 1, {"exactly": 5}),
        ("0 server reads at most 5 bytes", "server", "read", 1, {"most": 5}),
        ("0 server reads whatever comes", "server", "read_on", 1, {}),
        ("0 server reads to the end", "server", "read_all", 1, {}),
        ('0 client writes "ab" 3 times', "client", "write", 1, {"data": b"ababab"}),
        ("0 server takes 9 bytes at a time", "server", "take", 1, {"each": 9}),
        (
            "0 server takes 1 byte at a time every 5ms",
            *("server", "take", 1),
            {"each": 1, "every": 0.005},
        ),
        (
            "0 client keeps at most 7 bytes unsent before it waits",
            *("client", "limit", 1),
            {"high": 7},
        ),
        ("0 server stops reading", "server", "pause", 1, {}),
        ("0 server goes on reading", "server", "resume", 1, {}),
        ("0 client says that it writes no more", "client", "half_close", 1, {}),
        ("0 client closes", "client", "close", 1, {}),
        ("0 client aborts", "client", "abort", 1, {}),
        ("0 server stops listening", "server", "unlisten", 1, {}),
        ("0 server crashes", "server", "crash", 1, {}),
        ("0 server reboots", "server", "reboot", 1, {}),
        ("0 server is told to end", "server", "kill", 1, {}),
        ("0 network breaks", "network", "break", 1, {}),
        (
            "0 network breaks from client to server",
            *("network", "break", 1),
            {"source": "client", "target": "server"},
        ),
        ("0 network heals", "network", "heal", 1, {}),
        (
            "0 network netem delay 1s loss 1%",
            *("network", "netem", 1),
            {"netem": Netem(delay=1, loss=0.01)},
        ),
        (
            "0 network netem from client to server: loss 1%",
            *("network", "netem", 1),
            {"source": "client", "target": "server", "netem": Netem(loss=0.01)},
        ),
        (
            "0 network reports host unreachable to client",
            *("network", "icmp", 1),
            {"what": "host", "to": "client"},
        ),
        (
            '0 forger sends SYN,ACK from server:80 to client:5 seq=-1 ack=7 win=9 with "x"',
            *("forger", "forge", 1),
            {
                **{"flags": "SYN,ACK", "from_host": "server", "from_port": 80},
                **{"to_host": "client", "to_port": 5, "seq": -1, "ack": 7, "window": 9},
                "data": b"x",
            },
        ),
        (
            "0 forger sends SYN from 198.51.100.7:4 to server:80 seq=0",
            *("forger", "forge", 1),
            {
                **{"flags": "SYN", "from_host": "198.51.100.7", "from_port": 4},
                **{"to_host": "server", "to_port": 80, "seq": 0},
            },
        ),
        (
            "0 forger sends SYN from [2001:db8::7]:4 to server:80 seq=0",
            *("forger", "forge", 1),
            {
                **{"flags": "SYN", "from_host": "2001:db8::7", "from_port": 4},
                **{"to_host": "server", "to_port": 80, "seq": 0},
            },
        ),
        (
            "0 forger floods server:80 with 1000 SYNs",
            *("forger", "flood", 1),
            {"to_host": "server", "to_port": 80, "count": 1000},
        ),
    ],
)
def test_lines(line: str, who: str, verb: str, nth: int, args: dict[str, Any]) -> None:
    (step,) = parse(line, HOSTS)
    assert (step.who, step.verb, step.nth, step.args) == (who, verb, nth, args)


def test_a_script_has_times_comments_and_columns() -> None:
    steps = parse(
        """
        # the beginning
        0       server   listens on 80
        0.25    network  drops   the third data segment from client

        0.25    client   closes
        """,
        HOSTS,
    )
    assert [(step.at, step.who, step.verb) for step in steps] == [
        (0, "server", "listen"),
        (0.25, "network", "fault"),
        (0.25, "client", "close"),
    ]
    assert steps[1].args["rule"].sentence == "drops the third data segment from client"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("client closes", "a line is a time, who, and what"),
        ("0 nobody closes", r"who is 'nobody'\? There are client, server, network, forger"),
        ("0 client dances", "not understood; client can: listens on PORT"),
        ("0 network dances", "not understood; network can: breaks"),
        ("0 client connects to moon:80", "no host is called 'moon'"),
        ("0 network netem delay 5", "a time needs a unit"),
        ("0 server takes 1 byte at a time every 5", "a time needs a unit"),
        ("0 forger sends SYN from 1.2.3.400:5 to server:80 seq=0", "no host is called '1.2.3.400'"),
        ("0 forger sends SYN from client:5 to 1.2.3.4:80 seq=0", "not understood"),
        ("0 network drops the umpteenth SYN", "which one is 'umpteenth'"),
        ("1 client closes\n0 client closes", "line 2 of the script, .*: time does not go back"),
    ],
)
def test_what_is_not_understood(script: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse(script, HOSTS)


def test_the_pattern_tells_where_each_byte_stands() -> None:
    assert pattern_of(0) == b""
    assert len(pattern_of(1000)) == 1000
    assert pattern_of(1000)[251:502] == pattern_of(251)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (r'0 client writes "\x"', "text is ASCII"),
        ('0 client writes "é"', "text is ASCII"),
        ("0 client writes 99999999999999 bytes", "is too much"),
        ("0 server listens on 65536", "65536 is too much: 65535 at most"),
        ("0 client connects to server:80 from 65536", "is too much"),
        ("0 client.0 closes", "counted from 1"),
        ("0 forger sends XYZ from client:1 to server:80 seq=1", "flags are of FIN, SYN"),
        ("0 forger sends , from client:1 to server:80 seq=1", "flags are of"),
        ("0 forger sends SYN from client:70000 to server:80 seq=1", "is too much"),
        ("0 forger sends SYN from client:1 to server:80 seq=1 win=65536", "is too much"),
        ("0 forger sends ACK from client:1 to server:80 seq=1 with 65496 bytes", "has room for"),
        ("0 network breaks from client to client", "between two hosts"),
        ("0 network netem from client to client: delay 1ms", "between two hosts"),
        ("0 network drops the first SYN from nobody", "no host is called 'nobody'"),
    ],
)
def test_what_can_not_be_is_said_before_anything_is_played(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(line, HOSTS)
