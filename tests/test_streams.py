"""What the stack adds to asyncio's contract: how it is found, its addresses, its end."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

import aiotcp
from aiotcp import Options, Stack
from aiotcp.link import memory

HERE, THERE = "192.0.2.1", "192.0.2.2"
HERE6, THERE6 = "fd61:696f:7463:70::1", "fd61:696f:7463:70::2"
QUICK = Options(syn_retries=1, retries2=3)


@pytest_asyncio.fixture
async def stacks() -> AsyncIterator[tuple[Stack, Stack]]:
    """Two hosts, each with both kinds of address; those here give up quickly."""
    left, right = memory.pair()
    async with (
        Stack(left, addresses=[HERE, HERE6], options=QUICK, seed=b"here") as here,
        Stack(right, addresses=[THERE, THERE6], seed=b"there") as there,
    ):
        yield here, there


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")
    writer.close()


async def greeting(stack: Stack, host: str, port: int, **kwds: Any) -> bytes:
    reader, writer = await stack.open_connection(host, port, **kwds)
    data = await reader.read()
    writer.close()
    await writer.wait_closed()
    return data


def resolving(stack: Stack, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name of the stack's loop stand for `addresses`."""

    async def getaddrinfo(host: str, port: int, **kwds: Any) -> list[Any]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]

    monkeypatch.setattr(stack.loop, "getaddrinfo", getaddrinfo)


# Which stack


async def test_functions_of_the_module_use_the_current_stack_or_the_one_given(
    stacks: tuple[Stack, Stack],
) -> None:
    here, there = stacks
    server = await aiotcp.start_server(hello, THERE, 80, stack=there)
    async with here:  # not again in real programs; it makes `here` the current one
        assert aiotcp.current_stack() is here
        reader, writer = await aiotcp.open_connection(THERE, 80)
        assert await reader.read() == b"hello"
        writer.close()
        transport, _ = await aiotcp.create_connection(asyncio.Protocol, THERE, 80, stack=here)
        transport.abort()
        server.close()
        await server.wait_closed()
        other = await aiotcp.create_server(asyncio.Protocol, THERE, 80, stack=there)
        other.close()


async def test_blocks_nest() -> None:
    with pytest.raises(RuntimeError, match="pass stack=, be inside 'async with Stack"):
        aiotcp.current_stack()
    left, right = memory.pair()
    async with Stack(left) as outer:
        async with Stack(right) as inner:
            assert aiotcp.current_stack() is inner
            found = await asyncio.create_task(_current())
            assert found is inner
        assert aiotcp.current_stack() is outer
    with pytest.raises(RuntimeError, match="no current stack"):
        await aiotcp.open_connection(THERE, 80)


async def _current() -> Stack:
    return aiotcp.current_stack()


async def test_a_block_can_be_left_in_another_context() -> None:
    left, _ = memory.pair()
    stack = Stack(left)
    await asyncio.create_task(_enter(stack))
    await asyncio.create_task(_leave(stack))
    assert stack.closed


async def _enter(stack: Stack) -> None:
    await stack.__aenter__()


async def _leave(stack: Stack) -> None:
    await stack.__aexit__(None, None, None)


# Addresses


async def test_ipv6(stacks: tuple[Stack, Stack]) -> None:
    here, there = stacks
    names: list[Any] = []

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        names.append(writer.get_extra_info("sockname"))
        names.append(writer.get_extra_info("peername"))
        await hello(reader, writer)

    async with await there.start_server(tell, THERE6, 80) as server:
        (sock,) = server.sockets
        assert sock.family == socket.AF_INET6
        assert sock.getsockname() == (THERE6, 80, 0, 0)
        reader, writer = await here.open_connection(THERE6, 80)
        assert await reader.read() == b"hello"
        assert writer.get_extra_info("peername") == (THERE6, 80, 0, 0) == names[0]
        assert writer.get_extra_info("sockname") == names[1]
        assert writer.get_extra_info("socket").family == socket.AF_INET6
        assert f"remote=[{THERE6}]:80" in repr(writer.transport)
        writer.close()


@pytest.mark.parametrize("host", [None, ""])
async def test_no_host_means_every_address(stacks: tuple[Stack, Stack], host: str | None) -> None:
    here, there = stacks
    async with await there.start_server(hello, host, 80) as server:
        assert [sock.getsockname() for sock in server.sockets] == [
            ("0.0.0.0", 80),
            ("::", 80, 0, 0),
        ]
        assert await greeting(here, THERE, 80) == b"hello"
        assert await greeting(here, THERE6, 80) == b"hello"


async def test_no_host_and_one_family(stacks: tuple[Stack, Stack]) -> None:
    here, there = stacks
    async with await there.start_server(hello, None, 80, family=socket.AF_INET6):
        assert await greeting(here, THERE6, 80) == b"hello"
        with pytest.raises(ConnectionRefusedError):
            await greeting(here, THERE, 80)


async def test_a_stack_of_one_family_has_one_wildcard() -> None:
    left, _ = memory.pair()
    async with Stack(left, addresses=[HERE]) as stack:
        server = await stack.create_server(asyncio.Protocol, None, 0)
        assert [sock.getsockname()[0] for sock in server.sockets] == ["0.0.0.0"]
        server.close()


async def test_several_hosts_and_any_port(stacks: tuple[Stack, Stack]) -> None:
    here, there = stacks
    async with await there.start_server(hello, [THERE, THERE6], 0) as server:
        first, second = (sock.getsockname() for sock in server.sockets)
        assert await greeting(here, THERE, first[1]) == b"hello"
        assert await greeting(here, THERE6, second[1]) == b"hello"


async def test_addresses_of_others_are_passed_over_if_one_is_ours(
    stacks: tuple[Stack, Stack],
) -> None:
    _, there = stacks
    async with await there.start_server(hello, ["198.51.100.1", THERE], 80) as server:
        assert [sock.getsockname() for sock in server.sockets] == [(THERE, 80)]


async def test_literal_addresses_ask_no_resolver(
    stacks: tuple[Stack, Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(*args: Any, **kwds: Any) -> list[Any]:
        raise AssertionError("asked")

    here, there = stacks
    monkeypatch.setattr(here.loop, "getaddrinfo", getaddrinfo)
    async with await there.start_server(hello, [THERE, THERE6], 80):
        assert await greeting(here, THERE, 80) == b"hello"
        assert await greeting(here, THERE6, 80, local_addr=(HERE6, 0)) == b"hello"


async def test_addresses_of_a_name_have_their_turn_in_order(
    stacks: tuple[Stack, Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = stacks
    resolving(here, monkeypatch, "192.0.2.99", THERE6, THERE)
    async with await there.start_server(hello, THERE, 80):
        before = here.loop.time()
        assert await greeting(here, "a.name", 80) == b"hello"
        assert here.loop.time() - before == pytest.approx(3.0)  # a SYN, and one more after 1 s


async def test_all_addresses_of_a_name_fail(
    stacks: tuple[Stack, Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, _ = stacks
    resolving(here, monkeypatch, THERE, THERE6)
    with pytest.raises(OSError, match=r"^Multiple exceptions: \[Errno 111\] Connect call failed"):
        await here.open_connection("a.name", 80)
    with pytest.raises(ExceptionGroup, match="create_connection failed") as group:
        await here.open_connection("a.name", 80, all_errors=True)
    assert [type(exc) for exc in group.value.exceptions] == [ConnectionRefusedError] * 2
    resolving(here, monkeypatch, THERE, THERE)
    with pytest.raises(ConnectionRefusedError):
        await here.open_connection("a.name", 80)


async def test_interleaving(stacks: tuple[Stack, Stack], monkeypatch: pytest.MonkeyPatch) -> None:
    here, _ = stacks
    fours = [f"192.0.2.{last}" for last in (50, 51, 52)]
    resolving(here, monkeypatch, *fours, THERE6)
    tried: list[str] = []

    def recording(remote: aiotcp.Endpoint, **kwds: Any) -> Any:
        tried.append(remote.host)
        raise OSError(errno.EHOSTUNREACH, "no")

    monkeypatch.setattr(here, "connect", recording)
    for first_count, expected in (
        (None, [*fours, THERE6]),
        (1, [fours[0], THERE6, *fours[1:]]),
        (2, [*fours[:2], THERE6, fours[2]]),
    ):
        tried.clear()
        with pytest.raises(OSError, match="no"):
            await here.open_connection("a.name", 80, interleave=first_count)
        assert tried == expected


async def test_an_unreachable_family() -> None:
    left, _ = memory.pair()
    async with Stack(left, addresses=[HERE]) as stack:
        with pytest.raises(OSError, match="unreachable") as caught:
            await stack.open_connection(THERE6, 80)
        assert caught.value.errno == errno.ENETUNREACH


@pytest.mark.req("MUST-46")
@pytest.mark.parametrize("host", ["255.255.255.255", "224.0.0.1", "0.0.0.0", "ff02::1", "::"])
async def test_nobody_connects_to_many(stacks: tuple[Stack, Stack], host: str) -> None:
    here, _ = stacks
    before = here.counters.packets_sent
    with pytest.raises(OSError, match="unreachable") as caught:
        await here.open_connection(host, 80)
    assert caught.value.errno == errno.ENETUNREACH
    assert here.counters.packets_sent == before


@pytest.mark.req("MUST-42")
async def test_listening_on_the_port_of_an_attempt(stacks: tuple[Stack, Stack]) -> None:
    here, there = stacks
    attempt = asyncio.create_task(here.open_connection("192.0.2.99", 80, local_addr=(HERE, 8080)))
    await asyncio.sleep(0)
    async with await here.start_server(hello, HERE, 8080):
        assert await greeting(there, HERE, 8080) == b"hello"
    with pytest.raises(TimeoutError):
        await attempt


@pytest.mark.req("MUST-22", "MUST-23")
async def test_an_attempt_lasts_three_minutes_by_default() -> None:
    left, _ = memory.pair()
    async with Stack(left, addresses=[HERE]) as stack:
        before = stack.loop.time()
        with pytest.raises(TimeoutError):
            await stack.open_connection("192.0.2.99", 80)
        assert stack.loop.time() - before >= 180


async def test_nobody_answers(stacks: tuple[Stack, Stack]) -> None:
    here, _ = stacks
    with pytest.raises(TimeoutError, match="Connect call failed") as caught:
        await here.open_connection("192.0.2.99", 80)
    assert caught.value.errno == errno.ETIMEDOUT
    assert here.connections() == []


@pytest.mark.req("MUST-20", "ST-25")
async def test_the_peer_vanishes(stacks: tuple[Stack, Stack]) -> None:
    here, there = stacks
    await there.start_server(hold, THERE, 80)
    reader, writer = await here.open_connection(THERE, 80)
    there.link.close()
    writer.write(b"anybody there?")
    with pytest.raises(TimeoutError) as caught:
        await reader.read()
    assert caught.value.errno == errno.ETIMEDOUT
    with pytest.raises(TimeoutError):
        await writer.wait_closed()


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve until the peer closes, or something else happens."""
    try:
        await reader.read()
    except OSError:
        pass
    writer.close()


async def test_cancelling_an_attempt_leaves_nothing(stacks: tuple[Stack, Stack]) -> None:
    here, _ = stacks
    attempt = asyncio.create_task(here.open_connection("192.0.2.99", 80))
    await asyncio.sleep(0)
    assert [info.state for info in here.connections()] == ["SYN-SENT"]
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    assert here.connections() == []


async def test_a_factory_that_fails_closes_the_connection(stacks: tuple[Stack, Stack]) -> None:
    def fail() -> asyncio.Protocol:
        raise RuntimeError("a bug")

    here, there = stacks
    async with await there.start_server(hold, THERE, 80) as server:
        with pytest.raises(RuntimeError, match="a bug"):
            await here.create_connection(fail, THERE, 80)
        server.close()
        await server.wait_closed()


# The end of a stack


async def test_closing_a_stack_closes_its_connections() -> None:
    left, right = memory.pair()
    async with Stack(left, addresses=[HERE]) as here:
        async with Stack(right, addresses=[THERE]) as there:
            received = there.loop.create_future()

            async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                received.set_result(await reader.read())
                writer.close()

            await here.start_server(receive, HERE, 80)
            _, writer = await there.open_connection(HERE, 80)
            data = bytes(8 * 1024 * 1024)
            writer.write(data)
            assert writer.transport.get_write_buffer_size() > 0
        assert writer.is_closing()
        await writer.wait_closed()
        assert await received == data
        with pytest.raises(RuntimeError, match="the stack is closed"):
            await there.open_connection(HERE, 80)
        with pytest.raises(RuntimeError, match="the stack is closed"):
            await there.start_server(receive, THERE, 80)


async def test_closing_a_stack_ends_what_does_not_end_by_itself() -> None:
    left, right = memory.pair()
    async with Stack(left, addresses=[HERE]) as here:
        there = Stack(right, addresses=[THERE])
        server = await here.create_server(asyncio.Protocol, HERE, 80)
        attempt = asyncio.create_task(there.open_connection("192.0.2.99", 80))
        _, writer = await there.open_connection(HERE, 80)
        left.close()
        writer.write(bytes(8 * 1024 * 1024))
        before = there.loop.time()
        await there.aclose(grace=5.0)
        assert there.loop.time() - before == 5.0
        with pytest.raises(ConnectionAbortedError):
            await attempt
        with pytest.raises(ConnectionAbortedError):
            await writer.wait_closed()
        server.close()


async def test_the_device_goes_away(stacks: tuple[Stack, Stack]) -> None:
    here, there = stacks
    async with await there.start_server(hold, THERE, 80):
        reader, writer = await here.open_connection(THERE, 80)
        attempt = asyncio.create_task(here.open_connection("192.0.2.99", 80))
        await asyncio.sleep(0)
        gone = OSError(errno.ENODEV, "No such device")
        here.link_lost(gone)
        with pytest.raises(OSError, match="No such device"):
            await reader.read()
        with pytest.raises(OSError, match="Connect call failed") as caught:
            await attempt
        assert caught.value.errno == errno.ENODEV
        with pytest.raises(OSError, match="No such device"):
            await writer.wait_closed()
        there.link_lost(gone)


async def test_a_transport_that_nobody_closes_warns() -> None:
    left, right = memory.pair()
    here, there = Stack(left, addresses=[HERE]), Stack(right, addresses=[THERE])
    server = await there.create_server(asyncio.Protocol, THERE, 80)
    transport, protocol = await here.create_connection(asyncio.Protocol, THERE, 80)
    del transport, protocol, here, there, server
    left.close()
    right.close()
    del left, right
    await asyncio.sleep(60)  # of virtual time: until no timer knows the stacks
    with pytest.warns(ResourceWarning, match="unclosed transport <Transport local="):
        gc.collect()


# What transports have beyond asyncio


@pytest.mark.req("MUST-32", "MUST-33")
async def test_a_protocol_is_told_of_urgent_data(stacks: tuple[Stack, Stack]) -> None:
    here, there = stacks
    told: list[int] = []

    class Listening(asyncio.Protocol):
        def __init__(self) -> None:
            self.lost = there.loop.create_future()

        def urgent_received(self, nbytes: int) -> None:
            told.append(nbytes)

        def connection_lost(self, exc: BaseException | None) -> None:
            self.lost.set_result(exc)

    protocol = Listening()
    await there.create_server(lambda: protocol, THERE, 80)
    transport, _ = await here.create_connection(asyncio.Protocol, THERE, 80)
    connection = transport.get_extra_info("connection")
    connection.send(b"look here", urgent=True)
    here.push(connection)
    transport.close()
    assert await protocol.lost is None
    assert told == [9]


async def test_closing_the_stack_ends_a_server_that_serves_for_ever() -> None:
    left, _ = memory.pair()
    stack = Stack(left, addresses=["192.0.2.1"])
    server = await stack.start_server(lambda reader, writer: None, "192.0.2.1", 80)
    forever = asyncio.ensure_future(server.serve_forever())
    await asyncio.sleep(0)
    await stack.aclose()
    with pytest.raises(asyncio.CancelledError):
        await forever
    assert not server.is_serving()
    await server.wait_closed()
