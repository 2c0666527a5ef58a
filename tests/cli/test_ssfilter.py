"""What may follow the options of `aiotcp ss`, as ss(8) has it."""

from __future__ import annotations

from typing import Any

import pytest

from aiotcp.cli.ssfilter import ALL, USUAL, FilterError, parse


def row(local: str, local_port: int, peer: str, peer_port: int) -> dict[str, Any]:
    return {
        "local": {"address": local, "port": local_port},
        "peer": {"address": peer, "port": peer_port},
    }


ROWS = {
    "web": row("192.0.2.2", 80, "192.0.2.1", 40000),
    "tls": row("192.0.2.2", 443, "198.51.100.1", 50000),
    "v6": row("2001:db8::2", 80, "2001:db8::1", 40001),
    "everywhere": row("*", 8080, "0.0.0.0", 0),
}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", {"web", "tls", "v6", "everywhere"}),
        ("sport = :80", {"web", "v6"}),
        ("sport :80", {"web", "v6"}),
        ("sport eq http", {"web", "v6"}),
        ("sport != :80", {"tls", "everywhere"}),
        ("dport >= :40001", {"tls", "v6"}),
        ("dport gt 40000 and dport lt 50000", {"v6"}),
        ("( sport = :80 or sport = :443 )", {"web", "tls", "v6"}),
        ("(sport=:80|sport=:443)&dst 192.0.2.0/24", {"web"}),
        ("dst 192.0.2.1", {"web"}),
        ("dst 192.0.2.1:40000", {"web"}),
        ("dst 192.0.2.1:1", set()),
        ("dst 192.0.2.1:*", {"web"}),
        ("src [2001:db8::2]:80", {"v6"}),
        ("src 2001:db8::2", {"v6"}),
        ("src 2001:db8::/32", {"v6"}),
        ("src [2001:db8::]/32:80", {"v6"}),
        ("dst != 192.0.2.1", {"tls", "v6", "everywhere"}),
        ("src :80", {"web", "v6"}),
        ("src *:8080", {"everywhere"}),
        ("not sport = :80", {"tls", "everywhere"}),
        ("! ( sport = :80 && dst 192.0.2.1 )", {"tls", "v6", "everywhere"}),
        # Side by side is `and`, which binds closer than `or`.
        ("sport = :443 or sport = :80 dst 192.0.2.1", {"web", "tls"}),
    ],
)
def test_which_connections_an_expression_wants(text: str, wanted: set[str]) -> None:
    for words in ([text], text.split()):
        states, test = parse(words)
        assert states is None
        assert {name for name, each in ROWS.items() if test(each)} == wanted


@pytest.mark.parametrize(
    ("text", "states"),
    [
        ("state established", {"ESTAB"}),
        ("state syn-sent state syn-recv", {"SYN-SENT", "SYN-RECV"}),
        ("state all", ALL),
        ("state connected exclude established", (USUAL | {"SYN-RECV", "TIME-WAIT"}) - {"ESTAB"}),
        ("exclude listening", ALL - {"LISTEN"}),
        ("state bucket", {"SYN-RECV", "TIME-WAIT"}),
        ("state synchronized", ALL - {"LISTEN", "UNCONN", "SYN-SENT"}),
    ],
)
def test_which_states(text: str, states: set[str]) -> None:
    found, test = parse([*text.split(), "sport", "=", ":80"])
    assert found is not None
    assert set(found) == states
    assert test(ROWS["web"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("state", "state of what: the states are all, big"),
        ("state open", "state open: the states are"),
        ("sport", "missing: what sport is compared with"),
        ("sport = :70000", "'70000': neither a port's number"),
        ("sport = nothing-like-it", "neither a port's number nor a known service"),
        ("dst example", "not an address"),
        ("dst [2001:db8::1", "not \\[ADDRESS\\]:PORT"),
        ("dst > 192.0.2.1", "addresses are equal"),
        ("( sport = :80", "a \\) is missing"),
        ("sport = :80 )", "not understood: '\\)'"),
        ("sport = :80 or", "missing: a condition"),
        ("colour = red", "not understood: 'colour'"),
        ("dev eth0", "dev: there is no such thing here"),
        ("( " * 60 + "sport = :80" + " )" * 60, "too many parentheses"),
    ],
)
def test_what_is_no_filter_says_why(text: str, why: str) -> None:
    with pytest.raises(FilterError, match=why):
        parse([text])
