"""1 GB to and from curl, over HTTP and HTTPS: every byte, and no more memory than the buffers take.

uvicorn serves on our loops, as it would on kernel sockets. Run with `-rP` to see how fast.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import shlex
from asyncio import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from aiotcp import Stack
from aiotcp.link import network
from tests.support.hosts import V4, Side
from tests.support.netns import netns as netns
from tests.support.website import Browser, Scheme, Site, serving

pytestmark = pytest.mark.usefixtures("netns")

MIB = 1 << 20
GUARD_S = 240.0

SIZES = {True: 1 << 30, False: 100 * MIB}
"""Bytes by offload. Without it the stack makes and takes every packet of 1500 bytes itself, some
20000 in a second: a GB would take minutes, and the 70000 packets here show as much."""

MEMORY = 64 * MIB
"""Most that our process may grow by: a connection's buffer in the one direction can be 32 MiB,
and what is in Python's and uvicorn's hands on the way comes on top. (It is 5 MiB, mostly.)"""


@dataclass(frozen=True)
class Large:
    """A file, and the SHA-256 of its contents."""

    path: Path
    sha256: str


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bool, Large]]:
    """Files of the sizes above; no two of their blocks are alike."""
    root = tmp_path_factory.mktemp("large")
    block = random.Random("large").randbytes(MIB - 8)
    made = {}
    for offload, size in SIZES.items():
        path, digest = root / f"large-{offload}", hashlib.sha256()
        with path.open("wb") as file:
            for number in range(size // MIB):
                for part in (number.to_bytes(8, "big"), block):
                    digest.update(part)
                    file.write(part)
        made[offload] = Large(path, digest.hexdigest())
    yield made
    for each in made.values():
        each.path.unlink()


@asynccontextmanager
async def site(side: Side, offload: bool, root: Path) -> AsyncIterator[tuple[Site, Stack]]:
    tun, _ = await network.off_loop(
        network.open_tun, host_addresses=[side.host_address], offload=offload
    )
    async with asyncio.timeout(GUARD_S), Stack(tun, addresses=[side.stack]) as stack:
        made = Site(root)
        async with serving(made, asyncio.get_running_loop().create_server, side.stack):
            yield made, stack


def resident() -> tuple[int, int]:
    """Bytes of memory that this process has now, and the most that it had since `forget_peak()`."""
    status = Path("/proc/self/status").read_text()
    now, peak = (re.search(rf"^{name}:\s+(\d+) kB", status, re.M) for name in ("VmRSS", "VmHWM"))
    assert now is not None
    assert peak is not None
    return int(now[1]) << 10, int(peak[1]) << 10


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM


@pytest.mark.parametrize(
    ("scheme", "offload"),
    [("http", True), ("https", True), ("http", False)],
    ids=["http", "https", "http-no-offload"],
)
@pytest.mark.parametrize("direction", ["download", "upload"])
async def test_every_byte_and_little_memory(
    direction: str, scheme: Scheme, offload: bool, large: dict[bool, Large]
) -> None:
    file = large[offload]
    async with site(V4, offload, file.path.parent) as (website, stack):
        browser = Browser(V4.stack)
        if direction == "download":
            command = browser.command(browser.url(f"/files/{file.path.name}", scheme))
        else:
            upload = browser.url("/upload", scheme)
            command = browser.command("--upload-file", str(file.path), upload)
        forget_peak()
        before, _ = resident()
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", f"set -o pipefail; {shlex.join(command)} | sha256sum"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err
        _, peak = resident()
        told = json.loads(err)
        assert told["http_code"] == 200
        if direction == "download":
            assert out.split()[0].decode() == file.sha256
        else:
            (came,) = website.uploads
            assert came.complete
            assert (came.octets, came.sha256) == (SIZES[offload], file.sha256)
        assert peak - before < MEMORY
        speed = told[f"speed_{direction}"] / 1e6
        print(f"{speed:.0f} MB/s; {(peak - before) / MIB:.0f} MiB more; {stack.counters.as_dict()}")
