"""What an observer of a stack is told."""

from __future__ import annotations

from typing import NamedTuple

from aiotcp.tcp.flow import Endpoint
from aiotcp.tcp.tcb import State


class Transition(NamedTuple):
    """A connection went from one state to another. `time` is the loop's."""

    time: float
    local: Endpoint
    remote: Endpoint
    old: State
    new: State
    error: OSError | None
    """Why it went to CLOSED, if not by closing on both sides."""
