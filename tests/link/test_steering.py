"""The steering program, run by the kernel on single packets, says the same as `queue_of`."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiotcp.link.steering import Steering
from aiotcp.wire import icmp, ipv4, ipv6, tcp
from tests.support.ebpf import Program, obstacle

QUEUES = 5
STEERING = Steering(QUEUES, 0x9D3A_61F0_7788_A5C3)
ICMP_V4_ERRORS, ICMP_V6_ERRORS = (3, 4, 11, 12), (1, 2, 3, 4, 100, 127)


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    if why_not := obstacle():
        pytest.skip(why_not)
    with Program(STEERING.program()) as program:
        yield program


ports = st.integers(0, 65535)
addresses = st.sampled_from([4, 16]).flatmap(
    lambda width: st.tuples(*[st.binary(min_size=width, max_size=width)] * 2)
)
flows = st.builds(lambda pair, remote, local: (*pair, remote, local), addresses, ports, ports)
Flow = tuple[bytes, bytes, int, int]


def key(flow: Flow) -> bytes:
    remote, local, remote_port, local_port = flow
    return remote + local + struct.pack("!HH", remote_port, local_port)


def packet(flow: Flow, *, outbound: bool = False, added: bytes = b"") -> bytes:
    """A TCP segment of the flow, from its remote end or from ours. added: IP options, or a chain
    of extension headers with 0 for the first one's type, and TCP's in its last one."""
    source, destination, source_port, port = flow
    if outbound:
        source, destination, source_port, port = destination, source, port, source_port
    segment = struct.pack("!HHIIBBHHH", source_port, port, 1, 2, 5 << 4, 16, 1000, 0, 0)
    length = len(added) + len(segment)
    if len(source) == 4:
        header = bytearray(ipv4.header(source, destination, tcp.PROTOCOL, length))
        header[0] += len(added) // 4
    else:
        first = 0 if added else tcp.PROTOCOL
        header = bytearray(ipv6.header(source, destination, first, length))
    return bytes(header) + added + segment


def error_about(quoted: bytes, kind: int) -> bytes:
    """An ICMP error from a router on the path."""
    router = bytes([198, 51, 100, 7]) if quoted[0] >> 4 == 4 else bytes(15) + b"\7"
    return icmp.error(quoted, kind, 0, source=router).to_bytes()


@given(flow=flows, number=st.integers(0, 9))
def test_segments_and_icmp_errors_about_their_flow_come_to_its_queue(
    program: Program, flow: Flow, number: int
) -> None:
    queue = STEERING.queue_of(key(flow))
    assert 0 <= queue < QUEUES
    assert program.run(packet(flow)) == queue
    ours = packet(flow, outbound=True)
    kinds = ICMP_V4_ERRORS if ours[0] >> 4 == 4 else ICMP_V6_ERRORS
    complaint = error_about(ours, kinds[number % len(kinds)])
    assert program.run(complaint) == queue
    # The least that RFC 792 lets it quote: the IP header and eight bytes.
    assert program.run(complaint[: len(complaint) - 12]) == queue


OPTIONS = bytes([7, 11, 4]) + bytes(9)  # record route, room for two
EXTENSIONS = bytes([60, 0]) + bytes([1, 4, 0, 0, 0, 0]) + bytes([6, 1]) + bytes([1, 12]) + bytes(12)


@given(flow=flows)
def test_ip_options_and_extension_headers_change_no_flow(program: Program, flow: Flow) -> None:
    queue = STEERING.queue_of(key(flow))
    if len(flow[0]) == 4:
        assert program.run(packet(flow, added=OPTIONS)) == queue
        assert program.run(error_about(packet(flow, outbound=True, added=OPTIONS), 3)) == queue
    else:
        assert program.run(packet(flow, added=EXTENSIONS)) == queue


@settings(max_examples=300)
@given(data=st.binary(min_size=1, max_size=200), version=st.sampled_from([4, 6, 4, 6, 0, 15]))
def test_whatever_comes_goes_to_one_of_the_queues(
    program: Program, data: bytes, version: int
) -> None:
    garbage = bytes([version << 4 | data[0] & 15]) + data[1:]
    queue = program.run(garbage)
    assert 0 <= queue < QUEUES
    assert program.run(garbage) == queue


@pytest.mark.parametrize("queues", [2, 3, 8])
@pytest.mark.parametrize("width", [4, 16])
def test_ports_in_a_row_are_spread_evenly(queues: int, width: int) -> None:
    """One client that calls one server again and again, with the ports that Linux chooses."""
    steering = Steering(queues, 1)
    found = Counter(
        steering.queue_of(key((b"\1" * width, b"\2" * width, port, 80)))
        for port in range(32768, 60999, 2)
    )
    fair = sum(found.values()) / queues
    assert len(found) == queues
    assert max(found.values()) < 1.1 * fair


def test_without_the_key_nobody_knows_the_queue() -> None:
    flow = key((b"\1" * 4, b"\2" * 4, 40000, 80))
    found = Counter(Steering(4, number << 40).queue_of(flow) for number in range(4000))
    assert all(850 < found[queue] < 1150 for queue in range(4))


def test_an_owner_knows_its_flows_and_no_others() -> None:
    flow = key((b"\1" * 4, b"\2" * 4, 40000, 80))
    owners = [STEERING.owner(queue)(flow) for queue in range(QUEUES)]
    assert owners.index(True) == STEERING.queue_of(flow)
    assert owners.count(True) == 1
