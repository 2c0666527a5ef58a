"""What is in the network: splits, losses, repetitions, and Karn's rule."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.scoreboard import Scoreboard


def board(*edges: int) -> Scoreboard:
    """Frames between each two of `edges`, sent at 0, 1, 2, … seconds."""
    scoreboard = Scoreboard()
    for at, (start, end) in enumerate(pairwise(edges)):
        scoreboard.sent(start, end, float(at))
    return scoreboard


def rows(scoreboard: Scoreboard) -> list[tuple[int, int, int, bool]]:
    return [(r.start, r.end, r.transmissions, r.lost) for r in scoreboard]


def test_nothing_sent() -> None:
    scoreboard = Scoreboard()
    assert not scoreboard
    assert scoreboard.oldest is None
    assert scoreboard.first_lost() is None
    assert (scoreboard.in_flight, scoreboard.lost_bytes) == (0, 0)


def test_an_acknowledgment_takes_whole_frames_away() -> None:
    scoreboard = board(100, 200, 300, 400)
    newest = scoreboard.acknowledge(300)
    assert newest is not None
    assert newest.sent_at == 1.0  # the sample is of the latest
    assert rows(scoreboard) == [(300, 400, 1, False)]
    assert scoreboard.in_flight == 100


def test_an_acknowledgment_cuts_a_large_frame() -> None:
    scoreboard = board(0, 60_000)
    assert scoreboard.acknowledge(1_460) is None  # the frame is under way still
    assert rows(scoreboard) == [(1_460, 60_000, 1, False)]
    assert scoreboard.in_flight == 58_540


@pytest.mark.req("6298-3", "MUST-18")
@pytest.mark.parametrize("upto", [50, 100, 200])
def test_karn_no_sample_from_what_was_repeated(upto: int) -> None:
    scoreboard = board(0, 100, 200)
    oldest = scoreboard.oldest
    assert oldest is not None
    scoreboard.repeated(oldest, 5.0)
    assert scoreboard.acknowledge(upto) is None


@pytest.mark.req("6298-3")
def test_a_sample_again_from_what_was_not_repeated() -> None:
    scoreboard = board(0, 100, 200)
    oldest = scoreboard.oldest
    assert oldest is not None
    scoreboard.repeated(oldest, 5.0)
    scoreboard.acknowledge(100)
    newest = scoreboard.acknowledge(200)
    assert newest is not None
    assert newest.sent_at == 1.0


def test_a_loss_splits_the_frame_in_which_it_ends() -> None:
    scoreboard = board(0, 100, 1_000)
    scoreboard.mark_lost(300)
    assert rows(scoreboard) == [(0, 100, 1, True), (100, 300, 1, True), (300, 1_000, 1, False)]
    assert (scoreboard.in_flight, scoreboard.lost_bytes) == (700, 300)


def test_marking_twice_is_marking_once() -> None:
    scoreboard = board(0, 100, 200)
    scoreboard.mark_lost(100)
    scoreboard.mark_lost(100)
    assert (scoreboard.in_flight, scoreboard.lost_bytes) == (100, 100)


def test_a_repetition_puts_it_back_into_the_network() -> None:
    scoreboard = board(0, 3_000)
    scoreboard.mark_lost(3_000)
    first = scoreboard.first_lost()
    assert first is not None
    scoreboard.fit(first, 1_000)
    scoreboard.repeated(first, 9.0)
    assert rows(scoreboard) == [(0, 1_000, 2, False), (1_000, 3_000, 1, True)]
    assert first.sent_at == 9.0
    assert (scoreboard.in_flight, scoreboard.lost_bytes) == (1_000, 2_000)
    following = scoreboard.first_lost()
    assert following is not None
    assert following.start == 1_000


def test_small_losses_are_repeated_as_one() -> None:
    scoreboard = board(0, 10, 30, 60, 100)
    scoreboard.mark_lost(60)
    first = scoreboard.first_lost()
    assert first is not None
    scoreboard.fit(first, 50)
    assert rows(scoreboard) == [(0, 50, 1, True), (50, 60, 1, True), (60, 100, 1, False)]
    scoreboard.fit(first, 1_000)  # never what is not lost
    assert rows(scoreboard) == [(0, 60, 1, True), (60, 100, 1, False)]
    assert (scoreboard.in_flight, scoreboard.lost_bytes) == (40, 60)


@pytest.mark.req("6298-3")
def test_what_is_joined_has_the_longer_history() -> None:
    scoreboard = board(0, 10, 20)
    oldest = scoreboard.oldest
    assert oldest is not None
    scoreboard.mark_lost(10)
    scoreboard.repeated(oldest, 1.0)
    scoreboard.mark_lost(20)
    scoreboard.fit(oldest, 20)
    assert rows(scoreboard) == [(0, 20, 2, True)]


def test_a_tail_probe_of_what_is_not_lost_counts_once() -> None:
    scoreboard = board(0, 100)
    oldest = scoreboard.oldest
    assert oldest is not None
    scoreboard.repeated(oldest, 2.0)
    assert (scoreboard.in_flight, scoreboard.lost_bytes) == (100, 0)
    assert oldest.transmissions == 2


def test_acknowledging_what_was_believed_lost() -> None:
    scoreboard = board(0, 100, 200)
    scoreboard.mark_lost(200)
    scoreboard.acknowledge(150)
    assert rows(scoreboard) == [(150, 200, 1, True)]
    assert (scoreboard.in_flight, scoreboard.lost_bytes) == (0, 50)


def test_repr_shows_the_range_and_its_fate() -> None:
    scoreboard = board(10, 20)
    scoreboard.mark_lost(20)
    assert repr(scoreboard.oldest) == "<Sent 10..20 x1 lost>"


class Oracle:
    """The same, byte by byte: how often each was sent, and whether it is believed lost."""

    def __init__(self) -> None:
        self.una = self.nxt = 0
        self.times: dict[int, int] = {}
        self.lost: set[int] = set()

    def sent(self, size: int) -> None:
        for seq in range(self.nxt, self.nxt + size):
            self.times[seq] = 1
        self.nxt += size

    def acknowledge(self, una: int) -> None:
        for seq in range(self.una, una):
            del self.times[seq]
            self.lost.discard(seq)
        self.una = una


_STEP = st.tuples(
    st.sampled_from(["send", "ack", "lose", "repeat"]), st.integers(min_value=1, max_value=40)
)


@given(st.lists(_STEP, max_size=60))
def test_agrees_with_a_table_of_bytes(steps: Sequence[tuple[str, int]]) -> None:
    scoreboard, oracle = Scoreboard(), Oracle()
    for now, (step, size) in enumerate(steps):
        if step == "send":
            scoreboard.sent(oracle.nxt, oracle.nxt + size, float(now))
            oracle.sent(size)
        elif step == "ack":
            una = min(oracle.una + size, oracle.nxt)
            repeated = any(oracle.times[seq] > 1 for seq in range(oracle.una, una))
            newest = scoreboard.acknowledge(una)
            assert not (repeated and newest)
            if newest is not None:
                assert newest.end <= una
            oracle.acknowledge(una)
        elif step == "lose":
            end = min(oracle.una + size, oracle.nxt)
            scoreboard.mark_lost(end)
            oracle.lost.update(range(oracle.una, end))
        else:
            record = scoreboard.first_lost()
            assert (record is None) == (not oracle.lost)
            if record is None:
                continue
            assert record.start == min(oracle.lost)
            scoreboard.fit(record, size)
            scoreboard.repeated(record, float(now))
            assert record.end - record.start <= size
            for seq in range(record.start, record.end):
                oracle.times[seq] += 1
                oracle.lost.remove(seq)
        _agree(scoreboard, oracle)


def _agree(scoreboard: Scoreboard, oracle: Oracle) -> None:
    position = oracle.una
    for record in scoreboard:
        assert record.start == position < record.end
        position = record.end
        for seq in range(record.start, record.end):
            assert oracle.times[seq] <= record.transmissions  # joined: the longest history
            assert (seq in oracle.lost) == record.lost
    assert position == oracle.nxt
    assert scoreboard.lost_bytes == len(oracle.lost)
    assert scoreboard.in_flight == len(oracle.times) - len(oracle.lost)
    assert bool(scoreboard) == bool(oracle.times)
