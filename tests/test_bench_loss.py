"""make bench-loss: the path does what the cells say, and a run repeats from its seed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.loss.__main__ import main
from bench.loss.cells import CELLS
from bench.loss.path import Path
from bench.loss.report import line, row
from bench.loss.simulate import Outcome, simulate

BYTE_S = 8 / 100e6


def test_a_packet_takes_its_turn_and_the_delay() -> None:
    path = Path("1", delay=0.02, rate=100e6)
    assert path.arrival(1500, 1.0) == pytest.approx(1.0 + 1500 * BYTE_S + 0.02)
    assert path.arrival(500, 1.0) == pytest.approx(1.0 + 2000 * BYTE_S + 0.02)
    assert path.arrival(1500, 2.0) == pytest.approx(2.0 + 1500 * BYTE_S + 0.02)


def test_the_buffer_drops_what_finds_it_full_and_empties_at_the_rate() -> None:
    path = Path("1", rate=100e6, limit=3)
    arrivals = [path.arrival(1000, 0.0) for _ in range(5)]
    assert [each is None for each in arrivals] == [False, False, False, True, True]
    assert path.queue_drops == 2
    assert path.arrival(1000, 1000 * BYTE_S) is not None
    assert path.arrival(1000, 1000 * BYTE_S) is None
    assert path.carried(1500 * BYTE_S) == pytest.approx(1500)
    assert path.carried(1.0) == pytest.approx(4000)


def test_loss_and_reordering_come_at_their_rates() -> None:
    path = Path("1", delay=0.02, loss=0.01, reorder=0.05)
    arrivals = [path.arrival(1000, 0.0) for _ in range(20_000)]
    assert 150 < arrivals.count(None) < 250
    assert path.losses == arrivals.count(None)
    assert 900 < arrivals.count(0.0) < 1100
    assert set(arrivals) == {None, 0.0, 0.02}


def test_a_seed_repeats_and_another_does_not() -> None:
    cell = replace(CELLS["loss1"], seconds=2.0, settled_s=1.0)
    first = simulate(cell, "reno", 1)
    assert simulate(cell, "reno", 1) == first
    assert simulate(cell, "reno", 2) != first


@pytest.mark.parametrize("offload", [True, False])
def test_what_is_delivered_was_sent_once_or_again(offload: bool) -> None:
    cell = replace(CELLS["share"], loss=0.01, seconds=3.0, settled_s=1.0)
    outcome = simulate(cell, "reno", 3, offload=offload)
    assert 0 < outcome.goodput <= 96.6
    assert outcome.goodput * 1e6 * 3 == pytest.approx(8 * outcome.delivered)
    assert 0 < outcome.busy <= 1
    assert outcome.share is not None
    assert 0 <= outcome.share <= 0.5
    assert 0 <= outcome.duplicate <= outcome.retransmitted


def test_a_missed_target_is_marked() -> None:
    outcome = Outcome(80.0, 0.9, None, 10**6, 1000, 30, 0)
    worse = replace(outcome, duplicate=60)
    assert row(CELLS["loss0.1"], "bbr", [outcome]).missed == ["goodput"]
    assert "80.0!" in line(row(CELLS["loss0.1"], "bbr", [outcome]))
    assert row(CELLS["loss0.1"], "reno", [outcome]).missed == []
    assert row(CELLS["reorder1"], "reno", [outcome]).missed == []
    assert row(CELLS["reorder1"], "cubic", [worse]).missed == ["goodput"]
    assert row(CELLS["reorderloss1"], "cubic", [worse]).missed == ["spurious"]


def test_json_has_a_row_for_each_cell_and_algorithm(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--cells",
        "clean,loss1",
        "--seconds",
        "0.5",
        "--seeds",
        "2",
        "--only",
        "reno",
        "--no-live",
    ]
    # No transfer of half a second reaches the target: --check says so.
    assert main([*words, "--no-live", "--json", "--check"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [(each["cell"], each["algorithm"]) for each in report["rows"]] == [
        ("clean", "reno"),
        ("loss1", "reno"),
    ]
    assert all(len(each["runs"]) == 2 for each in report["rows"])
    assert report["rows"][0]["missed"] == ["goodput"]
