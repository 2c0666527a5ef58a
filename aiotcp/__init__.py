"""aiotcp: a complete, modern TCP in user space, for asyncio."""

from typing import TYPE_CHECKING, Any

from aiotcp.options import Options
from aiotcp.server import Server
from aiotcp.stack import Endpoint, PacketStack
from aiotcp.streams import (
    Stack,
    create_connection,
    create_server,
    current_stack,
    open_connection,
    start_server,
)
from aiotcp.tcp import COMPILED
from aiotcp.transport import Transport

if TYPE_CHECKING:
    from aiotcp.eventloop import AsyncioEventLoop, EventLoop, Runner, run
    from aiotcp.info import ConnectionInfo
    from aiotcp.tcpinfo import TcpInfo

__all__ = [
    "COMPILED",
    "AsyncioEventLoop",
    "ConnectionInfo",
    "Endpoint",
    "EventLoop",
    "Options",
    "PacketStack",
    "Runner",
    "Server",
    "Stack",
    "TcpInfo",
    "Transport",
    "create_connection",
    "create_server",
    "current_stack",
    "open_connection",
    "run",
    "start_server",
]

_LATER = {
    "AsyncioEventLoop": "aiotcp.eventloop",
    "ConnectionInfo": "aiotcp.info",
    "EventLoop": "aiotcp.eventloop",
    "Runner": "aiotcp.eventloop",
    "TcpInfo": "aiotcp.tcpinfo",
    "run": "aiotcp.eventloop",
}


def __getattr__(name: str) -> Any:
    """What takes its time to import and not every program needs, when it is asked for: event loops
    bring uvloop along."""
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
