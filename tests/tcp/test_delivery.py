"""Delivery-rate samples: the paragraphs of draft-ietf-ccwg-bbr-05 4.1, in numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.tcp.congestion import RateSample
from aiotcp.tcp.delivery import DeliveryRate, Stamp

MSS = 1000


def sample(rate: DeliveryRate, now: float, min_rtt: float | None = None) -> RateSample:
    result = rate.sample(now, min_rtt)
    assert result is not None
    return result


def test_a_single_packet_is_delivered_in_its_round_trip() -> None:
    """4.1.2.2: with nothing in flight the interval starts when the packet is sent."""
    rate = DeliveryRate(0.0)
    stamp = rate.on_sent(5.0, 0, MSS)
    rate.on_delivered(stamp, MSS, MSS, 5.1)
    got = sample(rate, 5.1)
    assert (got.delivered, got.prior_delivered, got.app_limited) == (MSS, 0, False)
    assert got.interval == pytest.approx(0.1)
    assert got.delivery_rate == pytest.approx(10_000)
    assert (got.tx_in_flight, got.lost) == (MSS, 0)


def test_in_flight_counts_the_frame_itself() -> None:
    rate = DeliveryRate(0.0)
    assert rate.on_sent(0.0, 0, 3 * MSS).in_flight == 3 * MSS
    assert rate.on_sent(0.0, 3 * MSS, MSS).in_flight == 4 * MSS


def test_the_acknowledgments_rate_counts_from_the_one_before_the_send() -> None:
    """4.1.1.2.1: by the round trip alone the rate would come out at twice what it is."""
    rate = DeliveryRate(0.0)
    first = rate.on_sent(0.0, 0, MSS)
    second = rate.on_sent(0.0, MSS, MSS)
    rate.on_delivered(first, MSS, MSS, 1.0)
    assert sample(rate, 1.0).delivery_rate == pytest.approx(MSS)
    # Sent half a second after the acknowledgment at 1.0; that is where its interval starts.
    third = rate.on_sent(1.5, MSS, MSS)
    rate.on_delivered(second, 2 * MSS, MSS, 2.0)
    assert sample(rate, 2.0).delivery_rate == pytest.approx(MSS)
    rate.on_delivered(third, 3 * MSS, MSS, 3.0)
    got = sample(rate, 3.0)
    assert (got.delivered, got.interval) == (2 * MSS, 2.0)
    assert got.delivery_rate == pytest.approx(MSS)


def test_compressed_acknowledgments_are_no_rate() -> None:
    """4.1.1.2.4: nothing is delivered faster than it was sent."""
    rate = DeliveryRate(0.0)
    stamps = [rate.on_sent(i * 0.1, i * MSS, MSS) for i in range(10)]
    rate.on_delivered(stamps[0], MSS, MSS, 1.0)
    rate.sample(1.0, None)
    # Held up somewhere, the others arrive together.
    for i in range(1, 10):
        rate.on_delivered(stamps[i], (i + 1) * MSS, MSS, 1.9)
    assert sample(rate, 1.9).interval == 1.9
    stamps = [rate.on_sent(1.9 + i * 0.1, (i + 1) * MSS, MSS) for i in range(10)]
    for i in range(10):
        rate.on_delivered(stamps[i], (11 + i) * MSS, MSS, 2.85)
    got = sample(rate, 2.85)
    assert got.interval == pytest.approx(1.9)  # sending since 0.9; acknowledging took 0.95
    assert got.delivery_rate == pytest.approx(10 * MSS / 1.9)


def test_one_acknowledgment_for_many_uses_the_newest() -> None:
    """4.1.2.3, IsNewestPacket: by the time of sending, then by the packet's number."""
    rate = DeliveryRate(0.0)
    a = rate.on_sent(0.0, 0, MSS)
    b = rate.on_sent(0.1, MSS, MSS)
    c = rate.on_sent(0.1, 2 * MSS, MSS)
    rate.on_delivered(b, 2 * MSS, MSS, 1.0)
    rate.on_delivered(c, 3 * MSS, MSS, 1.0)
    rate.on_delivered(a, MSS, MSS, 1.0)
    got = sample(rate, 1.0)
    assert (got.tx_in_flight, got.delivered) == (3 * MSS, 3 * MSS)
    assert rate.first_sent_at == 0.1


def test_an_older_packet_gives_a_sample_of_its_own_acknowledgment() -> None:
    """Reordering (4.1.3.3): it does not matter in which order packets are acknowledged."""
    rate = DeliveryRate(0.0)
    a = rate.on_sent(0.0, 0, MSS)
    b = rate.on_sent(0.1, MSS, MSS)
    rate.on_delivered(b, 2 * MSS, MSS, 1.0)
    assert sample(rate, 1.0).delivered == MSS
    rate.on_delivered(a, MSS, MSS, 1.1)
    got = sample(rate, 1.1)
    assert (got.delivered, got.tx_in_flight) == (2 * MSS, MSS)


def test_an_interval_below_the_shortest_round_trip_is_no_rate() -> None:
    """4.1.3.4: the repetition was acknowledged by what acknowledged the original."""
    rate = DeliveryRate(0.0)
    rate.on_sent(0.0, 0, MSS)
    again = rate.on_sent(0.3, 0, MSS)
    rate.on_delivered(again, MSS, MSS, 0.31)
    got = sample(rate, 0.31, min_rtt=0.1)
    assert got.delivery_rate == 0.0
    assert got.delivered == MSS
    last = rate.on_sent(0.4, 0, MSS)
    rate.on_delivered(last, 2 * MSS, MSS, 0.5)
    assert sample(rate, 0.5, min_rtt=0.5 - 0.4).delivery_rate == pytest.approx(10_000)


def test_no_time_is_no_rate() -> None:
    rate = DeliveryRate(0.0)
    stamp = rate.on_sent(1.0, 0, MSS)
    rate.on_delivered(stamp, MSS, MSS, 1.0)
    assert sample(rate, 1.0).delivery_rate == 0.0


def test_nothing_delivered_is_no_sample() -> None:
    rate = DeliveryRate(0.0)
    assert rate.sample(0.0, None) is None
    stamp = rate.on_sent(0.0, 0, MSS)
    rate.on_lost(MSS)
    assert rate.sample(0.1, 0.1) is None
    rate.on_delivered(stamp, MSS, MSS, 0.2)
    assert rate.sample(0.2, 0.1) is not None
    assert rate.sample(0.2, 0.1) is None, "each acknowledgment starts anew"


def test_losses_are_those_since_the_packet_was_sent() -> None:
    rate = DeliveryRate(0.0)
    early = rate.on_sent(0.0, 0, MSS)
    rate.on_lost(2 * MSS)
    late = rate.on_sent(0.1, MSS, MSS)
    rate.on_delivered(early, MSS, MSS, 1.0)
    rate.on_lost(MSS)
    assert sample(rate, 1.0).lost == 3 * MSS
    rate.on_delivered(late, 2 * MSS, MSS, 1.1)
    assert sample(rate, 1.1).lost == MSS


def test_a_loss_that_was_none_is_taken_back() -> None:
    rate = DeliveryRate(0.0)
    early = rate.on_sent(0.0, 0, 3 * MSS)
    rate.on_lost(2 * MSS)
    late = rate.on_sent(0.1, MSS, MSS)
    rate.on_found(2 * MSS)
    rate.on_delivered(early, 3 * MSS, 3 * MSS, 1.0)
    assert (rate.lost, sample(rate, 1.0).lost) == (0, 0)
    rate.on_delivered(late, 4 * MSS, MSS, 1.1)
    assert sample(rate, 1.1).lost == 0, "never below none"


def test_pieces_of_a_frame_share_its_stamp() -> None:
    """4.1.3.1: state is kept for each aggregate."""
    rate = DeliveryRate(0.0)
    stamp = rate.on_sent(0.0, 0, 10 * MSS)
    rate.on_delivered(stamp, 4 * MSS, 4 * MSS, 1.0)
    assert sample(rate, 1.0).delivered == 4 * MSS
    rate.on_delivered(stamp, 10 * MSS, 6 * MSS, 2.0)
    got = sample(rate, 2.0)
    assert (got.delivered, got.tx_in_flight, got.prior_delivered) == (10 * MSS, 10 * MSS, 0)
    assert got.delivery_rate == pytest.approx(5 * MSS)


def test_the_bubble_marks_samples_until_it_has_left_the_network() -> None:
    """4.1.1.3: what is in flight when the application runs dry, and what is sent before that is
    delivered, is app-limited or comes after the gap."""
    rate = DeliveryRate(0.0)
    before = rate.on_sent(0.0, 0, MSS)
    assert not rate.app_limited_until
    rate.mark_app_limited(MSS)
    assert rate.app_limited_until
    behind = rate.on_sent(0.5, MSS, MSS)
    rate.on_delivered(before, MSS, MSS, 1.0)
    assert not sample(rate, 1.0).app_limited
    assert rate.app_limited_until, "the last byte before the bubble is not the bubble itself"
    still = rate.on_sent(1.0, MSS, MSS)
    rate.on_delivered(behind, 2 * MSS, MSS, 1.5)
    assert sample(rate, 1.5).app_limited
    assert not rate.app_limited_until
    after = rate.on_sent(1.5, MSS, MSS)
    rate.on_delivered(still, 3 * MSS, MSS, 2.0)
    assert sample(rate, 2.0).app_limited
    rate.on_delivered(after, 4 * MSS, MSS, 2.5)
    assert not sample(rate, 2.5).app_limited


def test_a_fresh_connection_can_be_app_limited() -> None:
    rate = DeliveryRate(0.0)
    rate.mark_app_limited(0)
    assert rate.app_limited_until


@given(
    st.lists(
        st.tuples(st.sampled_from(["send", "ack", "lose"]), st.integers(1, 5), st.floats(0, 0.2)),
        max_size=80,
    )
)
def test_no_sample_is_faster_than_sending_or_acknowledging(
    events: list[tuple[str, int, float]],
) -> None:
    """Whatever is sent, lost and acknowledged when: a rate is what was delivered in an interval
    not shorter than the round trip of the newest packet."""
    rate = DeliveryRate(0.0)
    now, flight, end, sent, delivered = 0.0, 0, 0, 0, 0
    network: list[tuple[Stamp, int]] = []
    for event, count, pause in events:
        now += pause
        if event == "send":
            for _ in range(count):
                end += MSS
                network.append((rate.on_sent(now, flight, MSS), end))
                flight += MSS
                sent += MSS
            continue
        gone, network = network[:count], network[count:]
        flight -= MSS * len(gone)
        for stamp, id in gone:
            if event == "ack":
                rate.on_delivered(stamp, id, MSS, now)
                delivered += MSS
            else:
                rate.on_lost(MSS)
        got = rate.sample(now, None)
        assert rate.delivered == delivered
        if event == "lose" or not gone:
            assert got is None
            continue
        assert got is not None
        newest = gone[-1][0]
        assert got.delivered == rate.delivered - newest.delivered <= sent
        assert got.interval >= now - newest.sent_at
        assert got.delivery_rate * got.interval == pytest.approx(
            got.delivered if got.interval > 1e-9 else 0
        )
