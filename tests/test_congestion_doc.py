"""The congestion control that docs/congestion.md shows works as it is shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from aiotcp.link.impair import Netem
from aiotcp.options import CONGESTION_CONTROLS, Options
from aiotcp.stack import Connection
from aiotcp.tcp.congestion import CongestionControl, Phase
from tests.support.controls import ack, start
from tests.support.exchange import Exchange, Network

DOC = (Path(__file__).parents[1] / "docs" / "congestion.md").read_text()
MSS = 1000
PATH = Netem(delay=0.02, rate=10e6, limit=1000)
BDP_PACKETS = 10e6 * 0.04 / 8 / 1500


def shown() -> type[CongestionControl]:
    (code,) = re.findall(r"```python\n(# vegas\.py\n.*?)```", DOC, re.DOTALL)
    names: dict[str, Any] = {"__name__": "vegas"}
    exec(compile(code, "docs/congestion.md", "exec"), names)
    made: type[CongestionControl] = names["Vegas"]
    assert issubclass(made, CongestionControl)
    return made


async def transferred(options: Options, netem: Netem, size: int) -> Connection:
    """A transfer both ways; the client's connection as it ended."""
    exchange = Exchange(Network(netem, options=(options, options)), 1)
    client, server = await exchange.transfer(size)
    for talker in (client, server):
        assert talker.connection.error is None
        assert talker.bytes_received == size
    assert client.received.digest() == server.sent.digest()
    assert server.received.digest() == client.sent.digest()
    exchange.verify()
    for stack in exchange.stacks:
        await stack.aclose()
    return client.connection


async def test_the_control_that_is_shown_keeps_the_queue_short() -> None:
    connection = await transferred(Options(cc=shown()), PATH, 4_000_000)
    assert connection.cc.name == "vegas"
    # Both directions queue, each a few packets. A control that waits for a loss fills the buffer.
    assert connection.cc.cwnd < 2 * BDP_PACKETS * connection.mss
    assert connection.total_retransmitted == 0


async def test_the_control_that_is_shown_survives_losses() -> None:
    connection = await transferred(Options(cc=shown()), Netem(delay=0.02, loss=0.02), 500_000)
    assert connection.total_retransmitted > 0


def test_the_control_that_is_shown_by_numbers() -> None:
    control = shown()(start(MSS, rtt=0.1))
    windows = []
    for n in range(1, 8):
        control.on_ack(ack(10 * MSS, control.cwnd, delivered=n * 10**6, rtt=0.1))
        windows.append(control.cwnd // MSS)
    assert windows == [15, 22, 33, 50, 75, 113, 170]
    for n in range(8, 11):
        control.on_ack(ack(10 * MSS, control.cwnd, delivered=n * 10**6, rtt=0.2))
    assert control.cwnd // MSS == 167
    held = control.cwnd
    control.on_ack(ack(MSS, MSS, delivered=10**8, rtt=0.1, cwnd_limited=False))
    control.on_ack(ack(MSS, MSS, delivered=10**9, rtt=0.1, phase=Phase.RECOVERY))
    assert control.cwnd == held
    control.on_congestion(100 * MSS, 0.0)
    assert control.cwnd == control.ssthresh == 75 * MSS


@pytest.mark.parametrize("name", sorted(CONGESTION_CONTROLS))
def test_each_of_ours_is_described(name: str) -> None:
    assert f"| `{name}` |" in DOC


def test_the_calls_are_all_described() -> None:
    calls = {
        name
        for name in vars(CongestionControl)
        if name in {"undo", "set_mss"} or name.startswith("on_")
    }
    assert calls == set(re.findall(r"^\| `(\w+)\(", DOC, re.MULTILINE))
