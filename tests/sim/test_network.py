"""The simulated network: names, links, partitions, crashes, scripted faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from aiotcp import sim
from aiotcp.reasons import Drop
from aiotcp.sim.network import Host, Network
from aiotcp.trace.story import story
from aiotcp.trace.watch import Recording


@asynccontextmanager
async def network(seed: object = 1, **hosts: str) -> AsyncIterator[Network]:
    """A network with hosts `a` and `b`, and those that are named, with their address."""
    made = Network(seed=seed, recording=Recording(samples=False))
    made.bind(asyncio.get_running_loop())
    for name, address in ({"a": "", "b": ""} | hosts).items():
        made.host(name, addresses=[address] if address else [])
    try:
        yield made
    finally:
        await made.aclose()


async def echo(host: Host, port: int = 7) -> None:
    async def program(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    await host.stack.start_server(program, host.address, port)


async def call(host: Host, other: Host, data: bytes = b"hello") -> bytes:
    """What comes back."""
    reader, writer = await host.stack.open_connection(other.address, 7)
    writer.write(data)
    writer.write_eof()
    back = await reader.read()
    writer.close()
    return back


async def test_hosts_get_addresses_and_reach_each_other() -> None:
    async with network(c="", d="fd00::1", e="fd00::2") as net:
        hosts = net.hosts
        assert [hosts[name].address for name in "abc"] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        await echo(hosts["c"])
        await echo(hosts["e"])
        assert await call(hosts["a"], hosts["c"]) == b"hello"
        assert await call(hosts["d"], hosts["e"]) == b"hello"


async def test_a_link_takes_its_time_in_each_direction() -> None:
    async with network() as net:
        loop = asyncio.get_running_loop()
        await echo(net.hosts["b"])
        net.link("a", "b").netem("delay 40ms", source="a")
        net.link("a", "b").netem("delay 10ms", source="b")
        began = loop.time()
        _, writer = await net.hosts["a"].stack.open_connection(net.hosts["b"].address, 7)
        assert loop.time() - began == pytest.approx(0.05)
        writer.close()


async def test_netem_for_all_links_is_for_those_to_come_as_well() -> None:
    async with network() as net:
        loop = asyncio.get_running_loop()
        net.netem("delay 1s")
        await echo(net.host("late"))
        began = loop.time()
        assert await call(net.hosts["a"], net.hosts["late"]) == b"hello"
        assert loop.time() - began >= 4


async def test_losses_are_repaired_and_counted() -> None:
    async with network() as net:
        await echo(net.hosts["b"])
        net.link("a", "b").netem("delay 5ms loss 5%")
        data = bytes(range(256)) * 1000
        assert await call(net.hosts["a"], net.hosts["b"], data) == data
        for way in (("a", "b"), ("b", "a")):
            assert 0 < net.counters(*way)["loss"] < net.counters(*way)["packets"] / 5


async def test_what_is_no_netem_is_refused_where_it_is_said() -> None:
    async with network() as net:
        for place in (net, net.link("a", "b")):
            with pytest.raises(TypeError, match="netem takes words"):
                place.netem(0.04)  # type: ignore[arg-type]


async def test_a_partition_separates_groups_and_heals() -> None:
    async with network(c="") as net:
        a, b, c = net.hosts.values()
        await echo(b)
        await echo(c)
        net.partition("a", ["b", "c"])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await call(a, b)
        assert await call(b, c) == b"hello"
        waiting = asyncio.ensure_future(call(a, c))
        await asyncio.sleep(2)
        net.heal()
        assert await waiting == b"hello"


async def test_a_cut_of_one_direction() -> None:
    async with network() as net:
        a, b = net.hosts.values()
        await echo(b)
        reader, writer = await a.stack.open_connection(b.address, 7)
        net.link("a", "b").cut(source="b")
        writer.write(b"hello")
        await asyncio.sleep(3)
        assert b.port.counters["cut"] >= 3
        assert a.port.counters["cut"] == 0
        net.link("a", "b").heal(source="b")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await asyncio.sleep(1)


async def test_a_host_that_crashes_says_nothing_and_knows_nothing_afterwards() -> None:
    async with network() as net:
        a, b = net.hosts.values()
        await echo(b)
        reader, writer = await a.stack.open_connection(b.address, 7)
        b.crash()
        writer.write(b"hello")
        await asyncio.sleep(1)
        b.boot()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        await echo(b)
        assert await call(a, b) == b"hello"
        told = [line for line in story(net.recording.finish()) if " b  > " in line]
        assert sum("RST" in line for line in told) == 1


async def test_scripted_faults_meet_what_they_say() -> None:
    async with network() as net:
        a, b = net.hosts.values()
        await echo(b)
        net.netem("delay 10ms")
        lost = net.fault("drop the second data segment from a")
        late = net.fault("delay the next data segment from b by 1s")
        wrong = net.fault("corrupt the first FIN from a")
        twice = net.fault("duplicate the first SYN,ACK")
        never = net.fault("drop every SYN from b")
        data = bytes(10_000)
        assert await call(a, b, data) == data
        assert [rule.applied for rule in (lost, late, wrong, twice, never)] == [1, 1, 1, 1, 0]
        assert net.faults.never_applied() == [never]
        await asyncio.sleep(1)
        fates = [segment.fate for segment in net.recording.finish().segments if segment.fate]
        assert sorted(set(fates)) == ["corrupted", "duplicated", "late", "lost"]
        assert b.stack.counters.dropped[Drop.TCP_CHECKSUM] == 1


async def test_what_is_refused() -> None:
    async with network() as net:
        with pytest.raises(ValueError, match="there is a host 'a' already"):
            net.host("a")
        with pytest.raises(ValueError, match=r"10\.0\.0\.1 is the address of host 'a'"):
            net.host("x", addresses=["10.0.0.1"])
        with pytest.raises(KeyError, match="no host is called 'x'; there are a, b"):
            net.link("a", "x")
        with pytest.raises(ValueError, match="a link is between two hosts"):
            net.link("a", "a")
        with pytest.raises(ValueError, match="no host is called 'x'"):
            net.fault("drop every SYN from x")
        with pytest.raises(KeyError, match="no host is called 'x'"):
            net.partition("x")
        with pytest.raises(ValueError, match="at no end of the link"):
            net.link("a", "b").cut(source="x")
        assert not net.faults.rules
        assert not net.cuts


def test_one_seed_is_one_run_and_another_is_another() -> None:
    async def run(seed: int) -> object:
        async with network(seed) as net:
            await echo(net.hosts["b"])
            net.netem("delay 5ms 4ms loss 5% duplicate 1%")
            await call(net.hosts["a"], net.hosts["b"], bytes(200_000))
            return net.recording.finish().to_json()

    first, again, other = (sim.run(run(seed)) for seed in (1, 1, 2))
    assert first == again != other
