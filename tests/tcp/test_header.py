"""The header: checksum, reserved bits, what IP carries (RFC 9293 3.1 and 3.9.2)."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.reasons import Drop
from aiotcp.wire import checksum
from aiotcp.wire.tcp import ACK, FIN, RST, SYN
from tests.support.conversation import Peer, with_checksum

FAMILIES = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])


def spoiled(packet: bytes, position: int, bit: int = 1) -> bytes:
    changed = bytearray(packet)
    changed[position] ^= bit
    return bytes(changed)


def tcp_at(peer: Peer) -> int:
    return 40 if ":" in peer.host else 20


# -- checksum ---------------------------------------------------------------------------------


@FAMILIES
@pytest.mark.req("MUST-2")
async def test_what_is_sent_has_a_checksum(ipv6: bool) -> None:
    """Every packet of every test is verified; here is that the verification can fail."""
    async with Peer(ipv6=ipv6) as peer:
        app = await peer.connects()
        app.write(b"odd")
        seen = await peer.sees(ACK, data=b"odd")
        assert with_checksum(seen.packet) == seen.packet
        assert with_checksum(spoiled(seen.packet, -1)) != spoiled(seen.packet, -1)


@FAMILIES
@pytest.mark.req("MUST-3")
async def test_a_bad_checksum_is_dropped_in_silence(ipv6: bool) -> None:
    async with Peer(ipv6=ipv6) as peer:
        app = await peer.connects()
        for flags, data in [(SYN, b""), (ACK, b"hello"), (RST, b""), (FIN | ACK, b""), (ACK, b"")]:
            packet = peer.packet(flags, seq=1, data=data)
            for position in (tcp_at(peer) + 4, tcp_at(peer) + 13, tcp_at(peer) + 16, -1):
                peer.injects(spoiled(packet, position, 0x40))
        await peer.sees_nothing(for_s=1)
        assert app.state == "ESTABLISHED"
        assert app.received == b""
        assert peer.stack.counters.dropped[Drop.TCP_CHECKSUM] == 20


@FAMILIES
@pytest.mark.req("MUST-3")
async def test_the_addresses_count(ipv6: bool) -> None:
    """The pseudo-header: a segment that strayed to another address is not ours."""
    async with Peer(ipv6=ipv6) as peer:
        peer.listens()
        packet = bytearray(peer.packet(SYN))
        source_end = 16 if not ipv6 else 24
        packet[source_end - 1] ^= 0x20
        if not ipv6:
            packet[10:12] = b"\0\0"
            total = checksum.ones_complement_sum(packet[:20])
            packet[10:12] = checksum.finish(total).to_bytes(2, "big")
        peer.injects(bytes(packet))
        await peer.sees_nothing()
        assert peer.stack.counters.dropped[Drop.TCP_CHECKSUM] == 1


@pytest.mark.req("MUST-2", "MUST-3")
async def test_a_sum_of_zero_is_sent_as_such_and_taken_both_ways() -> None:
    """Ones' complement has two zeros; unlike UDP's, TCP's checksum is never absent."""
    async with Peer() as peer:
        await peer.connects()
        for value in range(0x10000):
            packet = peer.packet(ACK, seq=1, data=value.to_bytes(2, "big"))
            if packet[36:38] in (b"\0\0", b"\xff\xff"):
                break
        peer.injects(packet)
        await peer.sees(ACK, ack=3, within=0.5)
        peer.seq = 3


# -- flags and reserved bits ------------------------------------------------------------------


@pytest.mark.req("ST-27")
@pytest.mark.parametrize("bits", [0x02, 0x04, 0x08, 0x0E])
async def test_reserved_bits_are_ignored(bits: int) -> None:
    """3.1: "Must be zero in generated segments and must be ignored in received segments if the
    corresponding future features are not implemented". That they are zero, every test checks."""
    async with Peer() as peer:
        _, accepted = peer.listens()
        peer.injects(with_checksum(spoiled(peer.packet(SYN), 32, bits)))
        await peer.sees(SYN | ACK, ack=1)
        peer.injects(with_checksum(spoiled(peer.packet(ACK, data=b"hello"), 32, bits)))
        await peer.sees(ACK, ack=6, within=0.5)
        assert accepted[0].received == b"hello"


@pytest.mark.parametrize("flags", [0x40, 0x80, 0xC0], ids=["ECE", "CWR", "both"])
async def test_ecn_flags_do_not_harm(flags: int) -> None:
    """RFC 3168 6.1.1: they mean nothing where ECN was not agreed on."""
    async with Peer() as peer:
        app = await peer.connects()
        peer.sends(ACK | flags, data=b"hello")
        await peer.sees(ACK, ack=6, within=0.5)
        assert app.received == b"hello"


# -- IP ---------------------------------------------------------------------------------------


@pytest.mark.req("MUST-50")
@pytest.mark.parametrize(
    "options",
    [
        b"\x01\x01\x01\x00",  # no operation, end
        b"\x44\x0c\x05\x00" + bytes(8),  # Internet timestamp
        b"\x07\x07\x04" + bytes(4) + b"\x00",  # record route
        b"\x94\x04\x00\x00",  # router alert
        b"\x5e\x04\xff\xff",  # experimental
    ],
    ids=["padding", "timestamp", "record-route", "router-alert", "unknown"],
)
async def test_ip_options_are_ignored(options: bytes) -> None:
    """3.9.2.1: "A TCP implementation MUST ignore [...] IP options it does not understand"."""

    def with_options(packet: bytes) -> bytes:
        header = bytearray(packet[:20] + options)
        header[0] = 0x40 | len(header) // 4
        header[2:4] = (len(packet) + len(options)).to_bytes(2, "big")
        header[10:12] = b"\0\0"
        total = checksum.ones_complement_sum(header)
        header[10:12] = checksum.finish(total).to_bytes(2, "big")
        return bytes(header) + packet[20:]

    async with Peer() as peer:
        _, accepted = peer.listens()
        peer.injects(with_options(peer.packet(SYN)))
        await peer.sees(SYN | ACK, ack=1)
        peer.injects(with_options(peer.packet(ACK)))
        peer.injects(with_options(peer.packet(ACK, data=b"hello")))
        await peer.sees(ACK, ack=6, within=0.5)
        assert accepted[0].received == b"hello"


@FAMILIES
@pytest.mark.req("MUST-49", "MUST-48", "SHLD-22")
async def test_hop_limit_and_dscp_are_those_asked_for(ipv6: bool) -> None:
    chosen = Options(hop_limit=17, traffic_class=46 << 2)
    async with Peer(ipv6=ipv6, options=chosen) as peer:
        app = peer.opens()
        app.write(b"hello")
        seen = [await peer.sees(SYN)]
        peer.sends(SYN | ACK, mss=1460)
        seen.append(await peer.sees(ACK, data=b"hello"))
        app.shutdown()
        seen.append(await peer.sees(FIN | ACK))
        peer.sends(ACK)
        peer.sends(FIN | ACK)
        seen.append(await peer.sees(ACK, ack=2))
        await peer.wait(1)
        peer.sends(FIN | ACK, seq=1)
        seen.append(await peer.sees(ACK, ack=2))
        assert peer.state == "TIME-WAIT"
        stray = peer.another()
        stray.sends(SYN)
        seen.append(await stray.sees(RST | ACK))
        assert {(s.hop_limit, s.traffic_class) for s in seen} == {(17, 46 << 2)}


@pytest.mark.req("MUST-49", "MUST-48")
async def test_hop_limit_and_dscp_can_be_those_of_one_listener() -> None:
    async with Peer() as peer:
        _, accepted = peer.listens(options=Options(hop_limit=3, traffic_class=8))
        peer.sends(SYN)
        seen = [await peer.sees(SYN | ACK)]
        peer.sends(RST, seq=2)
        seen.append(await peer.sees(ACK))
        peer.sends(ACK)
        accepted[0].shutdown()
        seen.append(await peer.sees(FIN | ACK))
        peer.sends(FIN | ACK)
        seen.append(await peer.sees(ACK, ack=2))
        assert peer.state == "TIME-WAIT"
        peer.sends(FIN | ACK, seq=1)
        seen.append(await peer.sees(ACK, ack=2))
        assert {(s.hop_limit, s.traffic_class) for s in seen} == {(3, 8)}


@FAMILIES
@pytest.mark.req("SHLD-21", "SHLD-22", "MUST-48", "MUST-49")
async def test_hop_limit_and_dscp_can_be_changed_during_the_connection(ipv6: bool) -> None:
    async with Peer(ipv6=ipv6) as peer:
        app = await peer.connects()
        seen = []
        for changes in ({}, {"traffic_class": 46 << 2}, {"hop_limit": 7}, {"traffic_class": 0}):
            app.conn.configure(**changes)
            app.write(b"x")
            seen.append(await peer.sees(ACK, data=b"x"))
            peer.sends(ACK)
        marks = [(s.hop_limit, s.traffic_class) for s in seen]
        assert marks == [(64, 0), (64, 46 << 2), (7, 46 << 2), (7, 0)]


@pytest.mark.req("1191-1")
async def test_ipv4_packets_have_df() -> None:
    """RFC 1191 3; every packet of every test is checked for it."""
    async with Peer() as peer:
        app = await peer.connects()
        app.write(b"hello")
        assert (await peer.sees(ACK, data=b"hello")).packet[6] == 0x40


# -- RFC 9293 MAY-3 to MUST-67: how large segments are, is in test_mss.py -----------------------
