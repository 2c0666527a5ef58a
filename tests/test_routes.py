"""The table that says which addresses belong to a stack."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.routes import Routes


def test_the_longest_prefix_decides() -> None:
    routes: Routes[str] = Routes()
    routes.add("10.0.0.0/8", "wide")
    routes.add("10.1.0.0/16", None)
    routes.add("10.1.2.3", "host")
    routes.add("fd00::/8", "six")
    assert [routes.lookup(address) for address in ("10.9.9.9", "10.1.9.9", "10.1.2.3")] == [
        "wide",
        None,
        "host",
    ]
    assert routes.lookup("fd00::1") == "six"
    assert routes.lookup("11.0.0.1") is None
    assert routes.lookup("::1") is None


def test_a_later_word_on_a_prefix_replaces_the_earlier() -> None:
    routes: Routes[str] = Routes()
    routes.add("0.0.0.0/0", "first")
    routes.add("0.0.0.0/0", "second")
    assert routes.lookup("192.0.2.1") == "second"
    assert list(routes) == [("0.0.0.0/0", "second")]


def test_by_default_a_stack_has_everything_but_this_machine() -> None:
    routes: Routes[str] = Routes()
    routes.update("stack", None)
    for address in ("192.0.2.1", "10.0.0.1", "2001:db8::1", "fd61::1", "0.0.0.0", "::"):
        assert routes.lookup(address) == "stack"
    for address in ("127.0.0.1", "127.8.9.10", "::1", "fe80::1%eth0"):
        assert routes.lookup(address) is None


def test_a_list_is_the_stacks_and_a_mapping_may_name_the_kernel() -> None:
    routes: Routes[str] = Routes()
    routes.update("a", ["192.0.2.0/24"])
    routes.update("b", {"0.0.0.0/0": "b", "192.0.2.128/25": None})
    assert routes.lookup("192.0.2.1") == "a"
    assert routes.lookup("192.0.2.129") is None
    assert routes.lookup("203.0.113.1") == "b"
    assert repr(routes) == (
        "<Routes ::1/128 -> kernel, 192.0.2.128/25 -> kernel, 192.0.2.0/24 -> a,"
        " 127.0.0.0/8 -> kernel, 0.0.0.0/0 -> b>"
    )


def test_loopback_stays_with_the_kernel_unless_it_is_named() -> None:
    routes: Routes[str] = Routes()
    routes.update("stack", ["0.0.0.0/0", "::/0"])
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert routes.lookup(address) is None
    assert routes.lookup("fe80::1%eth0") == "stack"
    routes.update("stack", ["127.1.0.0/16"])
    assert routes.lookup("127.1.2.3") == "stack"


def test_an_ipv4_address_in_ipv6_form_is_where_it_always_is() -> None:
    routes: Routes[str] = Routes()
    routes.update("stack", ["192.0.2.0/24"])
    assert routes.lookup("::ffff:192.0.2.2") == "stack"
    assert routes.lookup("::ffff:203.0.113.2") is None


@pytest.mark.parametrize("prefix", ["", "localhost", "10.0.0.1/8", "10.0.0.0/33"])
def test_what_is_no_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match=prefix or None):
        Routes[str]().add(prefix, "stack")


def test_one_bare_string_is_no_list() -> None:
    with pytest.raises(TypeError, match=r"10\.0\.0\.0/8"):
        Routes[str]().update("stack", "10.0.0.0/8")


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=20), st.data())
def test_it_agrees_with_a_search_through_all(
    rows: list[tuple[int, int]], data: st.DataObject
) -> None:
    routes: Routes[int] = Routes()
    known = {}
    for number, (value, length) in enumerate(rows):
        network = ipaddress.IPv4Network((value >> 32 - length << 32 - length, length))
        routes.add(str(network), number)
        known[network] = number
    near = [value for value, _ in rows] or [0]
    address = ipaddress.IPv4Address(
        data.draw(st.one_of(st.sampled_from(near), st.integers(0, 2**32 - 1)))
    )
    matching = [network for network in known if address in network]
    best = max(matching, key=lambda network: network.prefixlen, default=None)
    assert routes.lookup(str(address)) == (known[best] if best is not None else None)
