"""Programs on both sides of a `Story`, and what they tell."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

from tests.support.story import Side, Story, describe_error

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


@asynccontextmanager
async def connected(story: Story) -> AsyncIterator[tuple[Reader, Writer, Reader, Writer]]:
    """A connection at 1 s on an empty page: the client's streams, and the server's."""
    accepted: asyncio.Future[tuple[Reader, Writer]] = story.loop.create_future()

    async def program(reader: Reader, writer: Writer) -> None:
        accepted.set_result((reader, writer))

    await story.serves(program)
    ours = await story.connects()
    theirs = await accepted
    await story.until(1)
    story.forget()
    yield *ours, *theirs
    for writer in (ours[1], theirs[1]):
        writer.close()


def named(exc: OSError) -> str:
    """The exception's type, and its number if it has one (asyncio's own have none)."""
    return describe_error(exc) + (f" {errno.errorcode[exc.errno]}" if exc.errno else "")


async def reads(story: Story, side: Side, reader: Reader) -> None:
    """A program that waits for data, and tells what becomes of it."""
    try:
        data = await reader.read(100)
    except OSError as exc:
        story.tell(side, named(exc))
    else:
        story.tell(side, f"read {data!r}")
