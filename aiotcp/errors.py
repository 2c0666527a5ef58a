"""The network's errors, as an asyncio user meets them on kernel sockets: OSError with errno.

Misuse by the caller is never one of these; that is ValueError, TypeError or RuntimeError.
"""

from __future__ import annotations

import errno
import os


def numbers(*names: str) -> frozenset[int]:
    """The numbers of these errors; names that this system does not have are left out."""
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


def os_error(number: int, detail: str = "") -> OSError:
    """The OSError subclass that Python maps `number` to, with the system's own words.

    `detail` follows the words after a colon.
    """
    words = os.strerror(number)
    return OSError(number, f"{words}: {detail}" if detail else words)


def refused() -> OSError:
    """The peer has no listener on this port (RST to our SYN)."""
    return os_error(errno.ECONNREFUSED)


def reset() -> OSError:
    """The peer sent RST on an open connection."""
    return os_error(errno.ECONNRESET)


def aborted() -> OSError:
    """This side gave the connection up."""
    return os_error(errno.ECONNABORTED)


def timed_out() -> OSError:
    """The retransmission limit R2, the SYN limit or the user timeout was reached."""
    return os_error(errno.ETIMEDOUT)


def broken_pipe() -> OSError:
    """Nothing more can be sent on this connection."""
    return os_error(errno.EPIPE)


def address_in_use(detail: str = "") -> OSError:
    return os_error(errno.EADDRINUSE, detail)


def address_not_available(detail: str = "") -> OSError:
    return os_error(errno.EADDRNOTAVAIL, detail)


def network_down(detail: str = "") -> OSError:
    """The link of the stack is gone."""
    return os_error(errno.ENETDOWN, detail)


def network_unreachable(detail: str = "") -> OSError:
    return os_error(errno.ENETUNREACH, detail)


def host_unreachable(detail: str = "") -> OSError:
    return os_error(errno.EHOSTUNREACH, detail)
