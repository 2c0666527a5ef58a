"""The congestion controls that `Options.cc` can name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aiotcp.tcp.congestion import CongestionControl, Start
from aiotcp.tcp.cubic import Cubic


def _bbr(start: Start) -> CongestionControl:
    """Its modules are imported by the first that chooses it."""
    from aiotcp.tcp.bbr import BBR

    return BBR(start)


def _reno(start: Start) -> CongestionControl:
    """The same."""
    from aiotcp.tcp.reno import Reno

    return Reno(start)


_BY_NAME: Final[dict[str, Callable[[Start], CongestionControl]]] = {
    "bbr": _bbr,
    Cubic.name: Cubic,
    "reno": _reno,
}


def congestion_control(cc: str | Callable[[Any], Any], start: Start) -> CongestionControl:
    """A fresh control: one of ours by its name, or a user's own by what makes it.

    Raises TypeError if that made something else.
    """
    if isinstance(cc, str):
        return _BY_NAME[cc](start)
    made = cc(start)
    if not isinstance(made, CongestionControl):
        raise TypeError(f"cc made a {type(made).__name__!r}, which is no CongestionControl")
    return made


def try_control(cc: str | Callable[[Any], Any], now: float) -> None:
    """Make a user's own control once, in the call that chooses it. Raises what that raises, which
    nobody could catch when the handshake is complete."""
    if not isinstance(cc, str):
        congestion_control(cc, Start(1460, 14600, 14600, now, None, lambda: 0.5))
