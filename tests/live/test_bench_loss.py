"""make bench-loss live: both senders get through the forwarder, and every number is measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.loss.cells import CELLS
from bench.loss.live import SENDERS, measure, obstacle

pytestmark = [
    pytest.mark.tun,
    pytest.mark.skipif(bool(obstacle()), reason=obstacle()),
]


@pytest.mark.parametrize("sender", SENDERS)
def test_two_flows_through_the_forwarder(sender: str) -> None:
    cell = replace(CELLS["share"], loss=0.01, seconds=2.5, settled_s=1.5)
    outcome = measure(cell, sender, "reno", 1)
    assert 0 < outcome.goodput < 100
    assert outcome.busy > 0
    assert outcome.share is not None
    assert 0 <= outcome.share <= 0.5
    assert outcome.retransmitted > 0
    assert 0 <= outcome.duplicate < outcome.delivered
