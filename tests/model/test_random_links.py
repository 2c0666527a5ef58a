"""Two stacks over links drawn at random: every byte arrives exactly once, or the documented error
does; memory stays within its limits, all ends, no timer is left, and no exchange goes on for ever.

A sample of what `make random-links` runs a thousand seeds of. One seed by hand, with its plan:

    python -m tests.model.random_links --seeds 7 --show
"""

from __future__ import annotations

import pytest

from tests.support.random_links import LONGEST_CUT_S, one_seed, plan


@pytest.mark.req("X-1", "X-3", "X-5")
@pytest.mark.parametrize("seed", range(100))
def test_every_byte_arrives_once_or_a_documented_error_does(seed: int) -> None:
    assert one_seed(seed) == []


def test_the_plans_are_as_bad_as_they_should_be() -> None:
    plans = [plan(seed) for seed in range(1000)]
    netems = [netem for each in plans for spell in each.spells for netem in spell.netems]
    assert {0.2, 1.0} <= {netem.loss for netem in netems}
    assert all(
        any(getattr(netem, fault) for netem in netems)
        for fault in ("reorder", "duplicate", "corrupt", "jitter", "rate")
    )
    cuts = [
        spell
        for each in plans
        for spell in each.spells
        if any(netem.loss == 1.0 for netem in spell.netems)
    ]
    assert 0 < max(spell.length_s for spell in cuts) <= LONGEST_CUT_S
    assert any(not spell.told and spell.mtu < each.mtu for each in plans for spell in each.spells)
    assert any(spell.told and spell.mtu < each.mtu for each in plans for spell in each.spells)
