"""Faults in sentences: which segments they meet, and which sentences are refused."""

from __future__ import annotations

import pytest

from aiotcp.sim.faults import Fault, Faults, Passing, fault
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN, HeaderTemplate

HANDSHAKE = [Passing("a", SYN, 0), Passing("b", SYN | ACK, 0), Passing("a", ACK, 0)]
DATA = [Passing("a", ACK | PSH, size) for size in (10, 20, 30, 40, 50)]
CLOSE = [
    Passing("a", FIN | ACK, 5),
    Passing("b", ACK, 0),
    Passing("b", FIN | ACK, 0),
    Passing("b", RST, 0),
]


def met(rule: Fault) -> list[int]:
    """The places, from 0, of those that the rule meets."""
    return [n for n, each in enumerate(HANDSHAKE + DATA + CLOSE) if rule.meets(each)]


@pytest.mark.parametrize(
    ("sentence", "places"),
    [
        ("drop the first SYN", [0]),
        ("drop every SYN", [0]),
        ("drop the next SYN,ACK", [1]),
        ("drop every ACK", [2, 9]),
        ("drop every ACK from b", [9]),
        ("drop the third data segment", [5]),
        ("drop data segments 2-4", [4, 5, 6]),
        ("drop data segment 2", [4]),
        ("drop the second 2 data segments", [4, 5]),
        ("drop every data segment of 40 bytes", [6]),
        ("drop every FIN", [8, 10]),
        ("drop all FINs", [8, 10]),
        ("drop FIN from b", [10]),
        ("drops the 12th segment", [11]),
        ("drop every RST", [11]),
        ("drop the first segment from b", [1]),
    ],
)
def test_which_segments_a_sentence_means(sentence: str, places: list[int]) -> None:
    rule = fault(sentence)
    assert met(rule) == places
    assert rule.applied == len(places)


def test_actions() -> None:
    assert fault("drop every SYN").action == "drop"
    assert fault("duplicate the first SYN").action == "duplicate"
    assert fault("corrupts the second data segment").action == "corrupt"
    assert fault("marks the second data segment").action == "mark"
    assert met(fault("strip the options of every SYN")) == [0]
    assert met(fault("strips options of SYN,ACK from b")) == [1]
    late = fault("delay the next ACK from b by 500ms")
    assert (late.action, late.by_s, late.sender) == ("delay", 0.5, "b")


@pytest.mark.parametrize(
    ("sentence", "says"),
    [
        ("", "not understood"),
        ("eat the first SYN", "not understood"),
        ("drop the first sandwich", "not understood"),
        ("drop the umpteenth SYN", "which one is 'umpteenth'"),
        ("drop the first data segments 2-3", "say which ones once"),
        ("drop data segments 3-2", "counted from 1, upwards"),
        ("drop data segments 0-2", "counted from 1, upwards"),
        ("delay the first SYN", "is 'by' a time"),
        ("drop the first SYN by 2s", "is 'by' a time"),
        ("delay the first SYN by 2", "a time needs a unit"),
        ("strip the first SYN", "it is options that are stripped, and nothing else"),
        ("drop the options of the first SYN", "it is options that are stripped, and nothing else"),
    ],
)
def test_what_is_not_understood(sentence: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fault(sentence)


def test_the_first_rule_that_fits_decides_and_unused_ones_are_known() -> None:
    template = HeaderTemplate(bytes(4), 1, bytes(4), 2)
    packet = template.frame(0, 0, SYN, 0, offload=False).to_bytes()
    faults = Faults()
    first, second, third = map(
        faults.add, ("drop the first SYN", "drop every SYN from a", "drop every FIN")
    )
    assert [faults.meet("a", packet), faults.meet("a", packet)] == [first, second]
    assert faults.meet("b", packet) is None
    assert faults.meet("a", b"\x45no segment") is None
    assert faults.never_applied() == [third]
