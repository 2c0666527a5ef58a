"""A SYN by the short way (`wire.usual`, `PassiveOpens._open_usual`) and by the complete one: two
stacks get the same packets, and must not differ in what they send, count and keep.
"""

from __future__ import annotations

import asyncio

import pytest

from aiotcp.addresses import pack
from aiotcp.sim import run
from aiotcp.wire import tcp
from aiotcp.wire.tcp import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG, HeaderTemplate
from tests.model.test_prediction import HOSTS, PORT, Setting, Side

USUAL = tcp.pack_options(mss=1460, wscale=7, sack_permitted=True, timestamps=(5, 0))
OPTIONS = {
    "usual": USUAL,
    "a small MSS": tcp.pack_options(mss=1, wscale=7, sack_permitted=True, timestamps=(5, 0)),
    "a large shift": tcp.pack_options(mss=1460, wscale=15, sack_permitted=True, timestamps=(5, 0)),
    "no shift": tcp.pack_options(mss=1460, sack_permitted=True, timestamps=(5, 0)),
    "no SACK": tcp.pack_options(mss=1460, wscale=7, timestamps=(5, 0)),
    "no timestamps": tcp.pack_options(mss=1460, wscale=7, sack_permitted=True),
    "none": b"",
    "another order": USUAL[4:] + USUAL[:4],
    "more": USUAL + tcp.pack_options(user_timeout=30),
    "Fast Open": tcp.pack_options(
        mss=1460, wscale=7, sack_permitted=True, timestamps=(5, 0), fast_open=b""
    ),
}
LISTENING: dict[str, tuple[tuple[str, object], ...]] = {
    "by default": (),
    "without timestamps": (("timestamps", False),),
    "without SACK": (("sack", False),),
    "without scaling": (("window_scaling", False),),
    "with small buffers": (("receive_buffer", 5000), ("mss", 500)),
    "with user timeouts": (("uto", True), ("user_timeout_s", 30)),
    "with ECN": (("ecn", "accurate"),),
    "with Fast Open": (("tfo", "server"),),
    "with cookies": (("syn_cookies", "always"),),
    "one at most": (("max_connections", 1),),
}


def syn(
    version: int,
    port: int = 49152,
    *,
    options: bytes = USUAL,
    flags: int = SYN,
    source: str | None = None,
    target: int = PORT,
    payload: bytes = b"",
) -> bytes:
    stack, peer = HOSTS[version]
    template = HeaderTemplate(pack(source or peer), port, pack(stack), target)
    frame = template.frame(
        0xFFFF_FFFF,
        0,
        flags,
        64000,
        options=options,
        payload=(payload,) if payload else (),
        payload_length=len(payload),
        offload=False,
    )
    return frame.to_bytes()


def completing(answer: bytes) -> bytes:
    """The ACK of a SYN+ACK."""
    start, width = (20, 4) if answer[0] >> 4 == 4 else (40, 16)
    segment = tcp.parse(memoryview(answer), start, len(answer))
    ours, theirs = answer[start - 2 * width : start - width], answer[start - width : start]
    ports = [int.from_bytes(answer[at : at + 2], "big") for at in (start, start + 2)]
    stamps = (6, segment.tsval) if segment.tsval is not None else None
    return (
        HeaderTemplate(theirs, ports[1], ours, ports[0])
        .frame(
            segment.ack,
            segment.seq + 1,
            ACK,
            500,
            options=tcp.pack_options(timestamps=stamps),
            offload=False,
        )
        .to_bytes()
    )


async def both(
    setting: Setting,
    packets: list[bytes],
    *,
    vouched: bool,
    backlog: int = 9,
    completed: bool = False,
    every_port: bool = False,
) -> None:
    sides = short, complete = Side(setting, short=True), Side(setting, short=False)
    for side in sides:
        host, port = ("*", None) if every_port else (HOSTS[setting.version][0], PORT)
        await side.stack.create_server(side.program, host, port, backlog=backlog)
    for packet in packets:
        sent = len(short.link.sent)
        for side in sides:
            side.batch([(packet, vouched, 0)])
        told = [(side.told(), list(map(str, side.stack.connections()))) for side in sides]
        assert told[0] == told[1]
        if completed and len(short.link.sent) > sent:
            answer = completing(short.link.sent[-1][0])
            for side in sides:
                side.batch([(answer, vouched, 0)])
        told = [(side.told(), list(map(str, side.stack.connections()))) for side in sides]
        assert told[0] == told[1]
    await asyncio.sleep(10)  # and what is repeated
    assert short.told() == complete.told()
    for side in sides:
        await side.stack.aclose(grace=0)


@pytest.mark.parametrize("vouched", [True, False])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("listening", LISTENING)
def test_options(version: int, listening: str, vouched: bool) -> None:
    setting = Setting(version, options=LISTENING[listening], offload=vouched)
    packets = [
        syn(version, 49152 + number, options=options)
        for number, options in enumerate(OPTIONS.values())
    ]
    run(both(setting, packets, vouched=vouched, completed=True))


@pytest.mark.parametrize("version", [4, 6])
def test_everything_else(version: int) -> None:
    first, again = syn(version), syn(version, 49153)
    reserved = bytearray(syn(version, 49154))
    reserved[20 * (version - 3) + 12] |= 2
    packets = [
        *(first, first, again, bytes(reserved)),
        *(syn(version, 49160, flags=SYN | flag) for flag in (ACK, FIN, PSH, RST, URG, ECE | CWR)),
        syn(version, 49161, payload=b"early"),
        syn(version, 49162)[:-1],
        syn(version, 49163) + bytes(4),
        syn(version, 0),
        syn(version, target=PORT + 1),
        syn(version, target=0),
        *(syn(version, source=source) for source in strange_sources(version)),
        *(syn(version, 50000 + number) for number in range(10)),  # beyond the backlog
    ]
    for vouched in (True, False):
        run(both(Setting(version), packets, vouched=vouched))


@pytest.mark.parametrize("version", [4, 6])
def test_where_every_port_is_taken(version: int) -> None:
    """Port 0 is none."""
    packets = [syn(version, target=target) for target in (0, 1, PORT)]
    for vouched in (True, False):
        run(both(Setting(version), packets, vouched=vouched, completed=True, every_port=True))


def strange_sources(version: int) -> tuple[str, ...]:
    if version == 4:
        return HOSTS[4][0], "224.0.0.1", "127.0.0.1", "0.0.0.0", "255.255.255.255"
    return HOSTS[6][0], "ff02::1", "::1", "::"


def test_damage() -> None:
    """Each octet of it in turn."""
    packet = syn(4)
    packets = []
    for at in range(len(packet)):
        damaged = bytearray(packet)
        damaged[at] ^= 0x41
        packets.append(bytes(damaged))
    for vouched in (True, False):
        run(both(Setting(), packets, vouched=vouched, backlog=100))
