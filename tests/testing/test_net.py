"""Other people's programs on a simulated network."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from aiotcp.sim import Deadlock, TooLong
from aiotcp.testing import Net, run
from aiotcp.testing.net import FaultNeverApplied
from aiotcp.testing.reality import RealWorld
from aiotcp.trace.events import Fault, Said


async def serve(text: bytes = b"hello", port: int = 80) -> None:
    """A server as anybody would write it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(text)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, port=port)
    async with server:
        await server.serve_forever()


async def fetch(host: str, port: int = 80) -> bytes:
    """A client as anybody would write it."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"give\n")
    data = await reader.read()
    writer.close()
    await writer.wait_closed()
    return data


def test_programs_run_unmodified_and_names_resolve() -> None:
    async def main(net: Net) -> bytes:
        server, client = net.host("server"), net.host("client")
        net.netem("delay 10ms")
        server.run(serve())
        return await client.run(fetch("server"))

    assert run(main) == b"hello"


def test_an_unknown_name_is_not_found() -> None:
    async def main(net: Net) -> None:
        await net.host("client").run(fetch("server"))

    with pytest.raises(socket.gaierror):
        run(main)


def test_ipv6_hosts() -> None:
    async def main(net: Net) -> bytes:
        server = net.host("server", addresses=["fd00::1"])
        client = net.host("client", addresses=["fd00::2"])
        server.run(serve())
        return await client.run(fetch("server"))

    assert run(main) == b"hello"


def test_a_crash_and_a_reboot() -> None:
    async def main(net: Net) -> list[object]:
        server, client = net.host("server"), net.host("client")
        net.netem("delay 10ms")
        server.start(serve)
        got: list[object] = [await client.run(fetch("server"))]
        asking = client.run(fetch("server"))
        await net.sleep(0.015)
        server.crash()
        with pytest.raises(RuntimeError, match="server is down"):
            server.run(serve())
        await net.sleep(5)
        server.boot()
        got += await asyncio.gather(asking, return_exceptions=True)
        got.append(await client.run(fetch("server")))
        faults = [event for event in net.trace().events if isinstance(event, Fault)]
        assert [(fault.host, fault.text) for fault in faults] == [
            ("server", "crashes"),
            ("server", "is up again"),
        ]
        return got

    first, second, third = run(main)
    assert first == third == b"hello"
    assert isinstance(second, bytes | ConnectionError)


def test_programs_that_are_told_to_end_close_their_connections() -> None:
    async def main(net: Net) -> tuple[bytes, str]:
        server, client = net.host("server"), net.host("client")

        async def hold() -> None:
            async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.read()
                writer.close()

            await (await asyncio.start_server(wait, port=80)).serve_forever()

        server.run(hold())

        async def listen() -> bytes:
            reader, writer = await asyncio.open_connection("server", 80)
            data = await reader.read()
            writer.close()
            return data

        listening = client.run(listen())
        await net.sleep(1)
        await server.kill()
        data = await listening
        try:
            await client.run(fetch("server"))
        except ConnectionRefusedError as exc:
            return data, type(exc).__name__
        return data, ""

    assert run(main) == (b"", "ConnectionRefusedError")


def test_a_partition_heals() -> None:
    async def main(net: Net) -> float:
        server, client = net.host("server"), net.host("client")
        server.run(serve())
        net.partition("server", "client")
        asking = client.run(fetch("server"))
        await net.sleep(10)
        net.heal()
        assert await asking == b"hello"
        return net.now

    assert 10 < run(main) < 20


def test_a_fault_that_never_applies_fails() -> None:
    async def main(net: Net) -> None:
        server, client = net.host("server"), net.host("client")
        net.fault("drop the first SYN")
        net.fault("drop the tenth RST")
        server.run(serve())
        await client.run(fetch("server"))

    with pytest.raises(FaultNeverApplied, match=r"never applied: 'drop the tenth RST'"):
        run(main)


def test_a_program_that_fails_fails_the_test() -> None:
    async def main(net: Net) -> None:
        server, client = net.host("server"), net.host("client")

        async def broken() -> None:
            def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
                raise ZeroDivisionError("in the server")

            await (await asyncio.start_server(answer, port=80)).serve_forever()

        server.run(broken())
        await client.run(fetch("server"))

    with pytest.raises(ZeroDivisionError, match="in the server"):
        run(main)


def test_who_waits_for_what_in_a_deadlock() -> None:
    async def main(net: Net) -> None:
        async def wait_for_ever() -> None:
            await asyncio.Event().wait()

        await net.host("a").run(wait_for_ever())

    with pytest.raises(Deadlock, match=r"a: .*wait_for_ever"):
        run(main)


def with_socket(use: Callable[[socket.socket], None]) -> None:
    with socket.socket() as made:
        use(made)


@pytest.mark.parametrize(
    ("real", "says"),
    [
        (lambda: time.sleep(0), r"time\.sleep\(\) .* await asyncio\.sleep\(\)"),
        (lambda: threading.Thread(target=int).start(), r"Thread\.start\(\) .* a task"),
        (lambda: with_socket(lambda sock: sock.connect(("127.0.0.1", 9))), r"socket\.connect\(\)"),
        (lambda: with_socket(lambda sock: sock.listen()), r"socket\.listen\(\)"),
    ],
)
def test_the_real_world_is_refused_by_name(real: Any, says: str) -> None:
    async def main(net: Net) -> None:
        real()

    with pytest.raises(RealWorld, match=says):
        run(main)


def test_the_real_world_can_be_allowed_and_is_back_afterwards() -> None:
    async def main(net: Net) -> None:
        with pytest.raises(ValueError, match="sleep, threads, sockets, clock to allow"):
            net.allow_real("magic")
        net.allow_real("sleep", "threads")
        time.sleep(0)  # noqa: ASYNC251 - that is what is tested
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()

    before = time.sleep, threading.Thread.start, socket.socket.__dict__.get("connect")
    run(main)
    assert (time.sleep, threading.Thread.start, socket.socket.__dict__.get("connect")) == before


def test_what_a_test_says_is_in_the_trace() -> None:
    async def main(net: Net) -> list[str]:
        net.host("a")
        net.say("now it begins")
        net.say("hello", host="a")
        return [event.text for event in net.trace().events if isinstance(event, Said | Fault)]

    assert run(main) == ["now it begins", "hello"]


def test_one_seed_is_one_run() -> None:
    async def main(net: Net) -> Any:
        server, client = net.host("server"), net.host("client")
        net.netem("delay 10ms 5ms loss 10%")
        server.run(serve(bytes(50_000)))
        await client.run(fetch("server"))
        return net.trace().to_json()

    assert run(main, seed=1) == run(main, seed=1)
    assert run(main, seed=1) != run(main, seed=2)


def test_a_partition_separates_hosts_to_come() -> None:
    async def main(net: Net) -> list[object]:
        net.host("a").run(serve())
        net.host("b").run(serve())
        net.partition("a")
        c = net.host("c")
        asking = c.run(fetch("a"))
        got: list[object] = [await c.run(fetch("b"))]
        await net.sleep(10)
        got.append(asking.done())
        net.heal()
        await net.host("d").run(fetch("a"))
        await asking
        return got

    assert run(main) == [b"hello", False]


def test_a_test_that_never_ends() -> None:
    async def main(net: Net) -> None:
        async def try_for_ever() -> None:
            while True:  # noqa: ASYNC110 - that is what is tested
                await asyncio.sleep(60)

        await net.host("a").run(try_for_ever())

    with pytest.raises(TooLong, match=r"not over after 86400 s(.|\n)*a: .*try_for_ever"):
        run(main)
    with pytest.raises(TooLong, match="not over after 600 s"):
        run(main, net=Net(limit=600))

    async def limited(net: Net) -> None:
        net.limit = 300
        await main(net)

    with pytest.raises(TooLong, match="not over after 300 s"):
        run(limited)


def test_a_name_that_is_asked_for_again_and_again() -> None:
    async def main(net: Net) -> None:
        net.limit = 10

        async def try_for_ever() -> None:
            while True:
                try:
                    await fetch("sever")
                except OSError:
                    await asyncio.sleep(1)

        await net.host("client").run(try_for_ever())

    with pytest.raises(TooLong) as caught:
        run(main)
    assert caught.value.__notes__[0] == "'sever' was asked for, and is no host of this network"


def test_a_program_that_failed_is_why_others_did() -> None:
    """Though it is the others that the test awaits, and the cycle keeps its task alive."""

    async def main(net: Net) -> None:
        async def broken() -> None:
            kept: list[object] = []
            try:
                raise ZeroDivisionError("no server")
            except ZeroDivisionError as exc:
                kept.append((exc, kept))
                raise

        net.host("server").run(broken())
        await net.host("client").run(fetch("server"))

    with pytest.raises(ZeroDivisionError, match="no server") as caught:
        run(main)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert "in the program 'server: broken', which nobody awaited" in caught.value.__notes__


async def connect(net: Net) -> None:
    await asyncio.open_connection("server", 80)


async def listen(net: Net) -> None:
    await asyncio.start_server(lambda reader, writer: None, port=80)


async def no_call(net: Net) -> None:
    net.host("a").run(serve)  # type: ignore[arg-type]


async def called(net: Net) -> None:
    coroutine = serve()
    try:
        net.host("a").start(coroutine)  # type: ignore[arg-type]
    finally:
        coroutine.close()


async def twice(net: Net) -> None:
    net.host("a")
    net.host("a")


async def unknown(net: Net) -> None:
    net.host("server")
    net.link("server", "client")


async def words(net: Net) -> None:
    net.netem("latency 40ms")


async def datagrams(net: Net) -> None:
    async def program() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("0.0.0.0", 53))

    await net.host("a").run(program())


@pytest.mark.parametrize(
    ("mistake", "kind", "says"),
    [
        (connect, RuntimeError, r"outside of any host: .*net\.host\('client'\)\.run"),
        (listen, RuntimeError, r"create_server\(\) outside of any host"),
        (no_call, TypeError, r"as in run\(program\(\)\)"),
        (called, TypeError, r"as in start\(program\)"),
        (twice, ValueError, "there is a host 'a' already"),
        (unknown, KeyError, "^no host is called 'client'; there are server"),
        (words, ValueError, "unknown word 'latency' in 'latency 40ms'"),
        (datagrams, RuntimeError, "create_datagram_endpoint.* speak TCP only"),
    ],
)
def test_mistakes_are_told(mistake: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        run(mistake)


async def hold(told: list[str]) -> None:
    """A server whose connections stay open."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(10):
            told.append(f"{number}")
            await asyncio.sleep(1)

    async with await asyncio.start_server(answer, port=80) as server:
        await server.serve_forever()


def test_a_test_may_end_while_connections_are_open() -> None:
    async def main(net: Net) -> float:
        server, client = net.host("server"), net.host("client")
        server.run(hold([]))
        await client.run(keep(kept))
        net.partition()
        return net.now

    async def keep(kept: list[object]) -> None:
        kept += await asyncio.open_connection("server", 80)

    kept: list[object] = []
    assert run(main) == 0
    assert len(kept) == 2


def test_everything_on_a_host_stops_when_it_crashes() -> None:
    """Also what its server started, which is no task of the test's."""

    async def main(net: Net) -> list[str]:
        server, client = net.host("server"), net.host("client")
        told: list[str] = []
        server.run(hold(told))
        asking = client.run(fetch("server"))
        await net.sleep(2.5)
        server.crash()
        await net.sleep(60)
        asking.cancel()
        return told

    assert run(main) == ["0", "1", "2"]
