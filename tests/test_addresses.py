"""Addresses: forms, keys, and which may be talked to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.addresses import (
    LocalAddresses,
    endpoints,
    flow_key,
    is_unicast,
    is_wildcard,
    pack,
    split_flow,
    unpack,
)

V4, V6 = "192.0.2.2", "fd61:696f:7463:70::2"


@pytest.mark.parametrize(
    ("host", "packed"),
    [
        ("192.0.2.2", bytes((192, 0, 2, 2))),
        ("::1", bytes(15) + b"\1"),
        ("fe80::1%tun0", b"\xfe\x80" + bytes(13) + b"\1"),
        ("::ffff:192.0.2.2", bytes((192, 0, 2, 2))),  # IPv4-mapped: it is IPv4 on the wire
    ],
)
def test_packing(host: str, packed: bytes) -> None:
    assert pack(host) == packed


@pytest.mark.parametrize("host", ["", "localhost", "192.0.2", "1:2:3", "192.0.2.2/24"])
def test_names_are_no_addresses(host: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        pack(host)


@pytest.mark.req("MUST-46", "MUST-57", "MUST-63")
@pytest.mark.parametrize(
    ("host", "unicast"),
    [
        (V4, True),
        (V6, True),
        ("223.255.255.254", True),
        ("127.0.0.1", False),  # never on a wire (RFC 1122 3.2.1.3)
        ("0.0.0.0", False),
        ("0.1.2.3", False),  # "this network"
        ("224.0.0.1", False),
        ("239.255.255.255", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("ff02::1", False),
        ("::1", False),
        ("fe80::1", True),
    ],
)
def test_unicast(host: str, unicast: bool) -> None:
    assert is_unicast(pack(host)) is unicast


def test_wildcards() -> None:
    assert is_wildcard(pack("0.0.0.0"))
    assert is_wildcard(pack("::"))
    assert not is_wildcard(pack(V4))


_ADDRESS_PAIRS = st.one_of(
    st.tuples(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4)),
    st.tuples(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16)),
)
_PORTS = st.integers(min_value=0, max_value=65535)


@given(addresses=_ADDRESS_PAIRS, local_port=_PORTS, remote_port=_PORTS)
def test_a_key_is_what_stands_in_an_inbound_packet(
    addresses: tuple[bytes, bytes], local_port: int, remote_port: int
) -> None:
    local, remote = addresses
    key = flow_key(local, local_port, remote, remote_port)
    assert key == remote + local + remote_port.to_bytes(2, "big") + local_port.to_bytes(2, "big")
    assert split_flow(key) == (local, local_port, remote, remote_port)
    here, there = endpoints(key)
    assert here == (unpack(local), local_port)
    assert there == (unpack(remote), remote_port)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_text_and_back(address: IPv4Address | IPv6Address) -> None:
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        assert unpack(pack(str(address))) == str(address.ipv4_mapped)
    else:
        assert unpack(pack(str(address))) == str(address)


@pytest.mark.req("MUST-44")
def test_the_source_is_of_the_destination_s_family_and_the_first_of_them() -> None:
    own = LocalAddresses(["192.0.2.7", V4, V6])
    assert own.source_for(pack("198.51.100.1")) == pack("192.0.2.7")
    assert own.source_for(pack("2001:db8::1")) == pack(V6)
    assert LocalAddresses([V4]).source_for(pack("2001:db8::1")) is None


def test_what_a_stack_has() -> None:
    own = LocalAddresses([V4, V6])
    assert list(own) == [V4, V6]
    assert pack(V4) in own
    assert pack("192.0.2.3") not in own
    assert own.require(pack(V6)) == pack(V6)
    with pytest.raises(OSError, match=r"192\.0\.2\.3"):
        own.require(pack("192.0.2.3"))


@pytest.mark.parametrize("hosts", [[], ["0.0.0.0"], ["224.0.0.1"], [V4, "255.255.255.255"], ["x"]])
def test_what_a_stack_can_not_have(hosts: list[str]) -> None:
    with pytest.raises(ValueError, match=r"address|can not"):
        LocalAddresses(hosts)
