"""aiotcp: a complete, modern TCP in user space, for asyncio."""

from typing import TYPE_CHECKING, Any

from aiotcp.tcp import COMPILED

if TYPE_CHECKING:
    from aiotcp.eventloop import AsyncioEventLoop, EventLoop, Runner, run
    from aiotcp.info import ConnectionInfo
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
    from aiotcp.tcpinfo import TcpInfo
    from aiotcp.transport import Transport

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

_PLACES = {
    "AsyncioEventLoop": "aiotcp.eventloop",
    "ConnectionInfo": "aiotcp.info",
    "Endpoint": "aiotcp.stack",
    "EventLoop": "aiotcp.eventloop",
    "Options": "aiotcp.options",
    "PacketStack": "aiotcp.stack",
    "Runner": "aiotcp.eventloop",
    "Server": "aiotcp.server",
    "Stack": "aiotcp.streams",
    "TcpInfo": "aiotcp.tcpinfo",
    "Transport": "aiotcp.transport",
    "create_connection": "aiotcp.streams",
    "create_server": "aiotcp.streams",
    "current_stack": "aiotcp.streams",
    "open_connection": "aiotcp.streams",
    "run": "aiotcp.eventloop",
    "start_server": "aiotcp.streams",
}

_MODULES = {"errors", "link", "options", "reasons", "server", "stack", "streams", "transport"}
"""They are found as `aiotcp.link`, say, by who has imported `aiotcp` alone."""


def __getattr__(name: str) -> Any:
    """Each name with the first use of it: programs that have a part in a stack need none of it (the
    command line tells its options, and asks stacks in other processes), and not every program that
    has one needs event loops, which bring uvloop along."""
    if name in _MODULES:
        from importlib import import_module

        return import_module(f"{__name__}.{name}")
    if name in _PLACES:
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_PLACES[name]), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
