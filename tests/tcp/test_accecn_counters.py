"""Accurate ECN as numbers in and numbers out (RFC 9768 3.2 and its appendix A), both roles."""

from __future__ import annotations

import random

import pytest

from aiotcp.tcp.accecn import AccurateEcn
from aiotcp.tcp.ecn import CE, ECT_0, ECT_1, NOT_ECT

pytestmark = pytest.mark.req("8311-1")

MSS = 1460
ISS = 1000
OPTION_0, OPTION_1 = 172, 174
Option = tuple[int | None, int | None, int | None]


def client(codepoint: int = NOT_ECT) -> AccurateEcn:
    ecn = AccurateEcn(ISS, ect=True, options=True)
    ecn.answered(codepoint, (1, 0, 1))
    return ecn


def ace(ecn: AccurateEcn, *, pure: bool = False) -> int:
    flags = ecn.stamp(pure, False)
    assert flags & 0x1C0 == flags
    return flags >> 6


def arrive(ecn: AccurateEcn, codepoint: int, length: int = MSS, segments: int = 1) -> bool:
    return ecn.received(codepoint, 0, length, segments, length > 0)


class Sender:
    """The other end of the numbers: what it acknowledges, and with which counters."""

    def __init__(self, ecn: AccurateEcn) -> None:
        self.ecn = ecn
        self.ack = ISS + 1
        self.cep = 5

    def hears(
        self,
        marks: int,
        packets: int = 1,
        *,
        option: Option | None = None,
        newer: bool = True,
        pure: bool = True,
    ) -> bool:
        self.cep += marks
        self.ack += packets * MSS
        return self.ecn.acknowledged(
            self.ack,
            (self.cep & 7) << 6,
            packets * MSS,
            newer=newer,
            pure=pure,
            mss=MSS,
            option=option,
        )


# -- receiver -----------------------------------------------------------------------------------


def test_the_counter_of_packets_begins_at_five_and_wraps() -> None:
    ecn = client()
    ace(ecn, pure=True)  # the handshake's
    seen = [ace(ecn)]
    for _ in range(9):
        arrive(ecn, CE)
        seen.append(ace(ecn))
    assert seen == [5, 6, 7, 0, 1, 2, 3, 4, 5, 6]
    assert ecn.received_cep == 14


def test_a_frame_of_many_segments_counts_as_so_many() -> None:
    ecn = client()
    arrive(ecn, CE, 5 * MSS, 5)
    assert (ecn.received_cep, ecn.received_ce_bytes) == (10, 5 * MSS)


@pytest.mark.parametrize(
    ("codepoint", "handshake", "counter"),
    [(NOT_ECT, 0b010, 5), (ECT_1, 0b011, 5), (ECT_0, 0b100, 5), (CE, 0b110, 6)],
)
def test_the_ack_of_a_syn_ack_says_how_that_arrived(
    codepoint: int, handshake: int, counter: int
) -> None:
    """Table 3; in what comes before or after it, and is no pure acknowledgment, is the counter."""
    ecn = client(codepoint)
    assert ecn.ack_apart
    assert [ace(ecn, pure=True), ace(ecn, pure=True)] == [handshake, counter & 7]
    assert not ecn.ack_apart
    ecn = client(codepoint)
    assert [ace(ecn), ace(ecn, pure=True)] == [counter & 7] * 2
    ecn.handshake_again(codepoint)
    assert [ace(ecn, pure=True), ace(ecn)] == [handshake, counter & 7]  # counted once


def test_marks_are_acknowledged_at_once_when_they_begin_and_every_second() -> None:
    """3.2.2.5.1: change-triggered and increment-triggered."""
    ecn = client()
    assert not arrive(ecn, ECT_0)
    assert arrive(ecn, CE)
    ace(ecn)
    assert [arrive(ecn, CE), arrive(ecn, CE)] == [False, True]
    ace(ecn)
    assert not arrive(ecn, CE)
    assert not arrive(ecn, ECT_0)
    assert arrive(ecn, CE)


def test_marks_on_acknowledgments_are_told_every_third() -> None:
    ecn = client()
    assert [arrive(ecn, CE, 0) for _ in range(3)] == [False, False, True]
    assert ecn.received_ce_bytes == 0


def test_options_say_what_has_changed() -> None:
    """3.2.3.3's own example, and table 5's lengths."""
    ecn = AccurateEcn(ISS, ect=True, options=True)
    assert ecn.option(28) is None
    arrive(ecn, ECT_0)
    assert ecn.option(28) == (OPTION_0, (1461,))
    ecn.stamp(True, False)
    assert ecn.option(28) is None
    arrive(ecn, CE, 100)
    assert ecn.option(28) == (OPTION_0, (1461, 100))
    ecn.stamp(True, False)
    arrive(ecn, NOT_ECT)
    assert ecn.option(28) is None
    arrive(ecn, ECT_0)
    assert ecn.option(28) == (OPTION_0, (2921, 100))
    arrive(ecn, ECT_1)
    assert ecn.option(28) == (OPTION_0, (2921, 100, 1461))


def test_options_of_the_other_order() -> None:
    ecn = AccurateEcn(ISS, ect=True, options=True)
    arrive(ecn, ECT_1)
    assert ecn.option(28) == (OPTION_1, (1461,))
    arrive(ecn, CE, 100)
    assert ecn.option(28) == (OPTION_1, (1461, 100))
    ecn.stamp(True, False)
    arrive(ecn, ECT_0)
    assert ecn.option(28) == (OPTION_0, (1461, 100, 1461))


def test_an_option_that_was_not_sent_is_offered_again() -> None:
    ecn = AccurateEcn(ISS, ect=True, options=True)
    arrive(ecn, ECT_0)
    assert ecn.option(28) == ecn.option(28) is not None


@pytest.mark.parametrize(
    ("room", "fields"), [(12, 3), (11, 2), (8, 2), (7, None), (4, None), (0, None)]
)
def test_options_where_there_is_little_room(room: int, fields: int | None) -> None:
    """ "the counter(s) that have changed since the previous AccECN TCP Option are not omitted";
    others may be, from the end."""
    ecn = AccurateEcn(ISS, ect=True, options=True)
    for codepoint in (ECT_0, ECT_1, CE):
        arrive(ecn, codepoint)
    ecn.option(28)
    ecn.stamp(True, False)
    arrive(ecn, CE)
    made = ecn.option(room)
    assert made is None if fields is None else made is not None and len(made[1]) == fields


def test_the_first_two_segments_of_a_client_try_the_option_out() -> None:
    ecn = client()
    for _ in range(2):
        assert ecn.option(28) == (OPTION_0, (1, 0, 1))
        ecn.stamp(True, False)
    assert ecn.option(28) is None


def test_options_end_where_they_seem_not_to_get_through() -> None:
    """3.2.3.2.2: what was acknowledged comes again and again; or nothing ever came through."""
    stubborn, silent, again = client(), client(), client()
    for _ in range(3):
        arrive(stubborn, ECT_0)
        assert stubborn.option(28)
        stubborn.duplicate()
    assert stubborn.option(28)
    for _ in range(3):
        stubborn.duplicate()
    silent.timed_out(ISS + 1)
    again.handshake_again(NOT_ECT)
    for ecn in (stubborn, silent, again):
        arrive(ecn, CE)
        assert ecn.option(28) is None
        assert ace(ecn) & 7 == 6 or ecn is again


# -- sender -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ace", "ect", "slow", "believes"),
    [
        (0b000, False, False, False),  # note 1
        (0b001, True, False, True),
        (0b010, True, False, True),
        (0b011, False, False, True),  # mangled: our SYN+ACK was not ECN-capable
        (0b100, False, False, True),
        (0b101, True, False, True),
        (0b110, False, True, True),
        (0b111, True, False, True),
    ],
)
def test_the_answer_to_a_syn_ack(ace: int, ect: bool, slow: bool, believes: bool) -> None:
    """Table 4."""
    ecn = AccurateEcn(ISS, ect=True, options=True)
    heard = ecn.acknowledged(ISS + 1, ace << 6, 0, newer=False, pure=True, mss=MSS, option=None)
    assert (heard, ecn.ect, ecn.believes) == (slow, ect, believes)
    sender = Sender(ecn)
    sender.cep = 6 if ace == 0b110 else 5
    ecn.reduced(ISS + 1)
    assert not sender.hears(0)
    assert sender.hears(1) is believes


def test_an_answer_with_data_has_the_counter() -> None:
    ecn = AccurateEcn(ISS, ect=True, options=True)
    assert not Sender(ecn).hears(0, 0, pure=False)
    assert ecn.ect


def test_marks_are_counted_and_slow_down_once_in_a_window() -> None:
    ecn = client()
    sender = Sender(ecn)
    assert not sender.hears(0)
    assert not ecn.marked
    assert sender.hears(1)
    ecn.reduced(sender.ack + 3 * MSS)
    assert [sender.hears(2) for _ in range(3)] == [False] * 3
    assert ecn.marked
    assert sender.hears(1)
    assert ecn.delivered_ce == 8


def test_acknowledgments_that_may_be_old_are_not_counted() -> None:
    """ "it first checks whether it has already been superseded [...] in which case it ignores" """
    ecn = client()
    sender = Sender(ecn)
    sender.hears(3)
    sender.cep -= 3
    assert not sender.hears(0, 0, newer=False)
    sender.cep += 3
    sender.hears(1)
    assert ecn.delivered_ce == 4


@pytest.mark.parametrize(
    ("packets", "marks", "believed"),
    [(7, 0, 0), (9, 2, 2), (10, 2, 10), (8, 0, 8), (16, 1, 9), (20, 4, 20)],
)
def test_a_counter_that_may_have_gone_round(packets: int, marks: int, believed: int) -> None:
    """Appendix A.2.1's examples, and others by its formula."""
    ecn = client()
    sender = Sender(ecn)
    for _ in range(20):
        sender.hears(0, 2)
    sender.hears(marks, packets)
    assert ecn.delivered_ce == believed


def test_where_acknowledgments_are_few_the_counter_is_believed() -> None:
    """Else a receiver with offload, which acknowledges 40 segments at once, would seem to have met
    congestion all the time."""
    ecn = client()
    sender = Sender(ecn)
    for _ in range(20):
        assert not sender.hears(0, 40)
    assert sender.hears(1, 40)
    assert ecn.delivered_ce == 1


@pytest.mark.parametrize(
    ("marks", "packets", "marked_bytes", "believed"),
    [(0, 8, 1460, 8), (2, 10, 1460, 2), (7, 15, 10200, 7), (0, 40, 0, 0)],
)
def test_with_options_it_is_known_better(
    marks: int, packets: int, marked_bytes: int, believed: int
) -> None:
    """Appendix A.2.2's examples."""
    ecn = client()
    sender = Sender(ecn)
    sender.hears(0, 2, option=(1 + 2 * MSS, 0, None))
    sender.hears(marks, packets, option=(1 + 2 * MSS, marked_bytes, None))
    assert ecn.delivered_ce == believed
    assert ecn.delivered_ce_bytes == marked_bytes


def test_counters_of_bytes_wrap_at_24_bits() -> None:
    """Appendix A.1's example."""
    ecn = client()
    sender = Sender(ecn)
    for bytes_now in (1 << 23, 1 << 24, 3 << 23, 1 << 25, (1 << 25) + 1460):
        sender.hears(1, option=((1 + bytes_now) & 0xFFFFFF, bytes_now & 0xFFFFFF, 1))
    assert ecn.delivered_ce_bytes == ecn.delivered_e0_bytes == (1 << 25) + 1460
    assert ecn.delivered_e1_bytes == 0


def test_an_option_with_zeroed_counters_is_not_read() -> None:
    """3.2.3.2.4"""
    ecn = AccurateEcn(ISS, ect=True, options=True)
    ecn.answered(NOT_ECT, (0, 0, 0))
    Sender(ecn).hears(1, option=(1461, 1460, 1))
    assert (ecn.delivered_ce, ecn.delivered_ce_bytes) == (1, 0)


def test_counters_at_odds_end_ect() -> None:
    """3.2.3.2.5: "s.ceb counter has increased but the s.cep has not" """
    ecn = client()
    Sender(ecn).hears(0, option=(1, 1460, 1))
    assert not ecn.ect


def test_two_ends_agree_on_the_counters() -> None:
    """Whatever is marked, with acknowledgments lost, and more than once round the counters."""
    for seed in range(20):
        chance = random.Random(seed)
        receiver, ecn = client(), client()
        share = chance.choice((0.0, 0.01, 0.2, 1.0))
        ack, acked, marked = ISS + 1, 0, 0
        for _ in range(20_000):
            codepoint = CE if chance.random() < share else ECT_0
            marked += codepoint == CE
            arrive(receiver, codepoint)
            acked += MSS
            if acked < 5 * MSS and chance.random() < 0.6:
                continue
            made = receiver.option(28)
            flags = receiver.stamp(False, False)
            option: Option | None = None
            if made is not None:
                first, second, third = (*made[1], None, None)[:3]
                option = tuple(
                    None if field is None else field & 0xFFFFFF for field in (first, second, third)
                )  # type: ignore[assignment]
            ack += acked
            ecn.acknowledged(ack, flags, acked, newer=True, pure=True, mss=MSS, option=option)
            acked = 0
        behind = receiver.received_cep - 5 - ecn.delivered_ce
        assert 0 <= behind <= 5
        assert 0 <= receiver.received_ce_bytes - ecn.delivered_ce_bytes <= 5 * MSS
        assert 0 <= receiver.received_e0_bytes - 1 - ecn.delivered_e0_bytes <= 5 * MSS
        assert marked == receiver.received_cep - 5
