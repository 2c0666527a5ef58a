"""F-RTO (RFC 5682), step by step; numbers are segments."""

from __future__ import annotations

import pytest

from aiotcp.tcp.frto import Frto, Step


def ack(
    frto: Frto, una: int, nxt: int, *, advanced: bool, reached: int | None, sack: bool = True
) -> bool:
    return frto.on_ack(snd_una=una, snd_nxt=nxt, advanced=advanced, reached=reached, sack=sack)


def second_step(*, sack: bool = True) -> Frto:
    """Ten are under way, the first was repeated and acknowledged."""
    frto = Frto()
    frto.begin()
    assert frto.holds_back
    assert not ack(frto, 1, 10, advanced=True, reached=1, sack=sack)
    assert frto.step is Step.SENDING_NEW
    return frto


def test_off_it_says_nothing() -> None:
    frto = Frto()
    assert not frto.holds_back
    assert not ack(frto, 5, 10, advanced=True, reached=5)
    assert not frto.sends_nothing(10)


@pytest.mark.req("5682-1")
@pytest.mark.parametrize("sack", [False, True])
def test_two_acknowledgments_of_what_was_sent_once(sack: bool) -> None:
    frto = second_step(sack=sack)
    assert ack(frto, 2, 12, advanced=True, reached=2, sack=sack)
    assert not frto.holds_back


@pytest.mark.req("5682-1")
def test_selective_acknowledgments_count_as_well() -> None:
    assert ack(second_step(), 1, 12, advanced=False, reached=7)


@pytest.mark.req("5682-1")
@pytest.mark.parametrize(
    "reached",
    [
        pytest.param(11, id="3a: of what was sent after"),
        pytest.param(None, id="3a: a duplicate without news"),
    ],
)
def test_else_the_losses_were_real(reached: int | None) -> None:
    frto = second_step()
    assert not ack(frto, 1, 12, advanced=False, reached=reached)
    assert not frto.holds_back


@pytest.mark.req("5682-1")
def test_all_was_acknowledged_at_once() -> None:
    """2a: from that nothing can be told."""
    frto = Frto()
    frto.begin()
    assert not ack(frto, 10, 10, advanced=True, reached=10)
    assert not frto.holds_back


@pytest.mark.req("5682-1")
@pytest.mark.parametrize("sack", [False, True])
def test_a_duplicate_before_the_repetition_is_acknowledged(sack: bool) -> None:
    """2.1 step 2a gives up; with SACK, 3.1 step 2 waits on."""
    frto = Frto()
    frto.begin()
    assert not ack(frto, 0, 10, advanced=False, reached=4 if sack else None, sack=sack)
    assert frto.holds_back == sack


@pytest.mark.req("5682-1")
def test_without_new_data_the_second_step_is_not_taken() -> None:
    """2b: "not able to transmit any previously unsent data"."""
    frto = second_step()
    assert frto.sends_nothing(10)
    assert not frto.sends_nothing(11)


@pytest.mark.req("5682-1")
def test_another_timeout_begins_anew() -> None:
    frto = second_step()
    frto.begin()
    assert not ack(frto, 2, 12, advanced=True, reached=2)
    assert ack(frto, 3, 14, advanced=True, reached=3)
