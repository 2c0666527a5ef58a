"""The filters of `aiotcp capture`: the language of pcap-filter(7), on packets of each kind."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrHopByHop

from aiotcp.control.packets import FilterError, packet_filter, with_addresses

PACKETS = {
    "v4": bytes(IP(src="192.0.2.1", dst="192.0.2.2") / TCP(sport=1024, dport=80)),
    "v4 back": bytes(IP(src="192.0.2.2", dst="192.0.2.1") / TCP(sport=80, dport=1024)),
    "v4 options": bytes(
        IP(src="192.0.2.1", dst="192.0.2.2", options=b"\x01\x01\x01\x01")
        / TCP(sport=1024, dport=443)
    ),
    "v6": bytes(IPv6(src="2001:db8::1", dst="2001:db8::2") / TCP(sport=1024, dport=80)),
    "v6 extension": bytes(
        IPv6(src="2001:db8::1", dst="2001:db8::2")
        / IPv6ExtHdrHopByHop()
        / TCP(sport=1024, dport=443)
    ),
    "ping": bytes(IP(src="192.0.2.1", dst="192.0.2.2") / ICMP()),
    "ping6": bytes(IPv6(src="2001:db8::1", dst="2001:db8::2") / ICMPv6EchoRequest()),
    "udp": bytes(IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=80, dport=80)),
    "fragment": bytes(IP(src="192.0.2.1", dst="192.0.2.2", proto=6, frag=10) / b"\0P\0P"),
    "cut short": b"\x45\x00\x00",
    "empty": b"",
}
ALL = set(PACKETS)
NAMED = ALL - {"empty", "cut short"}
V6 = {"v6", "v6 extension", "ping6"}
PORT_80 = {"v4", "v4 back", "v6"}  # of TCP
PORT_443 = {"v4 options", "v6 extension"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ALL),
        ("ip", (NAMED - V6) | {"cut short"}),
        ("ip6", V6),
        ("tcp", PORT_80 | PORT_443 | {"fragment"}),
        ("icmp", {"ping"}),
        ("icmp6", {"ping6"}),
        ("port 80", PORT_80 | {"udp"}),
        ("tcp port 80", PORT_80),
        ("port http", PORT_80 | {"udp"}),
        ("src port 80", {"v4 back", "udp"}),
        ("dst port 80", {"v4", "v6", "udp"}),
        ("portrange 440-445", PORT_443),
        ("port 80 or 443", PORT_80 | PORT_443 | {"udp"}),
        ("tcp port 80 || port 443", PORT_80 | PORT_443),
        ("host 192.0.2.1", NAMED - V6),
        ("192.0.2.1", NAMED - V6),
        ("src 192.0.2.1", NAMED - V6 - {"v4 back"}),
        ("dst host 192.0.2.1", {"v4 back"}),
        ("net 192.0.2.0/30", NAMED - V6),
        ("net 2001:db8::/32", V6),
        ("host 2001:db8::2 and port 80", {"v6"}),
        ("not port 80 and tcp", PORT_443 | {"fragment"}),
        ("! tcp && ip6", {"ping6"}),
        ("not (ip or ip6)", set()),
        ("not not icmp", {"ping"}),
        ("udp", {"udp"}),
        ("net 192", NAMED - V6),
        ("net 192.0.3", set()),
        ("src net 192.0.2.0/31", NAMED - V6 - {"v4 back"}),
        ("dst net 192.0.2.2 mask 255.255.255.254", NAMED - V6 - {"v4 back"}),
        ("dst portrange 440-http", set()),
        ("dst portrange 79-443", {"v4", "v6", "udp"} | PORT_443),
        ("src portrange 79-443", {"v4 back", "udp"}),
        ("src or dst port 80", PORT_80 | {"udp"}),
        ("src and dst port 80", {"udp"}),
        ("tcp src and dst port 80", set()),
        ("src and dst net 192.0.2.0/31", set()),
        ("src && dst net 192.0.2.0/30", NAMED - V6),
        ("src or dst host 192.0.2.1", NAMED - V6),
        ("src 192.0.2.2 or dst 192.0.2.2", NAMED - V6),
        ("less 24", {"fragment"}),
        ("greater 60 and tcp", {"v6", "v6 extension"}),
        ("less 60 and ip6", {"v6", "ping6"}),
        ("not less 60", {"v6 extension"}),
        # From left to right, as pcap-filter(7) has it.
        ("icmp or port 80 and ip6", {"v6"}),
        ("icmp or (port 80 and ip6)", {"ping", "v6"}),
    ],
)
def test_which_packets_a_filter_wants(text: str, wanted: set[str]) -> None:
    test = packet_filter(text)
    for kind in (bytes, memoryview):
        found = {name for name, packet in PACKETS.items() if test(kind(packet))}
        assert found == wanted


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("port", "port of what\\? It is missing at the end"),
        ("src and port 80", "src of what\\? It is missing before 'and'"),
        ("port 80 and", "something is missing at the end|an address of what"),
        ("port 99999", "ports end at 65535"),
        ("port no-such-service", "neither a number nor a known service"),
        ("portrange 80", "not LOW-HIGH"),
        ("host example.org", "not an IPv4 or IPv6 address"),
        ("net 192.0.2.1/24", "bits beyond the prefix"),
        ("host 192.0.2.0/24", "net 192.0.2.0/24"),
        ("(port 80", "a \\) is missing"),
        ("port 80 443", "not understood: '443' after 'port 80'"),
        ("colour red", "not understood: 'colour red'; a filter is made of host, net, port"),
        ("port 80 colour", "not understood: 'colour' after 'port 80'; a filter is made of"),
        ("less than 5", "less than how many bytes"),
        ("greater", "greater than how many bytes"),
        ("net 300", "not an IPv4 or IPv6 address"),
        ("net 10.0.0.0 mask", "something is missing at the end"),
        ("src or dst", "src of what\\? It is missing before 'or'"),
        ("tcp[13] & 2 != 0", "cannot read|not understood"),
        ("(" * 60 + "tcp" + ")" * 60, "too many parentheses"),
        ("port 80 & port 443", "cannot read"),
    ],
)
def test_what_is_no_filter_says_why(text: str, why: str) -> None:
    with pytest.raises(FilterError, match=why):
        packet_filter(text)


HOSTS = {"web": ["192.0.2.1", "2001:db8::1"], "mail": ["192.0.2.2"]}


def looked_up(name: str) -> list[str]:
    if name not in HOSTS:
        raise OSError(2, "no such host")
    return HOSTS[name]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("host web", "( host 192.0.2.1 or host 2001:db8::1 )"),
        ("not src web", "not ( src host 192.0.2.1 or src host 2001:db8::1 )"),
        ("ip host web", "( ip host 192.0.2.1 or ip host 2001:db8::1 )"),
        (
            "src or dst host mail and port 80",
            "( host 192.0.2.2 ) and port 80",
        ),
        (
            "(dst host web or mail) and port 80 or 443",
            "( ( dst host 192.0.2.1 or dst host 2001:db8::1 ) or ( dst host 192.0.2.2 ) ) "
            "and port 80 or 443",
        ),
        ("host mail or 192.0.2.9", "( host 192.0.2.2 ) or 192.0.2.9"),
        ("port http and host 192.0.2.1", "port http and host 192.0.2.1"),
        ("", ""),
    ],
)
def test_names_of_hosts_are_looked_up_before(text: str, same: str) -> None:
    assert with_addresses(text, looked_up) == same
    packet_filter(same)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("host nobody", "host nobody: no such host"),
        ("src nobody", "host nobody: no such host"),
        ("nobody", "not understood: 'nobody'"),
        ("net web", "net web: not an IPv4 or IPv6 address"),
    ],
)
def test_names_that_there_are_not(text: str, why: str) -> None:
    with pytest.raises(FilterError, match=why):
        packet_filter(with_addresses(text, looked_up))
