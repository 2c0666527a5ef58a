"""Event loops whose connections and servers live on a stack, and how to run a program on one.

    aiotcp.run(main(), stack=aiotcp.Stack(link))

`main` and every library below it use asyncio as ever. A loop is chosen, never a policy set: where a
program has a `loop_factory` of its own, `EventLoop` and `factory` are for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from aiotcp.routing import StackLoop
from aiotcp.streams import Stack

if TYPE_CHECKING:
    _UvloopBase = asyncio.SelectorEventLoop
else:
    try:
        from uvloop import Loop as _UvloopBase
    except ImportError:  # there is none for Windows
        _UvloopBase = asyncio.SelectorEventLoop

_T = TypeVar("_T")
_Routes = Iterable[str] | Mapping[str, Stack | None] | None


class AsyncioEventLoop(StackLoop, asyncio.SelectorEventLoop):
    """asyncio's own loop, with stacks."""


class EventLoop(StackLoop, _UvloopBase):
    """uvloop's loop, with stacks; asyncio's where there is no uvloop."""


def factory() -> EventLoop:
    """A loop with a stack on a new TUN device, both with the usual addresses: what programs that
    take the name of a loop factory can be given, as in `uvicorn --loop aiotcp.eventloop:factory`.

    To be called outside of a running loop. Raises what `aiotcp.link.network.open_tun` raises.
    """
    from aiotcp.link.network import open_tun

    return EventLoop(Stack(open_tun()[0]))


def Runner(
    *,
    stack: Stack,
    routes: _Routes = None,
    grace: float = 1.0,
    debug: bool | None = None,
    loop_factory: Callable[..., StackLoop] = EventLoop,
) -> asyncio.Runner:
    """An `asyncio.Runner` whose loop has `stack`, and closes it at the end; see `run`."""

    def new_loop() -> asyncio.AbstractEventLoop:
        return loop_factory(stack, routes=routes, grace=grace)

    return asyncio.Runner(debug=debug, loop_factory=new_loop)


def run(
    main: Coroutine[Any, Any, _T],
    *,
    stack: Stack,
    routes: _Routes = None,
    grace: float = 1.0,
    debug: bool | None = None,
    loop_factory: Callable[..., StackLoop] = EventLoop,
) -> _T:
    """`asyncio.run()`, on a loop whose connections and servers live on `stack`.

    stack: made outside of a running loop, and closed at the end.
    routes: what goes through the stack, and what through the kernel (see `StackLoop.add_stack`); by
        default all but loopback and IPv6's link-local addresses go through the stack.
    grace: seconds that connections have to finish once `main` is over (`Stack.aclose`).
    loop_factory: `EventLoop` (uvloop) or `AsyncioEventLoop`.

    Returns or raises what `main` does; raises also what `asyncio.run()` raises, and RuntimeError
    for a stack that is closed or lives on another loop.
    """
    if asyncio._get_running_loop() is not None:  # before anything happens to the stack
        raise RuntimeError("aiotcp.run() cannot be called from a running event loop")
    with Runner(
        stack=stack, routes=routes, grace=grace, debug=debug, loop_factory=loop_factory
    ) as runner:
        return runner.run(main)
