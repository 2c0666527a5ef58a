"""aiotcp: a complete, modern TCP in user space, for asyncio."""

from typing import TYPE_CHECKING, Any

from aiotcp.options import Options
from aiotcp.server import Server
from aiotcp.stack import ConnectionInfo, Endpoint, PacketStack
from aiotcp.streams import (
    Stack,
    create_connection,
    create_server,
    current_stack,
    open_connection,
    start_server,
)
from aiotcp.tcpinfo import TcpInfo
from aiotcp.transport import Transport

if TYPE_CHECKING:
    from aiotcp.eventloop import AsyncioEventLoop, EventLoop, Runner, run

__all__ = [
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

_OF_EVENTLOOP = {"AsyncioEventLoop", "EventLoop", "Runner", "run"}


def __getattr__(name: str) -> Any:
    """Event loops when they are asked for: uvloop takes its time to import."""
    if name in _OF_EVENTLOOP:
        from aiotcp import eventloop

        return getattr(eventloop, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
