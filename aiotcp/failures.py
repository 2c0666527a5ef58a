"""What becomes of an exception that one connection's user raises, in a callback for many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def report(
    loop: asyncio.AbstractEventLoop, function: Callable[..., None], exc: BaseException
) -> None:
    """It is the loop's to handle, as that of any callback.

    SystemExit and KeyboardInterrupt end the loop's run, but in a callback of their own: the others
    of a batch have their turn first, and a run after that one finds nothing half done.
    """
    try:
        if isinstance(exc, SystemExit | KeyboardInterrupt):
            raise exc
        message = f"Exception in {function!r}"
        loop.call_exception_handler({"message": message, "exception": exc})
    except (SystemExit, KeyboardInterrupt) as leaving:
        loop.call_soon(_leave, leaving)


def _leave(exc: BaseException) -> None:
    raise exc
