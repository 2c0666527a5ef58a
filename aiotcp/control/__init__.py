"""A running stack answers questions on a unix socket: who is connected, what was counted and
dropped and why, and the packets as they come and go.

    async with Stack(link, addresses=["192.0.2.2"]) as stack, aiotcp.control.serve(stack):
        ...

The command `aiotcp` asks; `aiotcp-serve` answers unless told otherwise. `protocol` says how the two
speak, `places` where the sockets are.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiotcp.control.server import Control, serve

__all__ = ["Control", "serve"]


def __getattr__(name: str) -> Any:
    """Who asks does not need what answers."""
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.server"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
