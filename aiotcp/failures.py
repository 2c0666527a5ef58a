"""What becomes of an exception that one connection's user raises, in a callback for many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Failures:
    """Reports them, for one stack."""

    def __init__(self) -> None:
        self._leaving = False

    def report(
        self, loop: asyncio.AbstractEventLoop, function: Callable[..., None], exc: BaseException
    ) -> None:
        """It is the loop's to handle, as that of any callback.

        SystemExit and KeyboardInterrupt end the loop's run, but in a callback of their own: the
        others of a batch have their turn first, and a run after that one finds nothing half done.
        One is enough: a second would end the run in which asyncio.run() cleans up.
        """
        try:
            if isinstance(exc, SystemExit | KeyboardInterrupt):
                raise exc
            message = f"Exception in {function!r}"
            loop.call_exception_handler({"message": message, "exception": exc})
        except (SystemExit, KeyboardInterrupt) as leaving:
            if not self._leaving:
                self._leaving = True
                loop.call_soon(self._leave, leaving)

    def _leave(self, exc: BaseException) -> None:
        self._leaving = False
        raise exc
