"""curl as the client of a web server on the stack: HTTP/1.1 and HTTPS, what goes well and what not.

uvicorn and starlette serve; see `tests.support.website`. The transfers of 1 GB are in
`tests/integration/test_curl_bulk`.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aiotcp import Options
from tests.live.world import World, both_versions, with_and_without_offload, world
from tests.support.hosts import Side
from tests.support.netns import netns as netns
from tests.support.website import BLOCK, Browser, Scheme, Site, answer, killed, on_stack

pytestmark = [
    pytest.mark.tun,
    pytest.mark.usefixtures("netns"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]

both_schemes = pytest.mark.parametrize("scheme", ["http", "https"])

FILE = random.Random("file").randbytes(3_000_000)
UPLOAD = random.Random("upload").randbytes(2_500_000)
REFUSED, TIMED_OUT, SEND_ERROR = 7, 28, 55
"""Exit codes of curl."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What the site has to offer; beside it what curl uploads."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(FILE)
    (tmp_path / "upload").write_bytes(UPLOAD)
    return root


@pytest.fixture
async def site(root: Path) -> AsyncIterator[tuple[World, Site, Browser]]:
    async with world(options=Options(time_wait_s=0.05)) as w, on_stack(w, root) as (site, browser):
        yield w, site, browser


async def gone(w: World) -> None:
    """Wait until the stack has no trace of a connection."""
    while w.stack.connections():
        w.history.news.clear()
        await w.history.news.wait()


def resets(w: World) -> list[str]:
    """Why the stack sent RST."""
    return [why for why in w.stack.counters.sent if why.startswith("rst")]


# Connections


@both_versions
@with_and_without_offload
@both_schemes
async def test_requests_one_after_the_other_share_a_connection(
    side: Side, offload: bool, scheme: Scheme, root: Path
) -> None:
    async with world(side, offload=offload) as w, on_stack(w, root) as (_, browser):
        hello, file = browser.url("/hello", scheme), browser.url("/files/file", scheme)
        got = await browser.get(hello, file, hello, hello)
        greeting = f"hello {side.host} {scheme}".encode()
        assert got.body == greeting + FILE + greeting + greeting
        assert got.statuses == [200] * 4
        assert [each["num_connects"] for each in got.transfers] == [1, 0, 0, 0]
        assert {each["http_version"] for each in got.transfers} == {"1.1"}
        assert w.stack.counters.connections_accepted == 1


@both_schemes
async def test_connection_close_takes_one_each(
    site: tuple[World, Site, Browser], scheme: Scheme
) -> None:
    w, server, browser = site
    hello = browser.url("/hello", scheme)
    got = await browser.get("--header", "Connection: close", hello, hello, hello)
    assert got.statuses == [200] * 3
    assert got.connects == 3
    await server.until(lambda: len(server.lost) == 3)
    assert server.lost == [None] * 3
    await gone(w)
    assert not resets(w)


async def test_http_1_0_ends_with_the_connection(site: tuple[World, Site, Browser]) -> None:
    w, server, browser = site
    got = await browser.get("--http1.0", browser.url("/stream/40"))
    assert got.body == BLOCK * 40
    assert got.statuses == [200]
    await server.until(lambda: server.lost == [None])
    await gone(w)
    assert not resets(w)


async def test_a_connection_outlives_errors_of_the_application(
    site: tuple[World, Site, Browser], caplog: pytest.LogCaptureFixture
) -> None:
    _, _, browser = site
    urls = ["/hello", "/no-such-page", "/hello", "/upload", "/hello"]
    got = await browser.get(*map(browser.url, urls))
    assert got.statuses == [200, 404, 200, 405, 200]
    assert got.connects == 1
    post = await browser.get("--data", "x", browser.url("/crash"), browser.url("/upload"))
    assert post.statuses == [500, 200]
    assert post.connects == 2  # uvicorn closes after a failure
    assert "the application fails" in caplog.text


async def test_an_idle_connection_that_the_server_closed_is_replaced(
    site: tuple[World, Site, Browser],
) -> None:
    """curl holds a connection of its own; when it wants it again, it has to make another."""
    _, server, browser = site
    hello = browser.url("/hello")
    process = await browser.start("--rate", "60/m", hello, hello)  # a second between the two
    await server.until(lambda: server.answered == 1)
    (visit,) = server.protocols
    visit.shutdown()
    got = await answer(process)
    assert got.code == 0
    assert got.statuses == [200, 200]
    assert got.connects == 2


# Ranges and kinds of answers


@both_schemes
async def test_ranges(site: tuple[World, Site, Browser], scheme: Scheme) -> None:
    _, _, browser = site
    file = browser.url("/files/file", scheme)
    got = await browser.get("--range", "1000000-1999999", file)
    assert got.statuses == [206]
    assert got.body == FILE[1_000_000:2_000_000]
    got = await browser.get("--range", "-1000", file, file)
    assert got.body == FILE[-1000:] * 2
    got = await browser.get("--range", f"{len(FILE)}-", "--include", file)
    assert got.statuses == [416]
    assert f"content-range: bytes */{len(FILE)}" in got.text
    got = await browser.get("--range", "0-9,2000000-2999999", file)
    assert got.statuses == [206]
    assert "multipart/byteranges" in got.transfers[0]["content_type"]
    for start, end in ((0, 10), (2_000_000, 3_000_000)):
        assert f"Content-Range: bytes {start}-{end - 1}/{len(FILE)}".encode() in got.body
        assert FILE[start:end] in got.body


async def test_if_range(site: tuple[World, Site, Browser]) -> None:
    _, _, browser = site
    file = browser.url("/files/file")
    head = (await browser.get("--head", file)).text.splitlines()
    (etag,) = [line.partition(": ")[2] for line in head if line.startswith("etag:")]
    for tag, status, body in ((etag, 206, FILE[5:10]), ('"other"', 200, FILE)):
        got = await browser.get("--range", "5-9", "--header", f"If-Range: {tag}", file)
        assert got.statuses == [status]
        assert got.body == body


@both_schemes
async def test_an_interrupted_download_is_resumed(
    site: tuple[World, Site, Browser], scheme: Scheme, tmp_path: Path
) -> None:
    w, server, browser = site
    file, copy = browser.url("/files/file", scheme), tmp_path / "copy"
    process = await browser.start("--limit-rate", "500k", file)
    assert process.stdout is not None
    copy.write_bytes(await process.stdout.readexactly(100_000))
    await killed(process)
    await server.until(lambda: len(server.lost) == 1)
    got = await browser.get("--continue-at", "-", "--output", str(copy), file)
    assert got.statuses == [206]
    assert copy.read_bytes() == FILE
    await server.until(lambda: len(server.lost) == 2)
    await gone(w)


@both_schemes
async def test_head_and_chunks(site: tuple[World, Site, Browser], scheme: Scheme) -> None:
    _, _, browser = site
    head = await browser.get("--head", browser.url("/files/file", scheme))
    assert head.statuses == [200]
    assert f"content-length: {len(FILE)}" in head.text
    stream = browser.url("/stream/50", scheme)
    got = await browser.get("--include", stream, browser.url("/hello", scheme))
    assert b"Transfer-Encoding: chunked" in got.body[:300]
    assert BLOCK * 50 in got.body
    assert got.connects == 1


# Uploads


@both_versions
@with_and_without_offload
@both_schemes
async def test_uploads(
    side: Side, offload: bool, scheme: Scheme, root: Path, tmp_path: Path
) -> None:
    async with world(side, offload=offload) as w, on_stack(w, root) as (site, browser):
        await upload_twice(site, browser, scheme, tmp_path / "upload")


@both_schemes
async def test_uploads_in_chunks(
    site: tuple[World, Site, Browser], scheme: Scheme, tmp_path: Path
) -> None:
    _, server, browser = site
    chunked = ("--header", "Transfer-Encoding: chunked")
    await upload_twice(server, browser, scheme, tmp_path / "upload", *chunked)


async def upload_twice(
    site: Site, browser: Browser, scheme: Scheme, source: Path, *arguments: str
) -> None:
    both = f"{{{source},{source}}}"
    got = await browser.get(*arguments, "--upload-file", both, browser.url("/upload", scheme))
    assert got.statuses == [200, 200]
    assert got.connects == 1
    for each in site.uploads:
        assert (each.octets, each.complete) == (len(UPLOAD), True)
        assert each.sha256 == hashlib.sha256(UPLOAD).hexdigest()


@both_schemes
async def test_expect_100_continue(
    site: tuple[World, Site, Browser], scheme: Scheme, tmp_path: Path
) -> None:
    """curl asks before it sends more than 1 MB, and the server's word comes at once."""
    _, server, browser = site
    source = str(tmp_path / "upload")
    got = await browser.get(
        *("--expect100-timeout", "50", "--max-time", "40", "--include"),
        *("--upload-file", source, browser.url("/upload", scheme)),
    )
    assert got.text.startswith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert server.uploads[0].sha256 == hashlib.sha256(UPLOAD).hexdigest()


@both_schemes
@pytest.mark.parametrize("status", [401, 413])
async def test_an_upload_refused_before_its_body(
    site: tuple[World, Site, Browser], scheme: Scheme, status: int, tmp_path: Path
) -> None:
    _, server, browser = site
    got = await browser.get(
        *("--expect100-timeout", "50", "--max-time", "40"),
        *("--upload-file", str(tmp_path / "upload"), browser.url(f"/refuse/{status}", scheme)),
    )
    assert got.statuses == [status]
    assert got.body == b"refused"
    assert got.transfers[0]["size_upload"] == 0
    await server.until(lambda: len(server.lost) == 1)


@both_schemes
async def test_an_answer_outlives_the_body_that_nobody_reads(
    site: tuple[World, Site, Browser], scheme: Scheme, tmp_path: Path
) -> None:
    """curl sends without asking, the server answers and closes: bytes are left unread, or come
    after the end, and so a RST follows the answer. As on kernel sockets: the answer is there for
    whoever reads it, but a curl that happens to send first says "Connection reset" (once in 40
    times there).
    """
    w, server, browser = site
    answered = 0
    for number in range(1, 6):
        got = await browser.attempt(
            *("--header", "Expect:", "--header", "Connection: close", "--max-time", "40"),
            *("--upload-file", str(tmp_path / "upload"), browser.url("/refuse/413", scheme)),
        )
        if got.code == 0:
            assert got.statuses == [413]
            assert got.body == b"refused"
            answered += 1
        else:
            assert got.code == SEND_ERROR, got.messages
        await server.until(lambda wanted=number: len(server.lost) == wanted)  # type: ignore[misc]
        await gone(w)
    assert answered >= 3


# Many, slow ones, and ones that vanish


@both_schemes
async def test_fifty_in_parallel(site: tuple[World, Site, Browser], scheme: Scheme) -> None:
    """One curl, fifty requests at the same time: none is answered before all have come."""
    w, server, browser = site
    wait = [browser.url("/wait", scheme)] * 50
    process = await browser.start(
        "--parallel", "--parallel-immediate", "--parallel-max", "50", *wait
    )
    await server.until(lambda: server.waiting == 50)
    assert [each.state for each in w.stack.connections()] == ["ESTABLISHED"] * 50
    server.gate.set()
    got = await answer(process)
    assert got.code == 0
    assert got.statuses == [200] * 50
    assert got.body == b"go" * 50
    await server.until(lambda: len(server.lost) == 50)
    await gone(w)


@with_and_without_offload
async def test_fifty_processes(offload: bool, root: Path) -> None:
    async with world(offload=offload) as w, on_stack(w, root) as (site, browser):
        urls = browser.url("/stream/2"), browser.url("/blocks/1")
        runs = [browser.digest(*urls) for _ in range(50)]
        wanted = hashlib.sha256(BLOCK * 3).hexdigest()
        for digest, transfers in await asyncio.gather(*runs):
            assert digest == wanted
            assert sum(each["num_connects"] for each in transfers) == 1
        await site.until(lambda: len(site.lost) == 50)
        assert w.stack.counters.connections_accepted == 50


@both_schemes
async def test_a_slow_reader(site: tuple[World, Site, Browser], scheme: Scheme) -> None:
    """The server waits: what it has written and curl not read is bounded by the buffers."""
    w, server, browser = site
    blocks = browser.url("/blocks/2000", scheme)  # 125 MiB
    process = await browser.start("--limit-rate", "1M", "--output", "/dev/null", blocks)
    await w.wire.saw(lambda each: not each.ours and each.segment.window == 0)
    (connection,) = w.stack.connections()
    assert connection.state == "ESTABLISHED"
    await killed(process)
    await server.until(lambda: len(server.lost) == 1)
    await gone(w)


@both_schemes
async def test_a_download_whose_client_is_killed(
    site: tuple[World, Site, Browser], scheme: Scheme
) -> None:
    w, server, browser = site
    process = await browser.start(browser.url("/blocks/1000000", scheme))  # 61 GiB
    assert process.stdout is not None
    await process.stdout.readexactly(5_000_000)
    await killed(process)
    await server.until(lambda: len(server.lost) == 1)
    assert isinstance(server.lost[0], ConnectionResetError)
    await gone(w)


@both_schemes
async def test_an_upload_whose_client_is_killed(
    site: tuple[World, Site, Browser], scheme: Scheme
) -> None:
    w, server, browser = site
    upload = browser.url("/upload", scheme)
    process = await browser.start("--upload-file", "-", upload, stdin=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(UPLOAD)
    await server.until(lambda: server.octets > 1_000_000)
    process.kill()
    await server.until(lambda: bool(server.uploads))
    await answer(process)
    assert not server.uploads[0].complete
    assert server.uploads[0].octets <= len(UPLOAD)
    await server.until(lambda: len(server.lost) == 1)
    await gone(w)


@both_schemes
async def test_a_client_that_stands_still(
    site: tuple[World, Site, Browser], scheme: Scheme
) -> None:
    """Stopped in the middle of a download until its window is shut, then continued."""
    w, server, browser = site
    blocks = browser.url("/blocks/1000", scheme)
    process = await browser.start("--output", "/dev/null", blocks)
    await server.until(lambda: server.streaming == 1)
    process.send_signal(signal.SIGSTOP)
    await w.wire.saw(lambda each: not each.ours and each.segment.window == 0)
    process.send_signal(signal.SIGCONT)
    got = await answer(process)
    assert got.code == 0
    assert got.transfers[0]["size_download"] == 1000 * len(BLOCK)


# What curl says when it does not work


@both_versions
async def test_a_port_on_which_nobody_listens(side: Side) -> None:
    async with world(side) as w:
        got = await Browser(w.side.stack).attempt(Browser(w.side.stack).url("/hello"))
        assert got.code == REFUSED


@both_schemes
async def test_an_answer_that_does_not_come_in_time(
    site: tuple[World, Site, Browser], scheme: Scheme
) -> None:
    w, server, browser = site
    got = await browser.attempt("--max-time", "0.3", browser.url("/wait", scheme))
    assert got.code == TIMED_OUT
    await server.until(lambda: len(server.lost) == 1)
    server.gate.set()
    await gone(w)


async def test_a_handshake_of_tls_that_does_not_come_in_time() -> None:
    """The connection is there, and a program that says nothing."""
    async with world(options=Options(time_wait_s=0.05)) as w:
        server = await w.stack.create_server(asyncio.Protocol, w.side.stack, 443)
        browser = Browser(w.side.stack)
        got = await browser.attempt("--connect-timeout", "0.3", browser.url("/hello", "https"))
        assert got.code == TIMED_OUT
        server.close()
        await server.wait_closed()
        await gone(w)
