"""Where packets come from and go to: docs/links.md.

What is named here is found everywhere; `aiotcp.link.tun` and `aiotcp.link.network` are Linux'.
"""

from aiotcp.link.base import Link, Receiver
from aiotcp.link.fd import Fd
from aiotcp.link.impair import Impair, Netem
from aiotcp.link.memory import MemoryLink, pair
from aiotcp.link.pcapng import Capture
from aiotcp.link.udp import Udp
from aiotcp.link.unix import Unix
from aiotcp.wire.frame import Frame

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
    "pair",
]
