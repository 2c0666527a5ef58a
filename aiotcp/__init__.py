"""aiotcp: a complete, modern TCP in user space, for asyncio."""

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

__all__ = [
    "ConnectionInfo",
    "Endpoint",
    "Options",
    "PacketStack",
    "Server",
    "Stack",
    "TcpInfo",
    "Transport",
    "create_connection",
    "create_server",
    "current_stack",
    "open_connection",
    "start_server",
]
