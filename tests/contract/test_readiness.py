"""The descriptor of `get_extra_info("socket")`, asked whether the connection is readable: what
HTTP clients do before they use a kept connection again."""

from __future__ import annotations

import select
from typing import Any

import pytest

from tests.contract.substrate import Net, Recorder, reset_on_close


def is_readable(sock: Any) -> bool:
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


async def test_readable_while_bytes_wait(net: Net) -> None:
    client = Recorder()
    left, right = await net.pair(client, Recorder())
    sock = left.get_extra_info("socket")
    assert not is_readable(sock)
    for _ in range(2):
        left.pause_reading()
        right.write(b"bytes")
        await net.turns()
        assert is_readable(sock)
        left.resume_reading()
        await client.until(len(client.data) + 5)
        assert not is_readable(sock)
    right.write(b"more")
    await client.until(14)
    assert not is_readable(sock)


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
async def test_readable_once_the_peer_has_closed(net: Net, reset: bool) -> None:
    left, right = await net.pair(Recorder(), Recorder())
    sock = left.get_extra_info("socket")
    descriptor = sock.fileno()
    left.pause_reading()
    if reset:
        reset_on_close(right)
    right.close()
    await net.turns()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    assert poll.poll(0), "a descriptor that is watched does not wait for the next fileno()"
    assert sock.fileno() == descriptor
    assert is_readable(sock)


async def test_there_is_none_once_the_transport_is_lost(net: Net) -> None:
    if net.kernel_uvloop:
        pytest.skip("uvloop's keeps the number")
    client = Recorder()
    left, _ = await net.pair(client, Recorder())
    sock = left.get_extra_info("socket")
    descriptor = sock.fileno()
    assert descriptor >= 0
    assert f"fd={descriptor}" in repr(sock)
    left.close()
    await client.lost
    await net.turns(1)
    assert sock.fileno() == -1
    assert "fd=-1" in repr(sock)
