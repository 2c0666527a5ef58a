"""The pictures of the report in docs/images: `python -m tests.report.pictures`, with Chromium; then
`pngquant --ext .png --force 128 docs/images/*.png`. That of the live page is what
tests/serve/test_web_live.py leaves behind."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from aiotcp import report, sim
from aiotcp.link import memory
from aiotcp.link.impair import Impair, Netem
from aiotcp.streams import Stack
from aiotcp.trace.events import Trace
from aiotcp.trace.watch import Recording
from tests.support.chromium import Chromium

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
SIZE, SEED = 400_000, 4
CLIENT, SERVER = "192.0.2.1", "192.0.2.2"


async def transfer() -> Trace:
    """Bytes over a path of 10 Mbit/s and 40 ms that loses 1 % of the packets."""
    recording = Recording()
    left, right = memory.pair()
    out, back = Netem(delay=0.02, rate=10e6, loss=0.01), Netem(delay=0.02)
    bad = Impair(left, outbound=out, inbound=back, seed=SEED)
    done = asyncio.Event()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recording.said("server", f"read {len(await reader.read())} bytes and the end")
        writer.close()
        done.set()

    async with (
        recording.stack(Stack, bad, host="client", addresses=[CLIENT], seed=b"c") as client,
        recording.stack(Stack, right, host="server", addresses=[SERVER], seed=b"s") as server,
    ):
        await server.start_server(swallow, SERVER, 80)
        _, writer = await client.open_connection(SERVER, 80)
        writer.write(bytes(SIZE))
        writer.close()
        await done.wait()
        await asyncio.sleep(0.1)
        trace = recording.finish()
    trace.title = f"{SIZE:,} bytes over a path that loses 1 %"
    trace.seed = str(SEED)
    return trace


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        file = report.write(sim.run(transfer()), Path(scratch) / "report.html")
        with Chromium(Path(scratch) / "profile") as chromium:
            for scheme in ("light", "dark"):
                page = chromium.open("about:blank")
                page.prefer(scheme)
                page.go(file.as_uri())
                page.until("document.documentElement.dataset.ready")
                first = "D.p.why.findIndex((why) => W(why) === 'fast_retransmit')"
                page.run(f"choose(['p', {first}], 'keys')")
                page.until("!document.getElementById('detail').hidden")
                page.screenshot(IMAGES / f"report-{scheme}.png")
                assert page.errors == []


if __name__ == "__main__":
    main()
