"""The user timeout as both ends see it (RFC 5482): what we advertise, what the peer does, and
what becomes of the two."""

from __future__ import annotations

from typing import Final

DEFAULT_S: Final = 300.0
"""RFC 9293 3.9.1.1: "The present global default is five minutes." """
LOWER_S: Final = 100.0
"""L_LIMIT: "The lower limit (L_LIMIT) SHOULD be set to at least 100 seconds" (3.1)."""
UPPER_S: Final = 3600.0
"""U_LIMIT: a peer must not have us keep a connection that is dead for longer (3.1, 6)."""


class UserTimeout:
    """ADV_UTO, CHANGEABLE and REMOTE_UTO of a connection that has the option ENABLED; seconds."""

    __slots__ = ("advertised_s", "changeable", "due", "remote_s")

    def __init__(self, user_timeout_s: float | None) -> None:
        """`user_timeout_s`: what the user has asked for, None for nothing."""
        self.remote_s: float | None = None
        """What the peer advertised last; None: nothing yet."""
        self.set_by_user(user_timeout_s)

    def set_by_user(self, user_timeout_s: float | None) -> None:
        """3: "If an application explicitly sets the USER_TIMEOUT, CHANGEABLE MUST become false"."""
        self.advertised_s = advertised(user_timeout_s)
        self.changeable = user_timeout_s is None
        self.due = True
        """The option goes with the next segment: "in the first packet that does not have the SYN
        flag set", and "whenever it starts using a new user timeout"."""

    def on_option(self, remote_s: float, rto: float) -> float | None:
        """The peer advertises `remote_s`: the user timeout to use from now on, or None for the
        one that is in use."""
        if remote_s == self.remote_s:
            return None
        self.remote_s = remote_s
        if not self.changeable:
            return None
        # "the lower limit (L_LIMIT) MUST be larger than the current retransmission timeout"
        return min(UPPER_S, max(self.advertised_s, remote_s, LOWER_S, 2 * rto))


def advertised(user_timeout_s: float | None) -> float:
    """ADV_UTO for what the user has asked for."""
    return DEFAULT_S if user_timeout_s is None else user_timeout_s
