"""What options and a path make of every connection alike: worked out once, by whoever listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiotcp.tcp.buffers import initial_receive_buffer, largest_receive_buffer, least_send_limit
from aiotcp.tcp.tuning import asks_for_pacing
from aiotcp.tcp.window import scale_for

if TYPE_CHECKING:
    from aiotcp.options import Options
    from aiotcp.tcp.tcb import Path

_MAX_FIELD: Final = 0xFFFF


class Terms:
    """Good for as long as both objects stay the same ones."""

    __slots__ = (
        "mss",
        "options",
        "paced",
        "path",
        "receive_buffer",
        "send_limit",
        "usual_syn",
        "window",
        "wscale",
    )

    def __init__(self, path: Path, options: Options) -> None:
        self.path = path
        self.options = options
        self.mss = advertised_mss(path, options)
        """What our SYNs say, as the following two."""
        self.wscale = scale_for(largest_receive_buffer(options))
        self.window = syn_window(options)
        self.usual_syn = (
            options.window_scaling and options.timestamps and options.sack and not options.uto
        )
        """The options of our SYN+ACK are those that `wire.usual` knows, if the SYN's were."""
        self.receive_buffer = initial_receive_buffer(options)
        self.send_limit = least_send_limit(options)
        self.paced = asks_for_pacing(options)


def advertised_mss(path: Path, options: Options) -> int:
    """RFC 6691: the MTU less fixed headers. MUST-67 is why an option can only lower it."""
    return path.mss if options.mss is None else min(options.mss, path.mss)


def syn_window(options: Options) -> int:
    """MUST-1; the window of a SYN is never scaled (RFC 7323 2.2)."""
    return min(initial_receive_buffer(options), _MAX_FIELD)
