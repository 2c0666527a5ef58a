"""What wraps a link passes on what it is, what it says and what it carries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from aiotcp.link import Capture, Impair, Link, Wrapper, pair
from aiotcp.trace.watch import Recording, Watch
from aiotcp.wire.frame import Frame
from tests.support.recorder import Recorder


def owns(flow: bytes) -> bool:
    return True


def receive_waiting() -> bool:
    return False


@pytest.fixture(params=["Wrapper", "Impair", "Capture", "Watch"])
def wrap(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Link], Wrapper]:
    makers: dict[str, Callable[[Link], Wrapper]] = {
        "Wrapper": Wrapper,
        "Impair": Impair,
        "Capture": lambda link: Capture(link, tmp_path / "file.pcapng"),
        "Watch": lambda link: Watch(link, "host", Recording()),
    }
    return makers[request.param]


def test_it_is_what_the_link_below_is(wrap: Callable[[Link], Wrapper]) -> None:
    below, _ = pair(mtu=1400)
    link = wrap(below)
    assert (link.mtu, link.gso_max_bytes, link.checksum_offload) == (1400, 0, True)
    assert (link.receive_queue_packets, link.receive_waiting, link.owns) == (None, None, None)
    assert link.processes is None
    # As it may still come to be: a queue's length is known when the device is.
    below.receive_queue_packets = 7  # type: ignore[attr-defined]
    below.receive_waiting = receive_waiting  # type: ignore[attr-defined]
    below.owns = owns  # type: ignore[attr-defined]
    below.processes = 2  # type: ignore[attr-defined]
    assert link.processes == 2
    assert (link.receive_queue_packets, link.receive_waiting, link.owns) == (
        7,
        receive_waiting,
        owns,
    )
    link.close()


async def test_what_comes_and_goes_passes(wrap: Callable[[Link], Wrapper]) -> None:
    loop = asyncio.get_running_loop()
    below, peer = pair()
    link = wrap(below)
    above, there = Recorder(), Recorder()
    link.attach(above, loop)
    peer.attach(there, loop)
    with pytest.raises(RuntimeError):
        link.attach(Recorder(), loop)
    packet = bytes([0x45, 0, 0, 40, *bytes(36)])
    link.send(Frame(packet))
    peer.send(Frame(packet))
    peer.send(Frame(packet))
    await asyncio.sleep(0)
    assert there.packets == [packet]
    assert (above.packets, above.batches) == ([packet] * 2, [2])
    lost = OSError("gone")
    link.link_lost(lost)
    assert above.lost == [lost]
    link.close()
    peer.send(Frame(packet))
    await asyncio.sleep(0)
    assert len(above.packets) == 2
