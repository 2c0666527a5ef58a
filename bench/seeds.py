"""What tests of other people's programs cost in virtual time: `aiotcp.testing`, seed after seed.

    python -m bench.seeds run|hour COUNT

run: three hosts, a client that asks ten questions of a server through a proxy, over links of 20 ms
    with jitter that lose 2 %. Prints how many seeds a second of processor time has, as JSON.
hour: two hosts, a connection that is open, and one hour in which nothing reaches anybody while the
    client tries to send; in the end it is told. Prints milliseconds of processor time.

Of COUNT runs each; the fastest counts for the hour, the sum for the seeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time

from aiotcp.testing import Net, run

_QUESTIONS = 10


async def _echo() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    await (await asyncio.start_server(answer, port=80)).serve_forever()


async def _proxy() -> None:
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, back = await asyncio.open_connection("server", 80)
        await asyncio.gather(pump(reader, back), pump(onward, writer))
        for end in (writer, back):
            end.close()

    await (await asyncio.start_server(answer, port=80)).serve_forever()


async def _ask() -> None:
    reader, writer = await asyncio.open_connection("proxy", 80)
    for number in range(_QUESTIONS):
        question = b"hello %d\n" % number
        writer.write(question)
        if await reader.readline() != question:
            raise RuntimeError("another answer")
    writer.close()
    await writer.wait_closed()


async def three_hosts(net: Net) -> None:
    net.netem("delay 20ms 5ms loss 2%")
    net.host("server").run(_echo())
    net.host("proxy").run(_proxy())
    await net.host("client").run(_ask())


async def hour(net: Net) -> float:
    """Returns the seconds of processor time that the hour took."""
    server, client = net.host("server"), net.host("client")

    async def hold() -> None:
        reader, writer = await asyncio.open_connection("server", 80)
        writer.write(b"before\n")
        await reader.readline()
        await asyncio.sleep(1)
        with contextlib.suppress(OSError):
            writer.write(b"during\n")
            await reader.readline()
        writer.close()

    server.run(_echo())
    holding = client.run(hold())
    await net.sleep(1)
    net.partition()
    before = time.process_time()
    await net.sleep(3600)
    used = time.process_time() - before
    net.heal()
    await holding
    return used


def main() -> None:
    kind, count = sys.argv[1], int(sys.argv[2])
    run(three_hosts)  # what is imported and compiled once
    if kind == "hour":
        print(json.dumps({"ms": min(run(hour, seed=seed) for seed in range(count)) * 1e3}))
        return
    before = time.process_time()
    for seed in range(count):
        run(three_hosts, seed=seed)
    print(json.dumps({"per_cpu_s": count / (time.process_time() - before)}))


if __name__ == "__main__":
    main()
