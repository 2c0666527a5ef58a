"""loop.create_connection(): whose an address is, and all arguments of asyncio's on every loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import warnings
from collections.abc import Awaitable, Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import aiotcp
from aiotcp import Options, Stack
from aiotcp.anywhere import scoped
from aiotcp.client import Resolved
from aiotcp.link import memory
from tests.eventloop.world import (
    HERE,
    PEER,
    LoopFactory,
    ask,
    greet,
    naming,
    nothing_left,
    open_descriptors,
    turns,
    two,
    unfinished,
)
from tests.support.netns import obstacle, private_network

PEM = Path(__file__).parents[1] / "support" / "tls" / "self-signed.pem"


def test_a_wildcard_as_destination_is_this_host(loop_factory: LoopFactory) -> None:
    """What Linux makes of it: programs connect to what `getsockname()` of a listener says."""
    stack, _ = two()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(greet, None, 7)
        for sock in server.sockets:
            assert await ask(*sock.getsockname()[:2]) == b"stack hello\n"
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, ("0.0.0.0", 7))
            assert sock.getpeername() == (HERE, 7)

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_an_ipv4_address_in_ipv6_form(loop_factory: LoopFactory, loopback: None) -> None:
    stack, link = two()

    async def main() -> None:
        async with await asyncio.start_server(greet, "127.0.0.1", 7):
            assert await ask("::ffff:127.0.0.1", 7) == b"kernel hello\n"
        other = Stack(link, addresses=[PEER])
        await other.start_server(greet, PEER, 7)
        assert await ask(f"::ffff:{PEER}", 7) == b"stack hello\n"
        await other.aclose()

    aiotcp.run(main(), stack=stack, routes=["192.0.2.0/24"], loop_factory=loop_factory)


def test_stacks_that_routes_name_live_on_the_loop(loop_factory: LoopFactory) -> None:
    stack, _ = two()
    left, right = memory.pair()
    second = Stack(right, addresses=["10.0.0.2"])

    async def main() -> bytes:
        other = Stack(left, addresses=["10.0.0.1"])
        await other.start_server(greet, "10.0.0.1", 7)
        answer = await ask("10.0.0.1", 7)
        await other.aclose()
        return answer

    routes = {"0.0.0.0/0": stack, "10.0.0.0/8": second}
    answer = aiotcp.run(main(), stack=stack, routes=routes, loop_factory=loop_factory)
    assert answer == b"stack hello\n"
    assert second.closed


def test_a_local_address_says_which_way_to_go(loop_factory: LoopFactory) -> None:
    stack, _ = two()
    left, right = memory.pair()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        loop.add_stack(Stack(right, addresses=["10.0.0.2"]))
        other = Stack(left, addresses=[PEER])
        await other.start_server(greet, PEER, 7)
        _, writer = await asyncio.open_connection(PEER, 7, local_addr=("10.0.0.2", 999))
        assert writer.get_extra_info("sockname") == ("10.0.0.2", 999)
        writer.close()
        await other.aclose()
        with pytest.raises(OSError, match=r"bind on address \('203\.0\.113\.1', 0\)"):
            await asyncio.open_connection(PEER, 7, local_addr=("203.0.113.1", 0))

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_a_current_stack_has_its_own_addresses_whatever_the_routes(
    loop_factory: LoopFactory,
) -> None:
    stack, link = two()

    async def main() -> bytes:
        async with Stack(link, addresses=["203.0.113.9"]):
            await asyncio.start_server(greet, "203.0.113.9", 7)
            return await ask("203.0.113.9", 7)

    answer = aiotcp.run(main(), stack=stack, routes=["10.0.0.0/8"], loop_factory=loop_factory)
    assert answer == b"stack hello\n"


def test_the_current_stack_is_not_for_other_loops(loop_factory: LoopFactory) -> None:
    stack, link = two()

    async def main() -> None:
        def in_thread() -> None:
            with pytest.raises(RuntimeError, match="another event loop"):
                asyncio.run(aiotcp.open_connection(PEER, 7))

        async with Stack(link, addresses=[PEER]):
            await asyncio.to_thread(in_thread)

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


@pytest.mark.parametrize(
    "found", [[f"{PEER}:9", "127.0.0.1:8"], ["127.0.0.1:8", "127.0.0.1:9"], ["127.0.0.1:8"]]
)
def test_all_errors(loop_factory: LoopFactory, loopback: None, found: list[str]) -> None:
    stack, link = two()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        other = Stack(link, addresses=[PEER])
        with pytest.raises(ExceptionGroup, match="create_connection failed") as caught:
            await loop.create_connection(asyncio.Protocol, "name", 8, all_errors=True)
        assert [type(exc) for exc in caught.value.exceptions] == [ConnectionRefusedError] * len(
            found
        )
        assert loop.asked == ["name"]
        await other.aclose()

    aiotcp.run(main(), stack=stack, loop_factory=naming(loop_factory, {"name": found}))


@pytest.mark.parametrize("found", [[f"{PEER}:7", "127.0.0.1"], ["127.0.0.1", f"{PEER}:7"]])
def test_happy_eyeballs_over_both(
    loop_factory: LoopFactory, loopback: None, found: list[str]
) -> None:
    """The stack's peer is silent; the kernel's has its turn beside it."""
    stack, link = two()

    async def main() -> bytes:
        silent = Stack(link, addresses=[PEER])
        await silent.aclose()
        async with await asyncio.start_server(greet, "127.0.0.1", 7):
            answer = await ask("name", 7, happy_eyeballs_delay=0.01)
        assert not unfinished(stack)
        return answer

    answer = aiotcp.run(main(), stack=stack, loop_factory=naming(loop_factory, {"name": found}))
    assert answer == b"kernel hello\n"


def test_a_name_is_asked_for_once_and_one_protocol_made(
    loop_factory: LoopFactory, loopback: None
) -> None:
    stack, link = two()
    names = {"kernel": ["127.0.0.1:8", "127.0.0.1"], "both": [f"{PEER}:8", "127.0.0.1"]}

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        other = Stack(link, addresses=[PEER])
        made: list[asyncio.Protocol] = []

        def factory() -> asyncio.Protocol:
            made.append(asyncio.Protocol())
            return made[-1]

        async with await asyncio.start_server(greet, "127.0.0.1", 7):
            before = open_descriptors()
            for name in names:
                transport, protocol = await loop.create_connection(factory, name, 7)
                transport.abort()
                assert made == [protocol]
                made.clear()
            await nothing_left(stack, before)
        assert loop.asked == list(names)
        await other.aclose()

    aiotcp.run(main(), stack=stack, loop_factory=naming(loop_factory, names))


def test_the_kernel_takes_all_arguments(loop_factory: LoopFactory, loopback: None) -> None:
    stack, _ = two()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        async with await asyncio.start_server(greet, "127.0.0.1", 7):
            before = open_descriptors()
            for kwds in ({"all_errors": True}, {"happy_eyeballs_delay": 1, "interleave": 1}):
                assert await ask("127.0.0.1", 7, **kwds) == b"kernel hello\n"
            _, writer = await asyncio.open_connection(
                "localhost", 7, local_addr=("127.0.0.3", 0), all_errors=True
            )
            assert writer.get_extra_info("sockname")[0] == "127.0.0.3"
            writer.close()
            await nothing_left(stack, before)
        for call in (loop.create_connection, loop.create_server):
            for host in (PEER, "127.0.0.1"):
                with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
                    await call(asyncio.Protocol, host, 7, nonsense=1)

    aiotcp.run(main(), stack=stack, loop_factory=loop_factory)


def test_options_for_a_name_with_addresses_of_both(loop_factory: LoopFactory) -> None:
    """Told at once, not only when the kernel's turn comes."""
    stack, link = two()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        other = Stack(link, addresses=[PEER])
        await other.start_server(greet, PEER, 7)
        with pytest.raises(ValueError, match="options"):
            await loop.create_connection(asyncio.Protocol, "name", 7, options={"cc": "bbr"})
        await other.aclose()

    names = {"name": [PEER, "127.0.0.1"]}
    aiotcp.run(main(), stack=stack, loop_factory=naming(loop_factory, names))


def test_the_zone_of_a_link_local_address_goes_along(loop_factory: LoopFactory) -> None:
    if obstacle():
        pytest.skip(obstacle())
    stack, link = two()

    async def main() -> None:
        other = Stack(link, addresses=[PEER])
        for hosts in ("fe80::1%lo", [HERE, "fe80::1%lo"]):
            server = await asyncio.start_server(greet, hosts, 7)
            for name in ("fe80::1%lo", "name"):
                assert await ask(name, 7, family=socket.AF_INET6) == b"kernel hello\n"
            server.close()
            await server.wait_closed()
        await other.aclose()

    class Loop(loop_factory):  # type: ignore[valid-type,misc]
        async def getaddrinfo(self, host: Any, port: Any, **kwds: Any) -> Any:
            found = socket.getaddrinfo("fe80::1%lo" if host == "name" else host, port, **kwds)
            if host == "name":
                found.insert(0, (socket.AF_INET, socket.SOCK_STREAM, 6, "", (PEER, 9)))
            return found

    with private_network():
        for command in ("link set lo up", "address add fe80::1/64 dev lo nodad"):
            subprocess.run(["ip", *command.split()], check=True)
        aiotcp.run(main(), stack=stack, loop_factory=Loop)


def test_a_zone_and_an_address_as_one_string() -> None:
    assert scoped(Resolved(socket.AF_INET6, ("fe80::1", 7, 0, 3_000_000))) == "fe80::1%3000000"
    assert scoped(Resolved(socket.AF_INET6, ("fe80::1%eth0", 7, 0, 3))) == "fe80::1%eth0"
    assert scoped(Resolved(socket.AF_INET6, ("fd61::1", 7, 0, 0))) == "fd61::1"
    assert scoped(Resolved(socket.AF_INET, ("192.0.2.1", 7))) == "192.0.2.1"


# Cancelled at any turn of the loop, nothing is left


def client_tls() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=PEM)
    context.check_hostname = False
    return context


async def by_name(loop: Any, name: str, **kwds: Any) -> Any:
    return await loop.create_connection(asyncio.Protocol, name, 7, **kwds)


async def by_name_with_tls(loop: Any, name: str, **kwds: Any) -> Any:
    context = client_tls()
    return await by_name(loop, name, ssl=context, server_hostname="stack.test", **kwds)


async def by_socket(loop: Any, name: str, **kwds: Any) -> Any:
    sock = socket.socket()
    sock.setblocking(False)
    try:
        await loop.sock_connect(sock, (name, 7))
        return await loop.create_connection(asyncio.Protocol, sock=sock, **kwds)
    except BaseException:
        sock.close()
        raise


async def by_socket_with_tls(loop: Any, name: str) -> Any:
    return await by_socket(loop, name, ssl=client_tls(), server_hostname="stack.test")


async def at_once(loop: Any, name: str) -> Any:
    return await by_name(loop, name, happy_eyeballs_delay=0)


NAMES = {
    "stack": [PEER],
    "kernel": ["127.0.0.1:9", "127.0.0.1"],
    "both": [f"{PEER}:9", "127.0.0.1:9", PEER, "127.0.0.1"],
}


@pytest.mark.parametrize(
    ("connect", "name"),
    [
        *product([by_name, by_name_with_tls, at_once], NAMES),
        *product([by_socket, by_socket_with_tls], ["stack"]),
    ],
)
def test_cancellation_leaves_nothing(
    loop_factory: LoopFactory,
    loopback: None,
    connect: Callable[[Any, str], Awaitable[Any]],
    name: str,
) -> None:
    stack, link = two()
    reports: list[Any] = []

    async def main() -> int:
        loop: Any = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(context))
        other = Stack(link, addresses=[PEER])
        context = None
        if "tls" in connect.__name__:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(PEM)
        await other.create_server(asyncio.Protocol, PEER, 7, ssl=context)
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 7, ssl=context)
        bound = set(map(str, range(1000)))
        cancelled = 0
        for count in range(60):
            attempt = asyncio.ensure_future(connect(loop, name))
            await turns(count)
            if attempt.done():
                attempt.result()[0].abort()
                del attempt
                break
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
            cancelled += 1
            del attempt
            if count == 0:
                bound = open_descriptors()
            await nothing_left(stack, bound)
        server.close()
        await other.aclose(0)
        return cancelled

    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        loops = naming(loop_factory, NAMES)
        assert aiotcp.run(main(), stack=stack, grace=0, loop_factory=loops) > 3
    assert not reports


def test_a_connection_that_no_protocol_wants_is_closed(
    loop_factory: LoopFactory, loopback: None
) -> None:
    stack, link = two(options=Options(time_wait_s=0))

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        other = Stack(link, addresses=[PEER])
        await other.start_server(greet, PEER, 7)
        server = await asyncio.start_server(greet, "127.0.0.1", 7)
        before = open_descriptors()
        for name in ("stack", "both", "kernel"):
            with pytest.raises(ZeroDivisionError):
                await loop.create_connection(lambda: 1 / 0, name, 7)
        await nothing_left(stack, before)
        server.close()
        await other.aclose()

    names = {
        "stack": [PEER],
        "both": [f"{PEER}:9", "127.0.0.1"],
        "kernel": ["127.0.0.1:9", "127.0.0.1"],
    }
    aiotcp.run(main(), stack=stack, loop_factory=naming(loop_factory, names))
