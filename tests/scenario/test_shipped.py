"""The scenarios that come with aiotcp: each is played, and what it says is what happens."""

from __future__ import annotations

import pytest

from aiotcp.scenario.model import SHIPPED, find, shipped
from aiotcp.scenario.player import judge, play
from tests.support.chinese import left_in_english

IDS = sorted(path.stem for path in SHIPPED.glob("*.toml"))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.req(*find(name).req)) for name in IDS]
)
def test_what_it_says_is_what_happens(name: str) -> None:
    scenario = find(name)
    trace = play(scenario)
    difference = judge(scenario, trace)
    assert not difference, f"{name}:\n{difference}"
    assert left_in_english(trace) == []


def test_they_are_listed_by_group() -> None:
    assert sorted(shipped()) == IDS
    groups = [find(name).group for name in shipped()]
    assert groups == sorted(groups, key=["opening", "closing", "data", "failures"].index)


def test_a_name_that_there_is_not() -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no scenario and no file 'nothing'; there are .*close"
    ):
        find("nothing")
    with pytest.raises(FileNotFoundError, match=r"'close-activ'; did you mean close-active, "):
        find("close-activ")
