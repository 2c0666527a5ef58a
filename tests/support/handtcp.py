"""The handshake and segments of a TCP over a TUN device, written by hand, to a kernel socket."""

from __future__ import annotations

import struct

from aiotcp.link.tun import Tun
from aiotcp.wire import tcp
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import ACK, FIN, SYN, HeaderTemplate, Segment
from tests.support.hosts import Side, transport
from tests.support.recorder import Arrival, Recorder


def segment_in(arrival: Arrival) -> Segment:
    return tcp.parse(transport(arrival.packet)[1], 0, len(transport(arrival.packet)[1]))


class HandTcp:
    """A TCP connection from us to a listening kernel socket, driven by hand."""

    def __init__(self, tun: Tun, recorder: Recorder, side: Side, port: int) -> None:
        self.tun = tun
        self.recorder = recorder
        self.template = HeaderTemplate(side.stack_bytes, 5000, side.host_bytes, port)
        self.ports = struct.pack("!HH", port, 5000)
        self.seq = 2**32 - 1000
        self.ack = 0
        self.mss = 1500 - (40 if side.version == 4 else 60)

    def send(self, flags: int, *payload: bytes, options: bytes = b"") -> None:
        self.tun.send(self.next(flags, *payload, options=options))

    def next(self, flags: int, *payload: bytes, options: bytes = b"") -> Frame:
        length = sum(map(len, payload))
        frame = self.template.frame(
            self.seq,
            self.ack,
            flags,
            0xFFFF,
            options=options,
            payload=payload,
            payload_length=length,
            gso_size=self.mss if length > self.mss else 0,
            offload=self.tun.checksum_offload,
        )
        self.seq += length + bool(flags & SYN) + bool(flags & FIN)
        return frame

    def concerns(self, packet: bytes) -> bool:
        """Connections of earlier tests may still send something again."""
        protocol, body = transport(packet)
        return protocol == tcp.PROTOCOL and body[:4] == self.ports

    async def acknowledged(self) -> Segment:
        """Wait until the kernel has acknowledged all."""

        def acknowledges(packet: bytes) -> bool:
            if not self.concerns(packet):
                return False
            body = transport(packet)[1]
            return tcp.parse(body, 0, len(body)).ack == self.seq & 0xFFFFFFFF

        return segment_in(await self.recorder.until(acknowledges))

    async def open(self) -> None:
        self.send(SYN, options=tcp.pack_options(mss=self.mss, wscale=7))
        answer = await self.acknowledged()
        assert answer.flags == SYN | ACK
        self.ack = answer.seq + 1
        self.send(ACK)
