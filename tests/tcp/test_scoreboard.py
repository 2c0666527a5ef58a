"""What is in the network: splits, losses, repetitions, and Karn's rule."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.delivery import DeliveryRate, Stamp
from aiotcp.tcp.scoreboard import Scoreboard


def stamp(at: float) -> Stamp:
    return DeliveryRate(at).on_sent(at, 0, 0)


def board(*edges: int) -> Scoreboard:
    """Frames between each two of `edges`, sent at 0, 1, 2, … seconds."""
    scoreboard = Scoreboard()
    for at, (start, end) in enumerate(pairwise(edges)):
        scoreboard.sent(start, end, stamp(at))
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
    delivered = scoreboard.acknowledge(300)
    assert [(end, size) for _, end, size in delivered] == [(200, 100), (300, 100)]
    assert delivered[-1][0].stamp.sent_at == 1.0
    assert rows(scoreboard) == [(300, 400, 1, False)]
    assert scoreboard.in_flight == 100


def test_an_acknowledgment_cuts_a_large_frame() -> None:
    scoreboard = board(0, 60_000)
    assert [(end, size) for _, end, size in scoreboard.acknowledge(1_460)] == [(1_460, 1_460)]
    assert rows(scoreboard) == [(1_460, 60_000, 1, False)]
    assert scoreboard.in_flight == 58_540


@pytest.mark.req("6675-1", "2018-5")
def test_a_block_marks_a_part_of_a_large_frame() -> None:
    scoreboard = board(0, 100, 1_000, 2_000)
    delivered = scoreboard.sack(300, 500)
    assert [(r.start, end, size) for r, end, size in delivered] == [(300, 500, 200)]
    assert [(r.start, r.end, r.sacked) for r in scoreboard] == [
        (0, 100, False),
        (100, 300, False),
        (300, 500, True),
        (500, 1_000, False),
        (1_000, 2_000, False),
    ]
    assert (scoreboard.in_flight, scoreboard.sacked_bytes) == (1_800, 200)
    assert scoreboard.sack(200, 600) != []  # the rest of it, and nothing twice
    assert scoreboard.sacked_bytes == 400
    assert scoreboard.sack(200, 600) == []


@pytest.mark.req("2018-5")
def test_what_was_sacked_is_not_delivered_twice() -> None:
    scoreboard = board(0, 100, 200, 300)
    scoreboard.sack(100, 200)
    assert sum(size for _, _, size in scoreboard.acknowledge(300)) == 200
    assert not scoreboard
    assert (scoreboard.in_flight, scoreboard.sacked_bytes) == (0, 0)


@pytest.mark.req("6675-7")
def test_what_arrived_after_all_is_not_repeated() -> None:
    scoreboard = board(0, 100, 200, 300)
    scoreboard.mark_lost(200)
    scoreboard.sack(0, 100)
    first = scoreboard.first_lost()
    assert first is not None
    assert first.start == 100
    scoreboard.sack(100, 200)
    assert scoreboard.first_lost() is None
    assert scoreboard.lost_bytes == 0


@pytest.mark.req("2018-6")
def test_what_a_peer_has_thrown_away_is_in_the_network_again() -> None:
    scoreboard = board(0, 100, 200, 300)
    scoreboard.sack(100, 300)
    scoreboard.forget_sacked()
    assert (scoreboard.in_flight, scoreboard.sacked_bytes) == (300, 0)
    assert [(r.start, r.end) for r in scoreboard.mark_lost(300)] == [(0, 100), (100, 300)]


@pytest.mark.req("2018-6", "6298-3")
def test_what_had_arrived_once_gives_no_round_trip() -> None:
    scoreboard = board(0, 100, 200)
    scoreboard.sack(100, 200)
    scoreboard.forget_sacked()
    assert rows(scoreboard) == [(0, 100, 1, False), (100, 200, 2, False)]


@pytest.mark.req("6675-1")
def test_neighbours_that_arrived_are_one_record() -> None:
    """Each costs nothing any more, however often blocks repeat it."""
    scoreboard = board(*range(0, 1100, 100))
    for left, right in ((300, 500), (700, 800), (500, 600), (600, 700), (100, 200)):
        told = scoreboard.sack(left, right)
        assert [(r.stamp.sent_at, end) for r, end, _ in told] == [
            (seq // 100, seq + 100) for seq in range(left, right, 100)
        ]
    marks = [(r.start, r.end) for r in scoreboard if r.sacked]
    assert marks == [(100, 200), (300, 800)]
    assert [(end, size) for _, end, size in scoreboard.acknowledge(350)] == [(100, 100), (300, 100)]
    assert scoreboard.sacked_bytes == 450
    assert rows(scoreboard)[0][:2] == (350, 800)


@pytest.mark.req("6675-1")
@pytest.mark.parametrize(
    ("block", "told"),
    [
        ((0, 1000), [(0, 1000)]),
        ((400, 2000), [(400, 2000)]),
        ((500, 600), []),
        ((1, 10_000), [(300, 10_000)]),
        ((0, 9_900), [(0, 9_700)]),
        ((0, 299), []),
        ((9_701, 10_000), []),
        ((10_000, 10_001), [(10_000, 10_001)]),
        ((9_700, 10_001), [(9_700, 10_000), (10_000, 10_001)]),
    ],
)
def test_no_piece_is_shorter_than_the_grain(
    block: tuple[int, int], told: list[tuple[int, int]]
) -> None:
    """A frame of 10,000 bytes and one of 1: blocks tell of less than they say, never of more."""
    scoreboard = board(0, 10_000, 10_001)
    assert [(r.start, end) for r, end, _ in scoreboard.sack(*block, 300)] == told
    assert scoreboard.sacked_bytes == sum(end - start for start, end in told)
    assert all(r.size >= 300 or r.end == 10_001 for r in scoreboard)


@pytest.mark.req("6675-1")
@given(st.lists(st.tuples(st.integers(0, 9_999), st.integers(1, 2_000)), max_size=200))
def test_many_small_blocks_make_few_records(blocks: list[tuple[int, int]]) -> None:
    scoreboard = board(0, 10_000)
    have: set[int] = set()
    for left, length in blocks:
        have.update(range(left, min(left + length, 10_000)))
        scoreboard.sack(left, min(left + length, 10_000), 700)
    assert len(list(scoreboard)) <= 10_000 // 700
    marked = [seq for r in scoreboard if r.sacked for seq in range(r.start, r.end)]
    assert have.issuperset(marked)
    assert scoreboard.sacked_bytes == len(marked)


@pytest.mark.req("8985-1")
def test_lost_is_what_left_before_what_arrived() -> None:
    """Frames that left at 0, 1, 2 and 3 s; that of 2 s arrives."""
    scoreboard = board(0, 100, 200, 300, 400)
    scoreboard.sack(200, 300)
    assert scoreboard.any_overtaken(2.0, 300)
    found, wait = scoreboard.overtaken(2.0, 300, 10.0, 10.5)
    assert ([r.start for r in found], wait) == ([0], 0.5)
    found, wait = scoreboard.overtaken(2.0, 300, 10.0, 11.0)
    assert ([r.start for r in found], wait) == ([100], 0.0)
    assert not scoreboard.any_overtaken(2.0, 300)


@pytest.mark.req("8985-1")
def test_of_what_left_at_one_time_sequence_numbers_tell_the_order() -> None:
    scoreboard = Scoreboard()
    for start in range(0, 400, 100):
        scoreboard.sent(start, start + 100, stamp(5.0))
    scoreboard.sack(200, 300)
    found, wait = scoreboard.overtaken(5.0, 300, 1.0, 6.0)
    assert ([r.start for r in found], wait) == ([0, 100], 0.0)


@pytest.mark.req("8985-1")
def test_both_halves_of_a_split_frame_left_when_it_did() -> None:
    scoreboard = board(0, 300, 400)
    scoreboard.sack(100, 200)
    found, _ = scoreboard.overtaken(0.0, 200, 1.0, 1.0)
    assert [(r.start, r.end) for r in found] == [(0, 100)]
    scoreboard.sack(300, 400)
    found, _ = scoreboard.overtaken(1.0, 400, 1.0, 1.5)
    assert [(r.start, r.end) for r in found] == [(200, 300)]


@pytest.mark.req("8985-1")
def test_a_repetition_can_be_lost_in_its_turn() -> None:
    scoreboard = board(0, 100, 200)
    (first,) = scoreboard.mark_lost(100)
    scoreboard.repeated(first, stamp(5.0))
    scoreboard.sent(200, 300, stamp(6.0))
    assert scoreboard.overtaken(1.0, 200, 1.0, 9.0) == ([], 0.0)  # it left after that
    found, _ = scoreboard.overtaken(6.0, 300, 1.0, 9.0)
    assert [r.start for r in found] == [100, 0]


def test_what_is_forgiven_is_in_flight_and_can_be_lost_again() -> None:
    scoreboard = board(0, 100, 200, 300)
    scoreboard.sack(100, 200)
    scoreboard.mark_lost(300)
    assert scoreboard.forgive() == 200
    assert (scoreboard.in_flight, scoreboard.lost_bytes) == (200, 0)
    assert scoreboard.first_lost() is None
    assert [r.start for r in scoreboard.overtaken(9.0, 0, 1.0, 99.0)[0]] == [0, 200]


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
    scoreboard.repeated(first, stamp(9.0))
    assert rows(scoreboard) == [(0, 1_000, 2, False), (1_000, 3_000, 1, True)]
    assert first.stamp.sent_at == 9.0
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
    scoreboard.repeated(oldest, stamp(1.0))
    scoreboard.mark_lost(20)
    scoreboard.fit(oldest, 20)
    assert rows(scoreboard) == [(0, 20, 2, True)]


def test_a_tail_probe_of_what_is_not_lost_counts_once() -> None:
    scoreboard = board(0, 100)
    oldest = scoreboard.oldest
    assert oldest is not None
    scoreboard.repeated(oldest, stamp(2.0))
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
        self.sacked: set[int] = set()

    def sent(self, size: int) -> None:
        for seq in range(self.nxt, self.nxt + size):
            self.times[seq] = 1
        self.nxt += size

    def acknowledge(self, una: int) -> None:
        for seq in range(self.una, una):
            del self.times[seq]
            self.lost.discard(seq)
            self.sacked.discard(seq)
        self.una = una


_STEP = st.tuples(
    st.sampled_from(["send", "ack", "sack", "lose", "overtake", "repeat", "forgive", "forget"]),
    st.integers(min_value=1, max_value=40),
)


@given(st.lists(_STEP, max_size=60))
def test_agrees_with_a_table_of_bytes(steps: Sequence[tuple[str, int]]) -> None:
    scoreboard, oracle = Scoreboard(), Oracle()
    for now, (step, size) in enumerate(steps):
        if step == "send":
            scoreboard.sent(oracle.nxt, oracle.nxt + size, stamp(now))
            oracle.sent(size)
        elif step == "ack":
            una = min(oracle.una + size, oracle.nxt)
            fresh = una - oracle.una - sum(seq < una for seq in oracle.sacked)
            assert sum(size for _, _, size in scoreboard.acknowledge(una)) == fresh
            oracle.acknowledge(una)
        elif step == "sack":
            left = min(oracle.una + size, oracle.nxt)
            right = min(left + 15, oracle.nxt)
            if left == right:
                continue
            block = set(range(left, right))
            told = scoreboard.sack(left, right)
            assert sum(size for _, _, size in told) == len(block - oracle.sacked)
            oracle.sacked |= block
            oracle.lost -= block
        elif step == "lose":
            end = min(oracle.una + size, oracle.nxt)
            scoreboard.mark_lost(end)
            oracle.lost.update(set(range(oracle.una, end)) - oracle.sacked)
        elif step == "overtake":
            for record in scoreboard.overtaken(now - size, 1 << 60, -1.0, float(now))[0]:
                assert record.stamp.sent_at <= now - size
                oracle.lost.update(range(record.start, record.end))
            assert not scoreboard.any_overtaken(now - size, 1 << 60)
            for record in scoreboard:
                left_early = record.stamp.sent_at <= now - size
                assert record.lost or record.sacked or not left_early
        elif step == "forgive":
            assert scoreboard.forgive() == len(oracle.lost)
            oracle.lost.clear()
        elif step == "forget":
            scoreboard.forget_sacked()
            oracle.times.update(dict.fromkeys(oracle.sacked, 2))  # Karn: no sample from these
            oracle.sacked.clear()
        else:
            first = scoreboard.first_lost()
            assert (first is None) == (not oracle.lost)
            if first is None:
                continue
            assert first.start == min(oracle.lost)
            scoreboard.fit(first, size)
            scoreboard.repeated(first, stamp(now))
            assert first.size <= size
            for seq in range(first.start, first.end):
                oracle.times[seq] += 1
                oracle.lost.remove(seq)
        _agree(scoreboard, oracle)


def _agree(scoreboard: Scoreboard, oracle: Oracle) -> None:
    position = oracle.una
    for record in scoreboard:
        assert record.start == position < record.end
        position = record.end
        for seq in range(record.start, record.end):
            if seq not in oracle.sacked:  # how often that was sent nobody asks any more
                assert (oracle.times[seq] > 1) <= (record.transmissions > 1)
            assert (seq in oracle.lost) == record.lost
            assert (seq in oracle.sacked) == record.sacked
    assert position == oracle.nxt
    assert scoreboard.lost_bytes == len(oracle.lost)
    assert scoreboard.sacked_bytes == len(oracle.sacked)
    assert scoreboard.in_flight == len(oracle.times) - len(oracle.lost) - len(oracle.sacked)
    assert bool(scoreboard) == bool(oracle.times)
