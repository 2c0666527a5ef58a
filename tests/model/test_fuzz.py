"""Whatever a link delivers: nothing is raised, what is discarded counts once, and life goes on.

10,000 examples in all with `make test-long`. The parsers by themselves: tests/wire/test_fuzz.py.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from aiotcp.addresses import pack
from aiotcp.sim import VirtualLoop
from aiotcp.wire import icmp, ipv4, ipv6, tcp
from aiotcp.wire.tcp import ACK, FIN, RST, SYN, URG
from tests.support.crowd import (
    CLOSED_PORT,
    LISTENING,
    REMOTE,
    STACK,
    STACK_V6,
    STATES,
    Caller,
    Crowd,
)
from tests.support.examples import examples
from tests.support.wirecheck import with_checksum

pytestmark = pytest.mark.req("X-2", "MUST-7")

Run = Callable[[Coroutine[Any, Any, None]], None]


def many(count: int) -> settings:
    return settings(
        database=None,
        deadline=None,
        max_examples=examples(count),
        suppress_health_check=[HealthCheck.too_slow],
    )


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs coroutines one after the other on one loop; what its exception handler hears, fails."""
    reports: list[dict[str, Any]] = []

    def new_loop() -> VirtualLoop:
        loop = VirtualLoop()
        loop.set_exception_handler(lambda _, context: reports.append(context))
        return loop

    with asyncio.Runner(loop_factory=new_loop) as runner:

        def on_it(main: Coroutine[Any, Any, None]) -> None:
            runner.run(main)
            assert reports == []

        yield on_it


# -- arbitrary bytes ------------------------------------------------------------------------------

starts = st.sampled_from(
    (b"", b"\x45", b"\x45\0\0\x28\0\0\x40\0\x40\6", b"\x60", b"\x60\0\0\0\0\x14\6")
)
noise = st.builds(lambda start, rest: start + rest, starts, st.binary(max_size=90))


def ip_packet(hosts: tuple[str, str], protocol: int, cut: bool, body: bytes) -> bytes:
    """A valid header, and anything behind it; `cut`: the last byte is missing."""
    source, target = map(pack, hosts)
    header = ipv4.header if len(source) == 4 else ipv6.header
    packet = header(source, target, protocol, len(body)) + body
    return packet[:-1] if cut else packet


within_ip = st.builds(
    ip_packet,
    st.sampled_from(
        (
            *((REMOTE, STACK), ("2001:db8::1", STACK_V6)),
            *(("224.0.0.1", STACK), (REMOTE, "255.255.255.255"), (STACK, STACK), (STACK_V6,) * 2),
        )
    ),
    st.sampled_from((0, 1, 6, 6, 6, 17, 43, 44, 50, 51, 58, 59, 60, 60)) | st.integers(0, 255),
    st.sampled_from((False, False, False, True)),
    st.binary(max_size=80),
)


@pytest.mark.parametrize("part", range(3))
def test_arbitrary_bytes(run: Run, part: int) -> None:
    @seed(part)
    @many(2000)
    @given(packets=st.lists(noise | within_ip, min_size=1, max_size=8), vouched=st.booleans())
    def check(packets: list[bytes], vouched: bool) -> None:
        async def main() -> None:
            crowd = Crowd(states=())
            for packet in packets:
                crowd.receive(packet, vouched=vouched)
            crowd.flush()
            crowd.check_life()
            await crowd.aclose()

        run(main())

    check()


# -- valid packets with anything in them -----------------------------------------------------------

near = st.integers(-3, 3)
offsets = st.one_of(
    near,
    near,
    st.integers(-1500, 1500),
    st.integers(59_990, 60_010),
    st.integers(-60_010, -59_990),
    st.integers(0, 2**32 - 1),
)
flags = st.one_of(
    st.sampled_from((ACK, FIN | ACK, SYN, SYN | ACK, RST, RST | ACK, URG | ACK, 0)),
    st.integers(0, 255),
)
payloads = st.one_of(st.just(b""), st.binary(max_size=10), st.integers(0, 1400).map(bytes))


@dataclass(frozen=True)
class Fields:
    """A segment; numbers are relative to what its target expects."""

    flags: int
    seq: int
    ack: int
    window: int
    payload: bytes
    urgent: int
    tsval: int
    options: Callable[[Caller], bytes | None]

    def to(self, caller: Caller) -> bytes:
        return caller.packet(
            self.flags,
            seq=self.seq,
            ack=self.ack,
            window=self.window,
            payload=self.payload,
            options=self.options(caller),
            urgent=self.urgent,
            tsval=self.tsval,
        )


def raw_options(raw: bytes) -> Callable[[Caller], bytes]:
    return lambda caller: raw + bytes(-len(raw) % 4)


def syn_options(
    mss: int, wscale: int, timestamps: tuple[int, int] | None
) -> Callable[[Caller], bytes]:
    packed = tcp.pack_options(mss=mss, wscale=wscale, sack_permitted=True, timestamps=timestamps)
    return lambda caller: packed


def sack_options(blocks: list[tuple[int, int]]) -> Callable[[Caller], bytes]:
    return lambda caller: tcp.pack_options(
        timestamps=(caller.tsval, caller.tsecr) if caller.timestamps else None,
        sack=[(caller.ack + left, caller.ack + right) for left, right in blocks],
    )


usual_options: st.SearchStrategy[Callable[[Caller], bytes | None]] = st.just(lambda caller: None)
options = st.one_of(
    usual_options,
    usual_options,
    usual_options,
    st.builds(raw_options, st.binary(max_size=40)),
    st.builds(
        syn_options,
        st.integers(0, 0xFFFF),
        st.integers(0, 255),
        st.none() | st.tuples(offsets, offsets),
    ),
    st.builds(sack_options, st.lists(st.tuples(offsets, offsets), max_size=4)),
)
fields = st.builds(
    Fields,
    flags=flags,
    seq=offsets,
    ack=offsets,
    window=st.sampled_from((0, 1, 60_000, 0xFFFF)),
    payload=payloads,
    urgent=st.sampled_from((0, 0, 1, 1000, 0xFFFF)),
    tsval=st.just(0) | offsets,
    options=options,
)
Attack = Callable[[Crowd], bytes]


def at_state(state: str, fields: Fields) -> Attack:
    return lambda crowd: fields.to(crowd.callers[state])


def from_stranger(port: int, to: int, timestamps: bool, fields: Fields) -> Attack:
    stranger = Caller(port, timestamps, to)
    return lambda crowd: fields.to(stranger)


def blind(seq: int, fields: Fields) -> Attack:
    """At the connection that is to live, outside of its window."""
    return lambda crowd: dataclasses.replace(fields, seq=seq).to(crowd.life)


def icmp_error(state: str, seq: int, type_: int, code: int, parameter: int) -> Attack:
    """About a segment of ours."""

    def make(crowd: Crowd) -> bytes:
        caller = crowd.callers[state]
        template = tcp.HeaderTemplate(pack(STACK), caller.stack_port, pack(REMOTE), caller.port)
        ours = template.frame(caller.ack + seq, 0, ACK, 0, offload=False).to_bytes()
        return icmp.error(ours, type_, code, parameter=parameter).to_bytes()

    return make


def damaged(attack: Attack, changes: list[tuple[int, int]], mended: bool) -> Attack:
    """Some bytes behind the IP header are others, and the checksum perhaps right again."""

    def make(crowd: Crowd) -> bytes:
        packet = bytearray(attack(crowd))
        for place, value in changes:
            packet[20 + place % (len(packet) - 20)] = value
        return with_checksum(bytes(packet)) if mended else bytes(packet)

    return make


states = st.sampled_from(STATES)
at_states = st.builds(at_state, states, fields)
attacks = st.one_of(
    at_states,
    at_states,
    at_states,
    st.builds(
        from_stranger,
        st.integers(0, 0xFFFF),
        st.sampled_from((LISTENING, CLOSED_PORT, 0)),
        st.booleans(),
        fields,
    ),
    st.builds(blind, st.integers(60_000, 2**31 - 1) | st.integers(-(2**31), -1500), fields),
    st.builds(
        icmp_error,
        states,
        offsets,
        st.sampled_from((3, 4, 5, 11, 12)),
        st.integers(0, 15),
        st.integers(0, 0xFFFF),
    ),
    st.builds(
        damaged,
        at_states,
        st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), min_size=1, max_size=4),
        st.booleans(),
    ),
)
batches = st.lists(
    st.tuples(
        st.lists(attacks, min_size=1, max_size=4), st.sampled_from((0.0, 0.001, 0.3, 5.0, 100.0))
    ),
    min_size=1,
    max_size=3,
)


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("timestamps", [True, False])
def test_anything_for_a_connection_in_any_state(run: Run, part: int, timestamps: bool) -> None:
    @seed(10 * part + timestamps)
    @many(500)
    @given(batches=batches)
    def check(batches: list[tuple[list[Attack], float]]) -> None:
        async def main() -> None:
            crowd = Crowd(timestamps=timestamps)
            for batch, pause_s in batches:
                for attack in batch:
                    crowd.receive(attack(crowd))
                crowd.flush()
                await asyncio.sleep(pause_s)
            crowd.check_life()
            crowd.stack.connections()
            crowd.stack.counters.as_dict()
            await crowd.aclose()

        run(main())

    check()
