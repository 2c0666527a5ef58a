"""The one error that parsers raise."""

from __future__ import annotations

from aiotcp.reasons import Drop


class Malformed(ValueError):
    """Received bytes are not a packet that this stack takes; `reason` names why.

    The stack counts the reason and forgets the packet: a malformed packet changes no state.
    """

    def __init__(self, reason: Drop) -> None:
        super().__init__(reason.value)
        self.reason = reason
