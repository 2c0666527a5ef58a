"""The time that a stack lives by: the loop's, as finely as it can be had."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, NoReturn, cast


def clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """A function that tells what `loop.time()` tells, in seconds.

    uvloop tells it in whole milliseconds, as they were when this turn of the loop began: too
    coarse for the round trips of a local link. It counts the system's monotonic clock, as
    asyncio's own loops do, so that clock is asked directly.
    """
    if any(base.__module__.partition(".")[0] == "uvloop" for base in type(loop).__mro__):
        return time.monotonic
    return loop.time


class _NoLoop:
    """Stands where a stack's loop will be once it has one: whatever is asked of it raises
    RuntimeError."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError("the stack lives on no event loop yet: use aiotcp.run() or async with")


NO_LOOP: Final = cast(asyncio.AbstractEventLoop, _NoLoop())


def no_clock() -> float:
    """The clock of a stack without a loop. Raises RuntimeError."""
    return NO_LOOP.time()
