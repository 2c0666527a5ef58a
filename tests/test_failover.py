"""A name of several addresses: whose turn it is, and what the user is told (RFC 5461, 8305)."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest

from aiotcp import Stack
from aiotcp.link import memory
from aiotcp.options import Options
from aiotcp.wire.tcp import ACK, FIN, RST, SYN
from tests.support.conversation import PEER_V4, PEER_V6, Peer

UNREACHABLE, UNREACHABLE_V6 = 3, 1
HOST, NET = 1, 0


class Hosts:
    """The addresses of one name, each played by an end of the link; the first is IPv6."""

    def __init__(self, peer: Peer, monkeypatch: pytest.MonkeyPatch, count: int = 2) -> None:
        self.first = peer
        self.peers = [peer, peer.another(port=peer.port, host=PEER_V4)]
        for number in range(2, count):
            self.peers.append(peer.another(port=peer.port, host=f"192.0.2.{100 + number}"))
        hosts = [each.host for each in self.peers]

        async def getaddrinfo(host: str, port: int, **kwds: Any) -> list[Any]:
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
                if ":" in address
                else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
                for address in hosts
            ]

        monkeypatch.setattr(peer.stack.loop, "getaddrinfo", getaddrinfo)

    def connecting(self, **kwds: Any) -> asyncio.Task[Any]:
        stack, port = self.first.stack, self.first.port
        return asyncio.ensure_future(
            stack.create_connection(asyncio.Protocol, "a.name", port, **kwds)
        )


async def opens(peer: Peer, task: asyncio.Task[Any]) -> None:
    """The peer answers the SYN that it has seen, and the program gets its connection."""
    peer.sends(SYN | ACK, mss=1460)
    await peer.sees(ACK)
    transport, _ = await task
    assert transport.get_extra_info("peername")[0] == peer.host
    transport.abort()
    await peer.sees(FIN | ACK)
    peer.sends(RST | ACK, ack=2)


def v6(**kwds: Any) -> Peer:
    return Peer(ipv6=True, port=80, options=Options(syn_retries=2), **kwds)


@pytest.mark.req("5461-1")
async def test_a_report_lets_the_next_address_have_its_turn_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RFC 5461 2: IPv6 that gets nowhere costs one round trip, not minutes."""
    async with v6() as peer:
        hosts = Hosts(peer, monkeypatch)
        task = hosts.connecting()
        syn = await peer.sees(SYN)
        peer.reports(UNREACHABLE_V6, NET, syn)
        await hosts.peers[1].sees(SYN)
        await opens(hosts.peers[1], task)
        await peer.sees_nothing(for_s=100)  # the first attempt is over


@pytest.mark.req("5461-1", "MUST-56")
async def test_a_reported_attempt_may_still_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report was of the moment, or forged: it does not end the attempt."""
    async with v6() as peer:
        hosts = Hosts(peer, monkeypatch)
        task = hosts.connecting()
        syn = await peer.sees(SYN)
        peer.reports(UNREACHABLE_V6, NET, syn)
        await hosts.peers[1].sees(SYN)
        await opens(peer, task)
        await hosts.peers[1].sees_nothing(for_s=100)


@pytest.mark.req("5461-1", "SHLD-25")
async def test_when_the_others_have_failed_it_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the user is told of both: of the report, and of the refusal."""
    async with v6() as peer:
        hosts = Hosts(peer, monkeypatch)
        task = hosts.connecting(all_errors=True)
        syn = await peer.sees(SYN)
        peer.reports(UNREACHABLE_V6, NET, syn)
        await hosts.peers[1].sees(SYN)
        hosts.peers[1].sends(RST | ACK, seq=0, ack=1)
        with pytest.raises(ExceptionGroup) as group:
            await task
        assert {exc.errno for exc in group.value.exceptions if isinstance(exc, OSError)} == {
            errno.ENETUNREACH,
            errno.ECONNREFUSED,
        }
        assert peer.now < 0.001
        await peer.sees_nothing(for_s=100)


@pytest.mark.req("5461-1", "MUST-56", "SHLD-25")
async def test_the_last_address_is_tried_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to try instead; what was reported last is what the user gets."""
    async with v6() as peer:
        hosts = Hosts(peer, monkeypatch)
        task = hosts.connecting()
        peer.reports(UNREACHABLE_V6, NET, await peer.sees(SYN))
        other = hosts.peers[1]
        other.reports(UNREACHABLE, NET, await other.sees(SYN))
        await peer.wait(1)
        (syn,) = await other.sees_all()
        other.reports(UNREACHABLE, HOST, syn)
        with pytest.raises(OSError, match="Errno 101") as caught:
            await task
        assert "Errno 113" in str(caught.value)
        assert peer.now == pytest.approx(7)
        await peer.sees_all()
        await other.sees_all()


@pytest.mark.req("5461-1")
async def test_silence_is_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `happy_eyeballs_delay` each address is tried until TCP gives up, R1 or not."""
    async with Peer(ipv6=True, port=80, options=Options(syn_retries=4)) as peer:
        hosts = Hosts(peer, monkeypatch)
        task = hosts.connecting()
        await peer.wait(30.9)
        assert len(await peer.sees_all()) == 5
        await hosts.peers[1].sees(SYN, within=0.2)
        await opens(hosts.peers[1], task)


@pytest.mark.req("5461-1")
async def test_happy_eyeballs(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 8305 5: the next attempt begins after the delay, those before it go on, and the first
    that opens wins, here the one in the middle."""
    async with v6() as peer:
        hosts = Hosts(peer, monkeypatch, 3)
        task = hosts.connecting(happy_eyeballs_delay=0.25)
        await peer.sees(SYN)
        await hosts.peers[1].sees(SYN, after=0.25)
        await hosts.peers[2].sees(SYN, after=0.25)
        await peer.sees(SYN, after=0.5)
        await opens(hosts.peers[1], task)
        for other in (peer, hosts.peers[2]):
            await other.sees_nothing(for_s=100)


@pytest.mark.parametrize("kwds", [{"happy_eyeballs_delay": 0.25}, {"interleave": 1}, {}])
async def test_happy_eyeballs_of_asyncios_own_function(
    monkeypatch: pytest.MonkeyPatch, kwds: dict[str, Any]
) -> None:
    """On a loop that knows stacks: nobody answers on IPv6, and the loop's resolver names both."""
    loop = asyncio.get_running_loop()

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        assert host == "a.name"
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fd61::7", port, 0, 0)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fd61::8", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (PEER_V4, port)),
        ]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    left, right = memory.pair()
    async with (
        Stack(left, addresses=[PEER_V4]) as there,
        Stack(right, addresses=["192.0.2.2", "fd61::2"], options=Options(syn_retries=1)),
        await there.create_server(asyncio.Protocol, PEER_V4, 80),
    ):
        before = loop.time()
        _, writer = await asyncio.open_connection("a.name", 80, **kwds)
        waited = loop.time() - before
        assert writer.get_extra_info("peername") == (PEER_V4, 80)
        writer.close()
        await writer.wait_closed()
    # One attempt, or two: each waits 1 s and then 2 s more for an answer.
    expected = 0.25 if "happy_eyeballs_delay" in kwds else 3.0 if kwds else 6.0
    assert waited == pytest.approx(expected)


async def test_a_refusal_does_not_wait_for_the_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    async with v6() as peer:
        hosts = Hosts(peer, monkeypatch, 3)
        task = hosts.connecting(happy_eyeballs_delay=0.25)
        await peer.sees(SYN)
        peer.sends(RST | ACK, seq=0, ack=1)
        await hosts.peers[1].sees(SYN)
        await hosts.peers[2].sees(SYN, after=0.25)
        hosts.peers[1].sends(RST | ACK, seq=0, ack=1)
        await opens(hosts.peers[2], task)


async def test_two_open_at_once_and_one_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with v6() as peer:
        hosts = Hosts(peer, monkeypatch)
        other = hosts.peers[1]
        task = hosts.connecting(happy_eyeballs_delay=0.25)
        await peer.sees(SYN)
        await other.sees(SYN, after=0.25)
        with peer.batch():
            peer.sends(SYN | ACK, mss=1460)
            other.sends(SYN | ACK, mss=1460)
        await peer.sees(ACK)
        transport, _ = await task
        await other.sees(ACK)
        await other.sees(FIN | ACK)
        other.sends(RST | ACK, ack=2)
        assert transport.get_extra_info("peername")[0] == PEER_V6
        transport.abort()
        await peer.sees(FIN | ACK)
        peer.sends(RST | ACK, ack=2)


async def test_a_cancelled_call_ends_every_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    async with v6() as peer:
        hosts = Hosts(peer, monkeypatch)
        task = hosts.connecting(happy_eyeballs_delay=0.25)
        await peer.sees(SYN)
        await hosts.peers[1].sees(SYN, after=0.25)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert peer.stack.connections() == []
        await peer.sees_nothing(for_s=100)
