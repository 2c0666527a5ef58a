"""Enumerations of words do what those of `enum` do."""

from __future__ import annotations

import copy
import json
import pickle
from enum import Enum, StrEnum

import pytest

from aiotcp.reasons import Drop, Event, Why
from aiotcp.tcp.tcb import State

KINDS = [Why, Drop, Event, State]


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_as_enumerations(kind: type[StrEnum]) -> None:
    words = {name: member.value for name, member in kind.__members__.items()}
    twin: type[StrEnum] = StrEnum(kind.__name__, words)  # type: ignore[misc]
    assert len(kind) == len(twin) > 10
    for member, other in zip(kind, twin, strict=True):
        assert type(member) is kind
        assert kind(other.value) is kind[other.name] is getattr(kind, other.name) is member
        assert (member.name, member.value, str(member)) == (other.name, other.value, str(other))
        assert repr(member) == repr(other)
        assert f"{member:>20} {member!s}" == f"{other:>20} {other!s}"
        assert json.dumps({member: member}) == json.dumps({other: other})
        assert type(member.value) is str
        assert member == other.value
        assert member in kind
        assert other.value in list(kind)
    assert list(reversed(kind)) == list(reversed(twin))
    assert repr(kind) == repr(twin)
    assert kind.__members__ == {member.name: member for member in kind}
    assert kind


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_one_object_for_each_word(kind: type[StrEnum]) -> None:
    for member in kind:
        assert copy.deepcopy(member) is copy.copy(member) is member
        assert pickle.loads(pickle.dumps(member)) is member


def test_words_and_names_that_there_are_not() -> None:
    with pytest.raises(ValueError, match="'opne' is not a valid Why"):
        Why("opne")
    with pytest.raises(ValueError, match="\\[\\] is not a valid Why"):
        Why([])  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="OPNE"):
        Why["OPNE"]
    with pytest.raises(AttributeError):
        Why.OPNE  # type: ignore[attr-defined]  # noqa: B018
    assert "opne" not in list(Why)
    assert not isinstance(Why.OPEN, Enum)  # they would not be what makes the import quick
