"""TIME-WAIT: what the scenarios `time-wait-*` do not show."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

import pytest

from aiotcp.wire.tcp import SYN, pack_options
from tests.support.story import PLAIN, Story

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter

PORTS = (50000, 80)

OLD_BYTES = 600_000
NEW_BYTES = 60_000
NEW_BEGINS_AT = 250_000
"""Numbers by which the second connection begins after the first: a second of the clock."""


async def server_in_time_wait(story: Story) -> None:
    """At 2 s; the page is empty. The client's side is closed and its port free."""
    await story.serves()
    reader, writer = await story.connects()
    await story.until(1)
    story.kept[0].close()
    await reader.read()
    writer.close()
    await story.until(2)
    assert [row.state for row in story.server.connections()] == ["TIME-WAIT"]
    story.forget()


@pytest.mark.req("6191-2", "MAY-2")
@pytest.mark.parametrize("options", [b"", pack_options(timestamps=(1, 0))], ids=["none", "old"])
async def test_time_wait_reuse_refused(options: bytes) -> None:
    """An old duplicate of a SYN is not accepted, with or without a timestamp. The answer says where
    TIME-WAIT stands; the client's host, which has no connection, resets that: to no effect."""
    async with Story() as story:
        await server_in_time_wait(story)
        story.forges("client", PORTS, SYN, seq=-5000, options=options)
        await story.until(3)
        story.reads("""
            2.000  forger  > SYN seq=-5000  (to the server)
            2.010  server  > ACK seq=2 ack=2 win=65535
            2.020  client  > RST seq=2
        """)
        assert [row.state for row in story.server.connections()] == ["TIME-WAIT"]


@pytest.mark.parametrize("off", [{"max_time_wait": 0}, {"time_wait_s": 0}])
async def test_no_wait_ends_at_once_and_is_told(off: dict[str, int]) -> None:
    async with Story(server=PLAIN.replace(**off)) as story:
        await story.serves()
        reader, writer = await story.connects()
        await story.until(1)
        story.kept[0].close()
        await reader.read()
        writer.close()
        await story.until(2)
        assert story.states("server")[-2:] == ["TIME-WAIT", "CLOSED"]
