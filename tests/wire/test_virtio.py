from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.reasons import Drop
from aiotcp.wire import tcp, virtio
from aiotcp.wire.frame import Frame
from aiotcp.wire.malformed import Malformed
from tests.wire.oracle import octets, relaxed, tcp_frame, words16

# Of struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset.
LAYOUT = "=BBHHHH"

TIMESTAMPS = tcp.pack_options(timestamps=(1, 2))


def test_nothing_to_do_is_all_zero() -> None:
    assert virtio.pack(Frame(b"packet")) == bytes(10)
    assert virtio.pack(tcp_frame(4, payload=b"abc")) == bytes(10)


@pytest.mark.parametrize(("version", "start"), [(4, 20), (6, 40)])
def test_a_checksum_to_complete(version: int, start: int) -> None:
    frame = tcp_frame(version, payload=b"abc", offload=True)
    assert struct.unpack(LAYOUT, virtio.pack(frame)) == (1, 0, 0, 0, start, 16)


@pytest.mark.parametrize(("version", "start", "kind"), [(4, 20, 1), (6, 40, 4)])
@pytest.mark.parametrize(("flags", "ecn"), [(tcp.ACK, 0), (tcp.ACK | tcp.CWR, 0x80)])
def test_a_packet_to_cut(version: int, start: int, kind: int, flags: int, ecn: int) -> None:
    frame = tcp_frame(
        version,
        payload=bytes(5000),
        options=TIMESTAMPS,
        gso_size=1448,
        flags=flags,
        offload=True,
    )
    header = struct.unpack(LAYOUT, virtio.pack(frame))
    assert header == (1, kind | ecn, start + 32, 1448, start, 16)


@pytest.mark.parametrize(
    ("flags", "vouched"), [(0, False), (1, True), (2, True), (3, True), (4, False)]
)
def test_the_kernel_vouches_for_what_it_checked_or_made_itself(flags: int, vouched: bool) -> None:
    header = struct.pack(LAYOUT, flags, 0, 0, 77, 0, 0)
    # A size without a type means nothing.
    assert virtio.parse(header) == (vouched, 0)


@pytest.mark.parametrize("kind", [1, 4, 0x81, 0x84])
def test_received_super_packets(kind: int) -> None:
    header = bytearray(struct.pack(LAYOUT, 1, kind, 52, 1448, 20, 16) + b"packet")
    assert virtio.parse(header) == (True, 1448)
    assert virtio.parse(memoryview(header)) == (True, 1448)


@pytest.mark.req("X-2")
@pytest.mark.parametrize("length", range(10))
def test_a_short_header(length: int) -> None:
    with pytest.raises(Malformed) as caught:
        virtio.parse(bytes(length))
    assert caught.value.reason is Drop.LINK_HEADER


@relaxed
@given(
    version=st.sampled_from((4, 6)),
    gso_size=words16,
    flags=octets,
    offload=st.booleans(),
)
def test_what_is_packed_is_read_back(
    version: int, gso_size: int, flags: int, offload: bool
) -> None:
    frame = tcp_frame(
        version, payload=b"abc", gso_size=gso_size if offload else 0, flags=flags, offload=offload
    )
    assert virtio.parse(virtio.pack(frame)) == (offload, frame.gso_size)
