"""What a new user gets wrong first is told in one clear message, with the error of asyncio's."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aiotcp
from aiotcp import Options, Stack
from aiotcp.link import Udp, Unix, memory, network
from aiotcp.routing import StackLoop
from tests.support.netns import netns as netns

HERE, THERE = "192.0.2.1", "192.0.2.2"


def stack(*addresses: str) -> Stack:
    return Stack(memory.pair()[0], addresses=addresses or [HERE])


# The stack


def test_the_pair_that_open_tun_returns_is_no_link() -> None:
    opened: Any = (memory.pair()[0], "what was configured")
    with pytest.raises(TypeError, match=r"not a tuple: open_tun\(\) returns its link first, \[0\]"):
        Stack(opened)


@pytest.mark.parametrize("link", [None, "aiotcp0", object()])
def test_what_is_no_link_is_named(link: Any) -> None:
    with pytest.raises(TypeError, match="link must be a link, not"):
        Stack(link)


def test_options_of_a_stack_may_be_a_mapping_as_those_of_a_connection_may() -> None:
    made = Stack(memory.pair()[0], addresses=[HERE], options={"cc": "bbr", "memory_limit": 1 << 20})
    assert made.options == Options(cc="bbr", memory_limit=1 << 20)


@pytest.mark.parametrize("addresses", [None, 5, HERE, [1], [None]])
def test_addresses_are_a_list_of_strings(addresses: Any) -> None:
    with pytest.raises(TypeError, match=r"must be a (list of strings|string), not"):
        Stack(memory.pair()[0], addresses=addresses)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"ccc": "bbr"}, TypeError, "did you mean 'cc'"),
        ({"mss": -1}, ValueError, "mss must be between"),
        (5, TypeError, "options must be Options or a mapping"),
    ],
)
def test_options_that_there_are_not(options: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        Stack(memory.pair()[0], addresses=[HERE], options=options)


def test_a_stack_lives_once() -> None:
    async def main() -> None:
        pass

    once = stack()
    aiotcp.run(main(), stack=once)
    again = main()
    with pytest.raises(RuntimeError, match="the stack is closed"):
        aiotcp.run(again, stack=once)
    again.close()


# The loop


def test_a_link_in_the_place_of_a_stack() -> None:
    link: Any = memory.pair()[0]
    with pytest.raises(TypeError, match=r"an aiotcp\.Stack was expected, got <MemoryLink"):
        aiotcp.EventLoop(link)


def test_routes_name_stacks_and_the_kernel_and_nothing_else() -> None:
    routes: Any = {"10.0.0.0/8": "kernel"}
    with pytest.raises(TypeError, match=r"an aiotcp\.Stack was expected, got 'kernel'"):
        aiotcp.EventLoop(stack(), routes=routes)
    numbers: Any = [1]
    with pytest.raises(TypeError, match="a prefix must be a string, not 1"):
        aiotcp.EventLoop(stack(), routes=numbers)


@pytest.mark.parametrize("factory", [aiotcp.EventLoop, aiotcp.AsyncioEventLoop])
def test_routes_to_no_stack(factory: Callable[..., StackLoop]) -> None:
    with pytest.raises(ValueError, match="routes without a stack"):
        factory(routes=["10.0.0.0/8"])


def test_an_address_belongs_to_one_stack_of_a_loop() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, StackLoop)
        first = loop.stack
        assert first is not None
        loop.add_stack(first, ["10.0.0.0/8"])  # more routes for the same one
        assert loop.stacks == [first]
        second = Stack(memory.pair()[0], addresses=[THERE, HERE])
        with pytest.raises(ValueError, match=r"<Stack 192\.0\.2\.1> has that already"):
            loop.add_stack(second)
        await first.aclose()
        loop.add_stack(second)  # the other one is over
        assert loop.stacks == [second]
        async with await asyncio.start_server(lambda _, writer: writer.close(), HERE, 7):
            reader, writer = await asyncio.open_connection(HERE, 7)
            assert await reader.read() == b""
            writer.close()

    aiotcp.run(main(), stack=stack())


def test_a_run_inside_of_a_run_says_what_asyncio_says() -> None:
    async def main() -> None:
        inner = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="cannot be called from a running event loop"):
            aiotcp.run(inner, stack=stack(THERE))
        inner.close()

    aiotcp.run(main(), stack=stack())


async def test_a_connection_that_could_not_be_begun_does_not_spoil_the_end() -> None:
    """A stack whose loop's clock fails amid `connect()`; as with a loop that is closed."""
    here = stack()

    def broken(flow: bytes) -> Any:
        raise RuntimeError("Event loop is closed")

    reports: list[dict[str, Any]] = []
    here.loop.set_exception_handler(lambda _, context: reports.append(context))
    here.link.send = broken  # type: ignore[method-assign, assignment]
    with pytest.raises(RuntimeError, match="closed"):
        await here.open_connection(THERE, 7)
    del here.link.send
    await here.aclose()
    assert reports == []


# Links


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:7001", ("127.0.0.1",)])
def test_an_address_without_a_port(address: Any) -> None:
    with pytest.raises(TypeError, match="an address is a host and a port, not"):
        Udp(address)
    with pytest.raises(TypeError, match="an address is a host and a port, not"):
        Udp(("127.0.0.1", 0), peer=address)


@pytest.mark.parametrize("mtu", ["1500", 1500.0])
def test_an_mtu_is_a_whole_number(mtu: Any) -> None:
    with pytest.raises(TypeError, match="mtu must be a whole number of bytes"):
        Udp(("127.0.0.1", 0), mtu=mtu)


def test_errors_of_links_name_the_place(tmp_path: Path) -> None:
    udp = Udp(("127.0.0.1", 0))
    with pytest.raises(OSError, match=f"127.0.0.1:{udp.address[1]}") as refused:
        Udp(udp.address)
    assert refused.value.errno == errno.EADDRINUSE
    udp.close()
    missing = tmp_path / "none" / "socket"
    with pytest.raises(FileNotFoundError, match=str(missing)):
        Unix(str(missing), peer="/else")


@pytest.mark.parametrize("mtu", [67, 65536])
def test_an_mtu_that_no_device_has(mtu: int) -> None:
    with pytest.raises(ValueError, match=f"mtu must be 68 to 65535 bytes, not {mtu}"):
        network.configure("none0", mtu=mtu)


async def test_in_a_running_loop_devices_are_configured_elsewhere() -> None:
    with pytest.raises(RuntimeError, match=r"await network.off_loop\(open_tun, \.\.\.\)"):
        network.configure("none0")


@pytest.mark.tun
@pytest.mark.usefixtures("netns")
def test_connections_over_a_deleted_device_say_which() -> None:
    async def main() -> None:
        server = await asyncio.start_server(lambda _, writer: None, THERE, 7)
        reader, writer = await asyncio.open_connection(THERE, 7)
        await network.off_loop(network.delete, tun.name)
        with pytest.raises(OSError, match="No such device: aiotcp0 is gone") as lost:
            await reader.read()
        assert lost.value.errno == errno.ENODEV
        writer.close()
        server.close()

    tun, _ = network.open_tun()
    aiotcp.run(main(), stack=Stack(tun))


@pytest.mark.tun
@pytest.mark.usefixtures("netns")
def test_a_device_that_is_forgotten_is_named_and_goes() -> None:
    tun, _ = network.open_tun()
    number = tun.fileno()
    with pytest.warns(ResourceWarning, match="unclosed device <Tun aiotcp0 open") as warned:
        del tun
    assert len(warned) == 1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
