"""Objects that connections share because they are empty, and that nobody may change.

What one connection wrote into such an object, all the others would read: a leak of data, at worst,
which no test of a single connection sees. So each test ends with a look at them.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

from aiotcp import pieces, pump
from aiotcp.tcp import lossbased
from aiotcp.tcp.frto import NO_TIMEOUT
from aiotcp.tcp.reassembly import NOTHING_HELD
from aiotcp.tcp.repetitions import NOTHING_REPEATED
from aiotcp.tcp.scoreboard import NOTHING_IN_FLIGHT

NOBODYS: dict[str, Any] = {
    "NOTHING_HELD": NOTHING_HELD,
    "NOTHING_IN_FLIGHT": NOTHING_IN_FLIGHT,
    "NOTHING_REPEATED": NOTHING_REPEATED,
    "NO_TIMEOUT": NO_TIMEOUT,
    "lossbased._NOT_ASKED": lossbased._NOT_ASKED,
    "pieces.NO_PIECES": pieces.NO_PIECES,
    "pump._NONE_LEFT": pump._NONE_LEFT,
}


def changed() -> list[str]:
    """The names of those that are not as they were when this module was imported."""
    return [name for name, shared in NOBODYS.items() if _state(shared) != _BEFORE[name]]


def _state(shared: object) -> object:
    """What it holds, all the way down; a copy."""
    if isinstance(shared, list | tuple | deque):
        return [_state(each) for each in shared]
    if isinstance(shared, Enum) or not type(shared).__module__.startswith("aiotcp"):
        return shared
    return [_state(getattr(shared, name)) for name in _slots(type(shared))]


def _slots(cls: type) -> list[str]:
    return [
        name
        for each in cls.__mro__
        for name in vars(each).get("__mypyc_attrs__", _described(each))  # has properties apart
        if name[:2] != "__"
    ]


def _described(cls: type) -> list[str]:
    kinds = (GetSetDescriptorType, MemberDescriptorType)
    return [name for name, value in vars(cls).items() if isinstance(value, kinds)]


_BEFORE = {name: _state(shared) for name, shared in NOBODYS.items()}
