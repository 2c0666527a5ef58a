"""The program's control socket, at which `aiotcp ss`, `stat` and `capture` ask."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from aiotcp import log
from aiotcp.control.server import serve
from aiotcp.serve.problems import BadOptions
from aiotcp.serve.settings import Settings
from aiotcp.streams import Stack

OFF = "off"
"""What --control says for none."""

_logger = log.logger("aiotcp.serve")


@asynccontextmanager
async def controlled(
    settings: Settings, stack: Stack, about: Mapping[str, Any]
) -> AsyncIterator[None]:
    """As long as the block lasts; where --control says so, without.

    about: what the director tells of itself; of one of several workers, each of which has a socket
    of its own, `worker` is its number. Without --control, to have none is no reason not to serve.
    """
    if settings.control == OFF:
        yield
        return
    path = settings.control
    if path is not None and "worker" in about:
        path = f"{path}.{about['worker']}"
    session = None
    if settings.web is not None and "worker" in about:
        from aiotcp.serve.views import Answers

        session = partial(Answers, stack)
    opening = serve(stack, path, name="aiotcp-serve", session=session, **about)
    try:
        await opening.__aenter__()
    except OSError as exc:
        why = exc.strerror or str(exc)
        if path is not None:
            raise BadOptions(f"--control {path}: {why}") from None
        _logger.warning("no control socket", error=why)
        yield
        return
    try:
        yield
    finally:
        await opening.__aexit__(None, None, None)
