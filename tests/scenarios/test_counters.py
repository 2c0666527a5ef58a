"""What the stories of the scenarios don't tell: the reasons that discarded packets are counted
under."""

from __future__ import annotations

import pytest

from aiotcp import sim
from aiotcp.reasons import Drop
from aiotcp.scenario.model import find
from aiotcp.scenario.player import Play


@pytest.mark.parametrize(
    ("name", "host", "dropped"),
    [
        pytest.param(
            *("crash-reboot", "server", {Drop.TCP_NO_CONNECTION: 1}),
            marks=pytest.mark.req("ST-1"),
        ),
        pytest.param(
            "blind-reset",
            "client",
            {Drop.RST_OUT_OF_WINDOW: 1, Drop.RST_CHALLENGED: 1, Drop.SYN_CHALLENGED: 2},
            marks=pytest.mark.req("5961-1", "5961-2"),
        ),
        pytest.param(
            "checksum", "server", {Drop.TCP_CHECKSUM: 1}, marks=pytest.mark.req("MUST-3", "X-3")
        ),
        pytest.param(
            *("reassembly", "server", {Drop.DUPLICATE_DATA: 2}), marks=pytest.mark.req("ST-20")
        ),
        pytest.param(
            "time-wait-old-data",
            "server",
            {Drop.TIME_WAIT_RST: 3, Drop.TIME_WAIT_SYN: 2, Drop.TIME_WAIT_OLD: 1},
            marks=pytest.mark.req("1337-2", "6191-2"),
        ),
        pytest.param(
            *("time-wait-timestamps", "server", {Drop.PAWS: 1}), marks=pytest.mark.req("7323-12")
        ),
    ],
)
def test_each_discarded_packet_has_its_reason(
    name: str, host: str, dropped: dict[Drop, int]
) -> None:
    play = Play(find(name), 0)
    sim.run(play.run())
    assert play.network.hosts[host].stack.counters.dropped == dropped
