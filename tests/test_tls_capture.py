"""A capture with a key log: one file, which tshark reads once from front to back, decrypted."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import warnings
from collections import Counter
from pathlib import Path

import pytest

from aiotcp.link import memory
from aiotcp.link.base import Link
from aiotcp.link.pcapng import Capture
from aiotcp.streams import Stack

PEM = Path(__file__).parent / "support" / "tls" / "self-signed.pem"
NAME = "stack.test"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


def contexts(version: ssl.TLSVersion) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of the server and the client; neither knows of a key log."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(PEM)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(PEM)
    client.maximum_version = version
    return server, client


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            if line == b"\r\n":
                writer.write(ANSWER)
                await writer.drain()
    finally:
        writer.close()


async def fetch(
    stack: Stack, client: ssl.SSLContext, upgrade: bool, host: str = "192.0.2.2"
) -> None:
    """Two requests of one connection."""
    if upgrade:
        reader, writer = await stack.open_connection(host, 443)
        await writer.start_tls(client, server_hostname=NAME)
    else:
        reader, writer = await stack.open_connection(host, 443, ssl=client, server_hostname=NAME)
    for path in (b"/first", b"/second"):
        writer.write(b"GET %s HTTP/1.1\r\nHost: stack.test\r\n\r\n" % path)
        assert await reader.readexactly(len(ANSWER)) == ANSWER
    writer.close()
    await writer.wait_closed()


def in_clear(path: Path) -> Counter[str]:
    """HTTP's URIs and status codes, and the types of TLS handshake messages, in the file: in a
    single pass of tshark that is given no key log."""
    command = ["tshark", "-r", str(path), "-Y", "http || tls.handshake", "-T", "fields"]
    for field in ("http.request.uri", "http.response.code", "tls.handshake.type"):
        command += ["-e", field]
    command += ["-o", "tls.keylog_file:"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Counter(done.stdout.replace(",", " ").split())


V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@needs_tshark
@pytest.mark.parametrize(
    ("side", "version", "offload", "upgrade"),
    [
        ("client", V1_2, False, False),
        ("client", V1_2, True, True),
        ("client", V1_3, True, False),
        ("client", V1_3, False, True),
        ("server", V1_2, True, False),
        ("server", V1_2, False, True),
        ("server", V1_3, False, False),
        ("server", V1_3, True, True),
    ],
)
async def test_tshark_shows_http_over_tls(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    side: str,
    version: ssl.TLSVersion,
    offload: bool,
    upgrade: bool,
) -> None:
    keylog, path = tmp_path / "keys", tmp_path / "trace.pcapng"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keylog))
    ours, theirs = memory.pair(offload=offload)
    if side == "client":
        ours, theirs = theirs, ours
    capture = Capture(ours, path, keylog=keylog, epoch_s=0.0)
    links: tuple[Link, Link] = (capture, theirs) if side == "client" else (theirs, capture)
    server_context, client_context = contexts(version)
    other = server_context if side == "client" else client_context
    other.keylog_filename = str(tmp_path / "other")  # would be earlier, or later
    async with (
        Stack(links[0], addresses=["192.0.2.1"]) as client,
        Stack(links[1], addresses=["192.0.2.2"]) as server,
    ):
        if upgrade:

            async def upgraded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await writer.start_tls(server_context)
                await answer(reader, writer)

            await server.start_server(upgraded, "192.0.2.2", 443)
        else:
            await server.start_server(answer, "192.0.2.2", 443, ssl=server_context)
        # One after the other, and two at a time
        await fetch(client, client_context, upgrade)
        await asyncio.gather(*(fetch(client, client_context, upgrade) for _ in range(2)))
    assert capture.counters["keylog_failed"] == capture.counters["captured_early"] == 0
    seen = in_clear(path)
    assert (seen["/first"], seen["/second"], seen["200"]) == (3, 3, 6)
    assert seen["20"] == 6  # Finished: among the first records that are encrypted at all


async def test_only_contexts_without_a_key_log_get_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_context, client_context = contexts(ssl.TLSVersion.TLSv1_3)
    client_context.keylog_filename = str(tmp_path / "own")
    left, right = memory.pair()
    async with (
        Stack(left, addresses=["192.0.2.1"]) as client,
        Stack(right, addresses=["192.0.2.2"]) as server,
    ):
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
        await server.start_server(answer, "192.0.2.2", 443, ssl=server_context)
        await fetch(client, client_context, False)
    assert client_context.keylog_filename == str(tmp_path / "own")
    assert server_context.keylog_filename == str(tmp_path / "keys")
    secrets = [(tmp_path / name).read_text().split() for name in ("own", "keys")]
    assert "SERVER_TRAFFIC_SECRET_0" in secrets[0]
    assert set(secrets[0]) == set(secrets[1])


async def test_a_key_log_that_can_not_be_opened_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_context, client_context = contexts(ssl.TLSVersion.TLSv1_3)
    left, right = memory.pair()
    async with (
        Stack(left, addresses=["192.0.2.1"]) as client,
        Stack(right, addresses=["192.0.2.2"]) as server,
    ):
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "no" / "directory"))
        with pytest.warns(RuntimeWarning, match="SSLKEYLOGFILE .*: No such file or directory"):
            await server.start_server(answer, "192.0.2.2", 443, ssl=server_context)
        monkeypatch.delenv("SSLKEYLOGFILE")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await fetch(client, client_context, False)
    assert server_context.keylog_filename is client_context.keylog_filename is None
