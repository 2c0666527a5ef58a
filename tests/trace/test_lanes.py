"""Lanes that hosts share, and of which connection a line is."""

from __future__ import annotations

import pytest

from aiotcp.trace.events import Flow, Segment, State, Trace
from aiotcp.trace.ladder import text
from aiotcp.trace.lanes import lanes

DUAL = "192.0.2.1 192.0.2.2", "2001:db8::1 2001:db8::2"


def traced(*ways: str) -> Trace:
    """A trace of connections between addresses, each with its SYN."""
    trace = Trace()
    for number, way in enumerate(ways):
        client, server = way.split()
        trace.flows.append(Flow(client, client, 50000 + number, server, server, 80))
        trace.events.append(Segment(float(number), client, server, number, "SYN", 0, None, 9, 0))
    trace.hosts = list(dict.fromkeys(" ".join(ways).split()))
    return trace


@pytest.mark.parametrize(
    ("ways", "shared"),
    [
        pytest.param(DUAL, ["192.0.2.1 2001:db8::1", "192.0.2.2 2001:db8::2"], id="IPv4 and IPv6"),
        pytest.param(("a z", "b z", "c z"), ["a b c", "z"], id="clients of one server"),
        pytest.param(("a p", "b p", "p z"), ["a b", "p", "z"], id="a proxy"),
        pytest.param(("a p", "p z", "a z", "b z"), ["a b", "p", "z"], id="around a proxy"),
        pytest.param(("a z", "b z"), ["a", "z", "b"], id="three have room"),
        pytest.param(("a b", "b a", "c d"), ["a", "b", "c", "d"], id="in a circle"),
    ],
)
def test_who_shares_a_lane(ways: tuple[str, ...], shared: list[str]) -> None:
    trace = traced(*ways)
    assert [" ".join(hosts) for hosts in lanes(trace.hosts, trace.flows)] == shared
    among = [set(hosts) for hosts in lanes(trace.hosts, trace.flows)]
    for flow in trace.flows:
        assert not any({flow.client, flow.server} <= hosts for hosts in among)


def test_servers_of_the_loopback_share_one() -> None:
    hosts = ["127.0.0.1", "127.0.0.1:80", "::1", "[::1]:80"]
    flows = [
        Flow("127.0.0.1", "127.0.0.1", 50000, "127.0.0.1:80", "127.0.0.1", 80),
        Flow("::1", "::1", 50000, "[::1]:80", "::1", 80),
    ]
    assert lanes(hosts, flows) == [["127.0.0.1", "::1"], ["127.0.0.1:80", "[::1]:80"]]


def test_hosts_with_names_have_a_lane_each() -> None:
    names = ["one", "two", "three", "four"]
    flows = [
        Flow("one", "192.0.2.1", 50000, "two", "192.0.2.2", 80),
        Flow("three", "192.0.2.3", 50000, "four", "192.0.2.4", 80),
    ]
    assert lanes(names, flows) == [[name] for name in names]


def test_a_ladder_of_two_connections_side_by_side() -> None:
    trace = traced(*DUAL)
    trace.events.append(State(2.0, "2001:db8::1", 1, "CLOSED", "SYN-SENT"))
    assert text(trace, width=80).splitlines() == [
        "             192.0.2.1                         192.0.2.2",
        "             2001:db8::1                     2001:db8::2",
        "    0.000  1 ├─ SYN seq=0 win=9 ──────────────────────▶│",
        "    1.000  2 ├─ SYN seq=0 win=9 ──────────────────────▶│",
        "    2.000  2 │ SYN-SENT                                │",
    ]


def test_of_many_names_the_rest_is_counted() -> None:
    head = text(traced(*(f"c{n} z" for n in range(12))), width=80).splitlines()[:4]
    assert [line.split() for line in head[:3]] == [["c0", "z"], ["c1"], ["and", "10", "more"]]
    assert head[3].startswith("    0.000   1 ├─ SYN")


def test_one_connection_needs_no_number() -> None:
    trace = traced(*DUAL)
    assert "  1 ├" in text(trace)
    assert "\n    0.000  ├─ SYN" in text(trace.of_flow(0))
