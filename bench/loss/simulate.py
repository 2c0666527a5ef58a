"""aiotcp as the sender over a simulated path, in virtual time: what one seed gives."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from aiotcp.options import Options
from aiotcp.sim import run
from aiotcp.stack import Connection, Endpoint, PacketStack
from bench.loss.cells import MTU, RATE_BIT_S, Cell
from bench.loss.path import ack_path, data_path
from bench.loss.wire import wire

_AMPLE_BYTES = 8 << 20
"""Send and receive buffers: neither is what limits."""
_BLOCK = memoryview(bytes(256 * 1024))
_PORT = 9
_SENDER, _RECEIVER = "192.0.2.1", "192.0.2.2"


@dataclass(frozen=True)
class Outcome:
    """What one run gave."""

    goodput: float
    """Mbit/s that the receiving applications took, of all flows, from the first connect() to the
    end: handshake and slow start included. The path can carry 96.5: 1448 bytes in 1500."""
    busy: float
    """How much of the time, from `Cell.settled_s` on, the bottleneck was sending, 0 to 1."""
    share: float | None
    """What the flow that got less took of both, from `Cell.settled_s` on."""
    delivered: int
    """Bytes that the receiving applications took."""
    retransmitted: int
    """Bytes sent again."""
    duplicate: int
    """Bytes that arrived though the receiver had them already: sent again for nothing."""
    queue_drops: int
    """Packets that found the bottleneck's buffer full."""


class _Sender:
    """The user of one connection: there is always more to send."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        connection.user = self

    def progress(self) -> None:
        connection = self.connection
        if connection.error is not None:
            raise connection.error
        while connection.established and connection.send_space >= len(_BLOCK):
            connection.send(_BLOCK)

    def close(self) -> None:
        self.connection.close()


class _Receiver:
    """The user of the other end: takes all there is."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.taken = 0
        connection.user = self

    def progress(self) -> None:
        connection = self.connection
        self.taken += connection.readable
        connection.take()

    def close(self) -> None:
        self.connection.close()


async def _transfer(cell: Cell, seed: int, options: Options, offload: bool) -> Outcome:
    there = data_path(cell, seed)
    left, right = wire(there, ack_path(cell, seed), mtu=MTU, offload=offload)
    loop = asyncio.get_running_loop()
    sending = PacketStack(left, addresses=[_SENDER], options=options, seed=f"{seed}".encode())
    receiving = PacketStack(right, addresses=[_RECEIVER], options=options, seed=f"-{seed}".encode())
    receivers: list[_Receiver] = []
    receiving.listen(
        Endpoint(_RECEIVER, _PORT), lambda connection: receivers.append(_Receiver(connection))
    )
    senders: list[_Sender] = []

    def begin() -> None:
        senders.append(_Sender(sending.connect(Endpoint(_RECEIVER, _PORT))))

    starts = random.Random(f"starts {seed}")
    begin()
    for _ in range(1, cell.flows):
        loop.call_later(starts.random(), begin)
    await asyncio.sleep(cell.settled_s)
    settled = [each.taken for each in receivers]
    carried = there.carried(loop.time())
    await asyncio.sleep(cell.seconds - cell.settled_s)
    bits = 8 * (there.carried(loop.time()) - carried)
    taken = [each.taken for each in receivers]
    again = sum(each.connection.total_retransmitted for each in senders)
    held = sum(each.connection.reassembly.held_bytes for each in receivers)
    settled += [0] * (len(taken) - len(settled))  # of those whose first SYNs were lost
    late = [end - start for end, start in zip(taken, settled, strict=True)]
    outcome = Outcome(
        goodput=8 * sum(taken) / cell.seconds / 1e6,
        busy=bits / RATE_BIT_S / (cell.seconds - cell.settled_s),
        share=min(late) / sum(late) if cell.flows > 1 else None,
        delivered=sum(taken),
        retransmitted=again,
        duplicate=right.payload_received - sum(taken) - held,
        queue_drops=there.queue_drops,
    )
    await sending.aclose(grace=0)
    await receiving.aclose(grace=0)
    return outcome


def simulate(
    cell: Cell, algorithm: str, seed: int, *, offload: bool = True, options: Options | None = None
) -> Outcome:
    """One run. `offload`: the sender's link takes frames of up to 64 KiB, as a TUN device does.
    `options`: what both stacks have beside ample buffers."""
    chosen = (options or Options()).replace(
        cc=algorithm, send_buffer=_AMPLE_BYTES, receive_buffer=_AMPLE_BYTES
    )
    return run(_transfer(cell, seed, chosen, offload))
