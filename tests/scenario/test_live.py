"""The scenarios that are for kernels, with the kernel of this machine in one host's place."""

from __future__ import annotations

import contextlib

import pytest

from aiotcp.scenario import live
from aiotcp.scenario.model import SHIPPED, find
from aiotcp.scenario.player import play
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]

NAMES = sorted(p.stem for p in SHIPPED.glob("*.toml") if find(p.stem).live is not None)


@pytest.mark.parametrize("name", NAMES)
def test_what_must_be_seen_is_seen(name: str) -> None:
    scenario = find(name)
    for _ in range(4):
        # Where the machine stops for longer than from one step of the story to the next, which is
        # a tenth of a second, it is another story.
        with contextlib.suppress(LookupError):
            if not live.judge(scenario, live.play(scenario)):
                return
    trace = live.play(scenario)
    assert not live.judge(scenario, trace), live.compare(play(scenario), trace)


def test_what_is_not_seen_is_told() -> None:
    scenario = find("open-passive")
    trace = play(scenario)
    assert live.judge(scenario, trace) == ""
    trace.events = [event for event in trace.events if getattr(event, "flags", "") != "SYN,ACK"]
    assert live.judge(scenario, trace) == "- server > SYN,ACK seq=0 ack=1"


def test_a_scenario_that_is_not_for_kernels() -> None:
    with pytest.raises(ValueError, match=r"open-lost-1 is not for kernels: it has no \[live\]"):
        live.play(find("open-lost-1"))
