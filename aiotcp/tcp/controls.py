"""The congestion controls that `Options.congestion` can name."""

from __future__ import annotations

from aiotcp.tcp.congestion import CongestionControl
from aiotcp.tcp.reno import Reno

_BY_NAME = {Reno.name: Reno}


def congestion_control(
    name: str, mss: int, initial_window_segments: int, *, syn_lost: bool = False
) -> CongestionControl:
    """A fresh control for a path of `mss` payload bytes per segment."""
    return _BY_NAME[name](mss, initial_window_segments, syn_lost=syn_lost)
