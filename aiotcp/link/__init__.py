"""Where packets come from and go to: docs/links.md.

What is named here is found everywhere; `tun`, `queues`, `steering` and `network` are Linux'.
"""

from typing import TYPE_CHECKING, Any

from aiotcp.link.base import Link, Receiver
from aiotcp.wire.frame import Frame

if TYPE_CHECKING:
    from aiotcp.link.fd import Fd
    from aiotcp.link.impair import Impair, Netem
    from aiotcp.link.memory import MemoryLink, pair
    from aiotcp.link.pcapng import Capture
    from aiotcp.link.udp import Udp
    from aiotcp.link.unix import Unix
    from aiotcp.link.wrapper import Wrapper

__all__ = [
    "Capture",
    "Fd",
    "Frame",
    "Impair",
    "Link",
    "MemoryLink",
    "Netem",
    "Receiver",
    "Udp",
    "Unix",
    "Wrapper",
    "pair",
]

_LATER = {
    "Capture": "pcapng",
    "Fd": "fd",
    "Impair": "impair",
    "MemoryLink": "memory",
    "Netem": "impair",
    "Udp": "udp",
    "Unix": "unix",
    "Wrapper": "wrapper",
    "pair": "memory",
}


def __getattr__(name: str) -> Any:
    """Each link when it is asked for: a stack has one, and needs what that is made of."""
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
