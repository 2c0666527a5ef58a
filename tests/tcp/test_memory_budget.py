"""What all connections of a stack may hold together (`Options.memory_limit`)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotcp.options import Options
from aiotcp.reasons import Drop, Why
from aiotcp.tcp.memory import LEAST_SEND_BYTES, MemoryBudget
from aiotcp.wire.tcp import ACK, PSH, RST
from tests.support.conversation import App, Peer

LIMIT = 200_000


def test_pressure_begins_above_three_quarters_and_ends_below_a_half() -> None:
    pressures: list[bool] = []
    budget = MemoryBudget(1000, lambda: pressures.append(True))
    budget.account(750)
    assert not budget.pressure
    budget.account(1)
    assert budget.pressure
    budget.account(249)
    assert budget.exhausted
    budget.account(-500)
    assert (budget.pressure, budget.exhausted) == (True, False)
    budget.account(-1)
    assert not budget.pressure
    assert budget.used == 499
    assert len(pressures) == 1


def test_shares() -> None:
    budget = MemoryBudget(200_000, lambda: None)
    assert budget.receive_buffer(100_000, 1460) == 100_000
    assert budget.send_room(100_000, 0) == 100_000
    assert budget.send_room(100_000, 60_000) == 40_000
    budget.account(100_000)  # what is left until pressure begins
    assert budget.send_room(100_000, 0) == 50_000
    assert budget.send_room(100_000, 60_000) == 40_000
    budget.account(50_000 - LEAST_SEND_BYTES + 1)  # no crumbs
    assert budget.send_room(100_000, 0) == LEAST_SEND_BYTES
    assert budget.send_room(100_000, LEAST_SEND_BYTES) == 0
    budget.account(50_000)
    assert budget.receive_buffer(100_000, 1460) == 4 * 1460
    assert budget.receive_buffer(1000, 1460) == 1000
    assert budget.send_room(100_000, 0) == LEAST_SEND_BYTES
    assert budget.send_room(1000, 0) == 1000


@given(st.lists(st.integers(min_value=-2000, max_value=2000)))
def test_exhausted_is_never_without_pressure(changes: list[int]) -> None:
    pressures: list[bool] = []
    budget = MemoryBudget(1000, lambda: pressures.append(True))
    began = 0
    for change in changes:
        before = budget.pressure
        budget.account(max(change, -budget.used))
        began += budget.pressure and not before
        assert len(pressures) == began
        assert budget.pressure or not budget.exhausted
        assert budget.exhausted == (budget.used >= 1000)


async def reader_that_does_not(peer: Peer, port: int, size: int) -> App:
    """A connection for which `size` bytes wait."""
    app = await peer.connects(port, reading=False)
    for _ in range(size // 1000):
        peer.sends(ACK, data=bytes(1000))
    await peer.wait(0.1)
    await peer.sees_all()
    return app


@pytest.mark.req("X-5")
async def test_what_waits_is_counted_and_what_is_gone_is_not() -> None:
    async with Peer(options=Options(memory_limit=LIMIT)) as peer:
        memory = peer.stack.memory
        app = await peer.connects(reading=False, window=1000)
        assert memory.used == 0
        peer.sends(ACK, data=bytes(1000))
        peer.sends(ACK, seq=2001, data=bytes(1000))
        await peer.sees(ACK, ack=1001)
        assert memory.used == 2000 + 256  # a piece ahead of its turn costs more
        app.write(bytes(5000))
        await peer.sees(ACK, length=1000)
        assert memory.used == 2256 + 5000
        peer.sends(ACK, ack=1001, window=0, seq=1001)
        assert memory.used == 2256 + 4000
        assert app.conn.take()
        peer.stack.push(app.conn)
        await peer.sees_all()
        assert memory.used == 256 + 1000 + 4000
        peer.sends(RST, seq=1001)
        assert memory.used == 0
        assert peer.stack.counters.memory_pressures == 0


@pytest.mark.req("X-5")
async def test_who_holds_nothing_is_counted_for_nothing_however_little_it_was_last() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        app.write(bytes(1000))
        await peer.sees(ACK, length=1000)
        assert peer.stack.memory.used == 1000
        peer.sends(ACK, ack=801)  # the rest is too little for a note
        peer.sends(ACK, ack=1001)
        assert app.conn.held_bytes == peer.stack.memory.used == 0


@pytest.mark.req("X-5")
async def test_under_pressure_windows_stay_small_and_nothing_is_kept_out_of_order() -> None:
    async with Peer(options=Options(memory_limit=LIMIT, receive_buffer=160_000)) as peer:
        hoarders = []
        for port in range(3):
            hoarders.append(peer.another(port=60000 + port))
            await reader_that_does_not(hoarders[-1], 90 + port, 60_000)
        assert peer.stack.memory.pressure
        assert peer.stack.counters.memory_pressures == 1
        # One whose program reads goes on, with the window that it has and no more of it.
        app = await peer.connects(wscale=7, options=Options(receive_buffer=500_000))
        edge = 1 + 65535
        for _ in range(80):
            peer.sends(ACK, data=bytes(1000))
            for each in await peer.sees_all():
                edge = max(edge, each.ack + each.window)
        await peer.wait(0.1)
        await peer.sees_all()
        assert len(app.received) == 80_000
        assert edge - 80_001 <= 4 * 1460 + 128
        peer.sends(ACK, seq=peer.seq + 1000, data=bytes(1000))
        await peer.sees(ACK, ack=80_001, why=Why.ACK_OUT_OF_ORDER)
        assert peer.stack.counters.dropped[Drop.MEMORY] == 1
        # The others are gone: the window opens with the next segment.
        for end in hoarders:
            end.sends(RST)
        assert not peer.stack.memory.pressure
        peer.sends(ACK, data=bytes(2000))
        seen_last = await peer.sees(ACK, within=0.1)
        assert seen_last.window > 400_000


@pytest.mark.req("X-5")
async def test_at_the_limit_data_for_those_who_do_not_read_is_dropped() -> None:
    async with Peer(options=Options(memory_limit=2**16)) as peer:
        hoarder = peer.another()
        app = await reader_that_does_not(hoarder, 90, 40_000)
        await reader_that_does_not(peer.another(port=50003), 92, 26_000)
        assert peer.stack.memory.exhausted
        greedy = peer.another(port=50002)
        slow = await greedy.connects(91, reading=False)
        greedy.sends(ACK, data=bytes(1000))  # nothing waits yet
        assert slow.conn.readable == 1000
        greedy.sends(ACK, data=bytes(1000))
        assert slow.conn.readable == 1000
        assert peer.stack.counters.dropped[Drop.MEMORY] == 1
        await greedy.sees(ACK, ack=1001, within=0.1)
        quick = await peer.connects()
        for _ in range(3):
            peer.sends(PSH | ACK, data=bytes(1000))
        assert len(quick.received) == 3000
        await peer.wait(0.1)
        await peer.sees_all()
        app.conn.take()
        peer.stack.push(app.conn)
        await hoarder.sees_all()
        assert not peer.stack.memory.exhausted
        greedy.sends(ACK, seq=1001, data=bytes(1000))
        await greedy.sees(ACK, ack=2001, within=0.1)


@pytest.mark.req("X-5")
async def test_under_pressure_little_is_accepted_for_sending() -> None:
    async with Peer(options=Options(memory_limit=2**16)) as peer:
        app = await peer.connects(window=1000)
        app.write(bytes(60_000))
        await peer.sees(ACK, length=1000)
        assert app.conn.send(bytes(1000)) == 0
        peer.sends(ACK, window=0)
        assert app.conn.send(bytes(1000)) == 0
        other = peer.another()
        second = await other.connects(90, window=1000)
        assert second.conn.send(bytes(100_000)) == LEAST_SEND_BYTES
        peer.stack.push(second.conn)
        await other.sees(ACK, length=1000)
        app.abort()
        await peer.sees(RST | ACK)
        assert second.conn.send_space == 2**16 * 3 // 4 - LEAST_SEND_BYTES
        second.abort()
        await other.sees(RST | ACK)


@pytest.mark.req("X-5")
async def test_a_connection_that_was_reset_keeps_nothing_that_can_have_no_turn() -> None:
    """A program may hold on to its transport, and so to the connection, for long."""
    async with Peer() as peer:
        app = await peer.connects()
        peer.sends(ACK, data=bytes(1000), seq=5001)
        await peer.sees(ACK, ack=1, why="ack_out_of_order")
        peer.sends(RST, seq=1)
        await peer.sees_nothing()
        assert app.conn.reassembly.cost == 0


@pytest.mark.req("X-5")
async def test_what_one_batch_writes_and_closes_exhausts_nothing() -> None:
    """The oldest one that its program has closed would be reset, and its answer cut short."""
    async with Peer(options=Options(memory_limit=2**18)) as peer:
        ends = [peer.another(port=60000 + index) for index in range(4)]
        apps = [await end.connects(90 + index) for index, end in enumerate(ends)]
        for app in apps:
            assert sum(app.conn.send(bytes(10_000)) for _ in range(10)) >= LEAST_SEND_BYTES
        for app in apps:
            app.close()
        memory = peer.stack.memory
        held = sum(app.conn.held_bytes for app in apps)
        assert memory.limit // 2 < held < memory.limit
        await peer.wait(0.1)
        for end in ends:
            assert not [each for each in await end.sees_all() if each.flags & RST]
        assert peer.stack.counters.orphans_reset == 0
