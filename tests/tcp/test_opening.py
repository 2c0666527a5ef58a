"""OPEN: who may be called, from which address, and SYNs that are no calls (RFC 9293 3.5, 3.9)."""

from __future__ import annotations

import errno

import pytest

from aiotcp.reasons import Drop, Why
from aiotcp.stack import Endpoint
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN
from tests.support.conversation import PEER_V4, PEER_V6, STACK_V4, STACK_V6, Peer

FAMILIES = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])

ANYWHERE = {False: "0.0.0.0", True: "::"}


def accept(_: object) -> None:
    pass


# -- simultaneous open ------------------------------------------------------------------------


@FAMILIES
@pytest.mark.req("MUST-10", "ST-5")
async def test_simultaneous_open(ipv6: bool) -> None:
    """Figure 8."""
    async with Peer(ipv6=ipv6) as peer:
        app = peer.opens()
        await peer.sees(SYN, seq=0)
        peer.sends(SYN, mss=1000)
        await peer.sees(SYN | ACK, seq=0, ack=1, why=Why.OPEN_REPLY)
        assert peer.state == "SYN-RECEIVED"
        peer.sends(SYN | ACK, seq=0, mss=1000)
        assert peer.states == ["CLOSED", "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED"]
        app.write(b"hello")
        await peer.sees(ACK, seq=1, ack=1, data=b"hello")
        peer.sends(ACK, data=b"world")
        await peer.sees(ACK, seq=6, ack=6, within=0.5)
        assert app.received == b"world"


@pytest.mark.req("MUST-10")
async def test_simultaneous_open_that_ends_with_a_mere_ack() -> None:
    async with Peer() as peer:
        app = peer.opens()
        await peer.sees(SYN)
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        peer.sends(ACK)
        await peer.sees_nothing(for_s=10)
        assert app.state == "ESTABLISHED"


@pytest.mark.req("MUST-10", "7323-2", "7323-6", "2018-1")
@pytest.mark.parametrize("offers", [True, False])
async def test_crossed_syns_agree_on_what_both_offered(offers: bool) -> None:
    """RFC 7323 2.2: a SYN+ACK has one "only if a Window Scale option was received"."""
    async with Peer() as peer:
        peer.opens()
        await peer.sees(SYN)
        ts = (peer.tsval, 0) if offers else None
        peer.sends(SYN, mss=1460, wscale=7 if offers else None, sack_permitted=offers, ts=ts)
        reply = (await peer.sees(SYN | ACK)).segment
        assert (reply.wscale is not None, reply.tsval is not None, reply.sack_permitted) == (
            (offers,) * 3
        )


@pytest.mark.req("MUST-10", "MUST-19")
async def test_the_syn_ack_of_a_simultaneous_open_is_repeated() -> None:
    async with Peer() as peer:
        app = peer.opens()
        await peer.sees(SYN)
        peer.sends(SYN)
        first = await peer.sees(SYN | ACK, seq=0, ack=1)
        again = await peer.sees(SYN | ACK, seq=0, ack=1, within=3, why=Why.OPEN_REPLY_RETRANSMIT)
        assert again.at - first.at >= 1
        peer.sends(ACK)
        assert app.state == "ESTABLISHED"


@pytest.mark.req("MUST-11", "ST-10")
async def test_a_reset_tells_where_syn_received_came_from() -> None:
    """From LISTEN: back there, and nobody is told. From SYN-SENT: the attempt was refused."""
    async with Peer() as peer:
        listener, accepted = peer.listens()
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        peer.sends(RST)
        assert peer.states == ["LISTEN", "SYN-RECEIVED", "LISTEN"]
        assert not accepted
        assert listener.half_open == 0
        peer.reset()
        peer.sends(SYN)
        await peer.sees(SYN | ACK)  # the listener lives
        peer.sends(RST)
    async with Peer() as peer:
        app = peer.opens()
        await peer.sees(SYN)
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        peer.sends(RST)
        assert isinstance(app.error, ConnectionRefusedError)
        assert app.error.errno == errno.ECONNREFUSED
        assert peer.states[-2:] == ["SYN-RECEIVED", "CLOSED"]


# -- listeners and other connections ----------------------------------------------------------


@FAMILIES
@pytest.mark.req("MUST-41")
async def test_a_second_listener_is_refused_and_disturbs_nobody(ipv6: bool) -> None:
    async with Peer(ipv6=ipv6) as peer:
        peer.listens(80)
        other = peer.another(ipv6=ipv6)
        app = await other.connects(port=81)
        for host in (peer.stack_host, ANYWHERE[ipv6]):
            with pytest.raises(OSError, match="in use") as refusal:
                peer.stack.listen(Endpoint(host, 80), accept)
            assert refusal.value.errno == errno.EADDRINUSE
        peer.stack.listen(Endpoint(ANYWHERE[ipv6], 81), accept)  # its port has a connection
        other.sends(ACK, data=b"hello")
        await other.sees(ACK, ack=6, within=0.5)
        assert app.received == b"hello"


@pytest.mark.req("MUST-42")
@pytest.mark.parametrize("crossed", [False, True])
async def test_listening_on_the_port_of_a_connection_that_is_being_opened(crossed: bool) -> None:
    async with Peer() as peer:
        app = peer.opens(local_port=8080)
        await peer.sees(SYN)
        if crossed:
            peer.sends(SYN)
            await peer.sees(SYN | ACK)
        caller = peer.another()
        _, accepted = caller.listens(8080)
        caller.sends(SYN)
        await caller.sees(SYN | ACK)
        caller.sends(ACK)
        assert accepted
        peer.sends(ACK if crossed else SYN | ACK)
        if not crossed:
            await peer.sees(ACK)
        assert app.state == "ESTABLISHED"


# -- addresses --------------------------------------------------------------------------------

MANY = ("192.0.2.2", "192.0.2.77", "fd61:696f:7463:70::2", "fd61:696f:7463:70::77")


@FAMILIES
@pytest.mark.req("MUST-43")
async def test_the_local_address_can_be_chosen(ipv6: bool) -> None:
    chosen = MANY[3 if ipv6 else 1]
    async with Peer(ipv6=ipv6, addresses=MANY) as peer:
        peer.stack_host = chosen
        peer.opens()
        await peer.sees(SYN)
        assert peer.info is not None
        assert peer.info.local.host == chosen
        listener = peer.stack.listen(Endpoint(chosen, 80), accept)
        assert listener.local == (chosen, 80)
        caller = peer.another(ipv6=ipv6)
        caller.stack_host = MANY[2 if ipv6 else 0]
        caller.sends(SYN)
        await caller.sees(RST | ACK)  # nobody listens at that address
        caller.stack_host = chosen
        caller.reset()
        caller.sends(SYN)
        await caller.sees(SYN | ACK)


@pytest.mark.req("MUST-43")
async def test_a_local_address_that_is_not_ours_is_refused() -> None:
    async with Peer() as peer:
        for host in ("192.0.2.99", "fd61:696f:7463:70::99"):
            with pytest.raises(OSError, match="assign") as refusal:
                peer.stack.listen(Endpoint(host, 80), accept)
            assert refusal.value.errno == errno.EADDRNOTAVAIL
        with pytest.raises(OSError, match="assign") as refusal:
            peer.stack.connect(Endpoint(PEER_V4, 80), local=Endpoint("192.0.2.99", 0))
        assert refusal.value.errno == errno.EADDRNOTAVAIL
        with pytest.raises(OSError, match="assign"):
            peer.stack.connect(Endpoint(PEER_V4, 80), local=Endpoint(STACK_V6, 0))


@FAMILIES
@pytest.mark.req("MUST-44")
async def test_otherwise_the_address_is_one_of_the_family_and_so_is_the_port_free(
    ipv6: bool,
) -> None:
    async with Peer(ipv6=ipv6) as peer:
        for local in (None, Endpoint(ANYWHERE[ipv6], 0)):
            conn = peer.stack.connect(Endpoint(peer.host, peer.port), local=local)
            assert conn.local.host == (STACK_V6 if ipv6 else STACK_V4)
            assert 49152 <= conn.local.port <= 65535
        ports = {(await peer.sees(SYN)).packet[40 if ipv6 else 20 :][:2] for _ in range(2)}
        assert len(ports) == 2


@FAMILIES
@pytest.mark.req("MUST-45")
async def test_all_segments_of_a_connection_use_the_address_of_the_first(ipv6: bool) -> None:
    """To a wildcard listener the caller says which of the stack's addresses it is."""
    async with Peer(ipv6=ipv6, addresses=MANY) as peer:
        peer.stack.listen(Endpoint(ANYWHERE[ipv6], 80), accept)
        peer.stack_host = MANY[3 if ipv6 else 1]
        peer.sends(SYN)
        seen = [await peer.sees(SYN | ACK)]
        peer.sends(ACK)
        peer.sends(PSH | ACK, data=b"hello")
        seen.append(await peer.sees(ACK, within=0.5))
        assert peer.info is not None
        peer.sends(FIN | ACK)
        seen.append(await peer.sees(ACK, ack=7))
        sources = {each.packet[slice(8, 24) if ipv6 else slice(12, 16)] for each in seen}
        assert len(sources) == 1
        assert peer.info.local == (peer.stack_host, 80)


@pytest.mark.req("MUST-46")
@pytest.mark.parametrize(
    "host", ["255.255.255.255", "224.0.0.1", "239.1.2.3", "0.0.0.0", "240.0.0.1", "ff02::1", "::"]
)
async def test_calls_to_no_single_host_are_refused_at_once(host: str) -> None:
    async with Peer() as peer:
        with pytest.raises(OSError, match="unreachable") as refusal:
            peer.stack.connect(Endpoint(host, 80))
        assert refusal.value.errno == errno.ENETUNREACH
        with pytest.raises(OSError, match="unreachable"):
            await peer.stack.open_connection(host, 80)
        assert peer.stack.connections() == []


@pytest.mark.req("MUST-57")
@pytest.mark.parametrize(
    "target", ["224.0.0.1", "255.255.255.255", "192.0.2.255", "192.0.2.3", "ff02::1"]
)
@pytest.mark.parametrize("flags", [SYN, ACK, SYN | ACK], ids=["SYN", "ACK", "SYN-ACK"])
async def test_segments_to_many_or_to_others_are_dropped_in_silence(
    target: str, flags: int
) -> None:
    async with Peer(ipv6=":" in target) as peer:
        peer.stack.listen(Endpoint(ANYWHERE[":" in target], 80), accept)
        peer.stack_host = target
        peer.sends(flags)
        await peer.sees_nothing()
        assert peer.stack.counters.dropped[Drop.IP_NOT_FOR_US] == 1


@pytest.mark.req("MUST-63")
@pytest.mark.parametrize(
    "source",
    [
        *("0.0.0.0", "255.255.255.255", "224.0.0.1", "240.0.0.9", "127.0.0.1", STACK_V4),
        *("::", "ff02::1", "::1", STACK_V6),
    ],
)
@pytest.mark.parametrize("listening", [True, False])
async def test_syns_from_no_possible_caller_are_ignored(source: str, listening: bool) -> None:
    async with Peer(ipv6=":" in source, host=source) as peer:
        if listening:
            peer.listens()
        peer.sends(SYN)
        await peer.sees_nothing()
        assert peer.stack.counters.dropped[Drop.IP_BAD_SOURCE] == 1
        assert peer.stack.connections() == []


async def test_the_other_family_does_not_answer_for_a_wildcard() -> None:
    async with Peer(ipv6=True, host=PEER_V6) as peer:
        peer.stack.listen(Endpoint("0.0.0.0", 80), accept)
        peer.sends(SYN)
        await peer.sees(RST | ACK)
