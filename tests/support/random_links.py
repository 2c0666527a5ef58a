"""Two stacks, a network and what they talk about, all drawn from one seed; and what must hold.

    problems = one_seed(7)       # a list of texts; empty if all was well

A network may lose up to 20 % in each direction, reorder, double and corrupt; now and then it is cut
off or gets worse for a while, and its MTU changes, with word of it (ICMP) or without. Each cut is
shorter than what a connection endures. At `Plan.calm_s` the weather becomes fair.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from aiotcp.link import memory
from aiotcp.link.impair import Impair, Netem
from aiotcp.options import CONGESTION_CONTROLS, Options
from aiotcp.stack import Connection, Endpoint, PacketStack
from aiotcp.tcp.buffers import (
    initial_receive_buffer,
    initial_send_buffer,
    largest_receive_buffer,
)
from tests.support.exchange import HOSTS, PORT, run_until_quiet
from tests.support.random_router import Router
from tests.support.tap import Tap
from tests.support.transfer import EAGER, Pace, Talker, prefix_digest

WELL = Netem(delay=0.01)
LEAST_MTU = {4: 576, 6: 1280}
LONGEST_CUT_S = 200.0
"""Below what fifteen retransmissions take (924 s), even if bad weather adds to it."""
RTO_CEILING_S = 60.0
TIME_WAIT_S = 60.0
ENDURES_S = 924.0
MOST_UNITS = 400
"""How much one side sends, in units of what surely fits in a segment and in every buffer."""

DOCUMENTED = {errno.ECONNRESET, errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ECONNABORTED}

Side = int
"""0 calls, 1 answers."""


@dataclass(frozen=True)
class Spell:
    """What the network is like for a while. `netems`: by the side that sends. `mtu`: of the path,
    both ways; `told`: a router says so to the sender of what is too big."""

    length_s: float
    netems: tuple[Netem, Netem]
    mtu: int
    told: bool
    marks: float
    """Probability that an ECN-capable packet is marked instead of dropped."""


@dataclass(frozen=True)
class Talk:
    """One connection: when it begins, how much each side sends, and when a side gives up for good
    whatever it still has to do (None: never)."""

    begins_s: float
    sizes: tuple[int, int]
    closes_s: tuple[float | None, float | None]


@dataclass(frozen=True)
class Plan:
    """All that is drawn."""

    seed: int
    version: int
    mtu: int
    offload: bool
    options: tuple[Options, Options]
    paces: tuple[Pace, Pace]
    spells: tuple[Spell, ...]
    talks: tuple[Talk, ...]
    crossed: bool
    """Both sides call each other at once, each from the port that the other calls."""

    @property
    def calm_s(self) -> float:
        return sum(spell.length_s for spell in self.spells)

    @property
    def longest_cut_s(self) -> float:
        """Seconds in a row in which a direction may be cut off."""
        longest = length = 0.0
        for spell in self.spells:
            cut = any(netem.loss == 1.0 for netem in spell.netems)
            length = length + spell.length_s if cut else 0.0
            longest = max(longest, length)
        return longest


# -- drawing ----------------------------------------------------------------------------------


def plan(seed: int) -> Plan:
    draw = random.Random(f"random links {seed}")
    version = draw.choice((4, 6))
    mtu = draw.choice((1280, 1500, 1500, 1500, 9000) if version == 6 else (576, 1500, 1500, 9000))
    options = _options(draw), _options(draw)
    unit = min(mtu - 60, *(each.mss or mtu for each in options))
    for each in options:
        unit = min(unit, initial_receive_buffer(each), initial_send_buffer(each))
    return Plan(
        seed=seed,
        version=version,
        mtu=mtu,
        offload=draw.random() < 0.5,
        options=options,
        paces=(_pace(draw), _pace(draw)),
        spells=tuple(_spell(draw, version, mtu) for _ in range(draw.choice((1, 1, 2, 4, 8)))),
        talks=tuple(_talk(draw, unit) for _ in range(draw.choice((1, 1, 1, 2, 4)))),
        crossed=draw.random() < 0.1,
    )


def _spell(draw: random.Random, version: int, mtu: int) -> Spell:
    narrow = draw.random() < 0.4
    kind = draw.random()
    cut = draw.choice(((0,), (1,), (0, 1))) if kind < 0.25 else ()
    netems = tuple(Netem(loss=1.0) if side in cut else _netem(draw) for side in (0, 1))
    longest = LONGEST_CUT_S if cut else 300.0
    return Spell(
        length_s=min(draw.expovariate(1 / draw.choice((0.1, 1, 10, 100))), longest),
        netems=(netems[0], netems[1]),
        mtu=draw.randint(LEAST_MTU[version], mtu) if narrow else mtu,
        told=draw.random() < 0.7,
        marks=draw.choice((0.0, 0.0, 0.02, 0.3, 1.0)),
    )


def _netem(draw: random.Random) -> Netem:
    delay = draw.choice((0.0005, 0.005, 0.02, 0.1, 0.4))
    return Netem(
        delay=delay,
        jitter=delay * draw.choice((0.0, 0.0, 0.05, 0.9)),
        loss=draw.choice((0.0, 0.01, 0.05, 0.1, 0.2)),
        duplicate=draw.choice((0.0, 0.0, 0.02, 0.2)),
        reorder=draw.choice((0.0, 0.0, 0.01, 0.1, 0.5)),
        corrupt=draw.choice((0.0, 0.0, 0.01, 0.1)),
        rate=draw.choice((0.0, 0.0, 1e5, 1e6, 2e7)),
        limit=draw.choice((5, 30, 1000)),
    )


_CHOICES: dict[str, tuple[Any, ...]] = {
    "receive_buffer": (700, 3000, 20_000, 1 << 20, None, None),
    "send_buffer": (500, 5000, 100_000, 1 << 20, None, None),
    "mss": (None, None, None, 88, 400),
    "window_scaling": (True, True, False),
    "timestamps": (True, True, False),
    "sack": (True, True, True, False),
    "dsack": (True, True, False),
    "ecn": ("off", "passive", "on", "on", "accurate"),
    "mtu_probing": ("off", "blackhole", "blackhole", "on"),
    "nodelay": (True, False),
    "cc": tuple(sorted(CONGESTION_CONTROLS)),
    "initial_window_segments": (1, 3, 10, 10),
    "delayed_ack_s": (0.0, 0.04, 0.2),
    "quickack": (False, False, True),
    "user_timeout_s": (None, None, None, None, None, 20.0),
    "uto": (False, False, True),
    "keepalive": (False, False, False, False, True),
    "keepalive_idle_s": (5.0, 60.0),
    "keepalive_interval_s": (1.0, 20.0),
    "syn_cookies": ("auto", "auto", "auto", "auto", "auto", "auto", "always"),
}
"""What each option may be; the others keep their defaults."""


def _options(draw: random.Random) -> Options:
    return Options(**{name: draw.choice(choices) for name, choices in _CHOICES.items()})


def _pace(draw: random.Random) -> Pace:
    return draw.choice((EAGER, EAGER, EAGER, Pace(3000, 0.005), Pace(50_000, 0.1), Pace(900, 0.3)))


def _talk(draw: random.Random, unit: int) -> Talk:
    def size() -> int:
        most = draw.choice((0, 1, unit, 20 * unit, MOST_UNITS * unit))
        return draw.randint(most // 2, most)

    def gives_up() -> float | None:
        return draw.expovariate(1 / draw.choice((0.1, 3, 60))) if draw.random() < 0.06 else None

    return Talk(draw.choice((0.0, draw.random() * 20)), (size(), size()), (gives_up(), gives_up()))


# -- the run ----------------------------------------------------------------------------------


class Watched(Talker):
    """A talker that watches what its connection keeps."""

    def __init__(self, report: Callable[[str], None], *args: Any, **kwargs: Any) -> None:
        self._report = report
        super().__init__(*args, **kwargs)

    def progress(self) -> None:
        conn = self.connection
        held = conn.received_bytes + conn.reassembly.held_bytes
        if held > largest_receive_buffer(conn.options) + 1:
            self._report(f"{conn} holds {held} bytes of {conn.options.receive_buffer}")
        most = conn.options.send_buffer or conn.options.send_buffer_max
        if len(conn.sending) > most:
            self._report(f"{conn} queues {len(conn.sending)} of {most}")
        super().progress()


class Run:
    """One plan carried out. To be made in a running loop."""

    def __init__(self, drawn: Plan) -> None:
        self.plan = drawn
        self.problems: list[str] = []
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(
            lambda _, context: self._report(f"the loop heard: {context!r}")
        )
        total = sum(sum(talk.sizes) for talk in drawn.talks)
        least = min(LEAST_MTU[drawn.version], *(each.mss or 9000 for each in drawn.options))
        if drawn.options[1].syn_cookies == "always" and least < 536:
            least = 52  # a cookie's table has 48 below the default
        budget = 1000 * len(drawn.talks) + 5 * total // (least - 12)
        ends = memory.pair(mtu=drawn.mtu, limit=1 << 20, checksums=drawn.seed % 2 == 0)
        self.routers = tuple(
            Router(end, drawn.version, budget, f"router {side} {drawn.seed}")
            for side, end in enumerate(ends)
        )
        self.impairs = tuple(
            Impair(router, outbound=netem, seed=2 * drawn.seed + side, offload=drawn.offload)
            for side, (router, netem) in enumerate(
                zip(self.routers, drawn.spells[0].netems, strict=True)
            )
        )
        self.taps = tuple(map(Tap, self.impairs))
        self.hosts = HOSTS[drawn.version]
        self.stacks = tuple(
            PacketStack(
                tap, addresses=[host], options=options, seed=f"{side} {drawn.seed}".encode()
            )
            for side, (tap, host, options) in enumerate(
                zip(self.taps, self.hosts, drawn.options, strict=True)
            )
        )
        self.talkers: dict[int, dict[Side, Watched]] = defaultdict(dict)
        """By number of the talk, then by side."""
        self._by_port: dict[int, int] = {}

    def _report(self, text: str) -> None:
        if len(self.problems) < 10:
            self.problems.append(f"{self.loop.time():.3f} {text}")

    async def take_place(self) -> None:
        if not self.plan.crossed:
            self.stacks[1].listen(Endpoint(self.hosts[1], PORT), self._accept)
        for number, talk in enumerate(self.plan.talks):
            self.loop.call_later(talk.begins_s, self._begin, number, talk)
        for spell in self.plan.spells:
            for router, impair, netem in zip(self.routers, self.impairs, spell.netems, strict=True):
                impair.outbound = netem
                router.path_mtu, router.told, router.marks = spell.mtu, spell.told, spell.marks
            await asyncio.sleep(spell.length_s)
        for router, impair in zip(self.routers, self.impairs, strict=True):
            impair.outbound = WELL
            router.path_mtu, router.marks = router.mtu, 0.0

    def _begin(self, number: int, talk: Talk) -> None:
        near, far = (Endpoint(host, PORT + number) for host in self.hosts)
        if self.plan.crossed:
            for side, (local, remote) in enumerate(((near, far), (far, near))):
                self._talk(number, side, self.stacks[side].connect(remote, local=local))
        else:
            connection = self.stacks[0].connect(Endpoint(self.hosts[1], PORT))
            self._by_port[connection.local.port] = number
            self._talk(number, 0, connection)
        for side, when in enumerate(talk.closes_s):
            if when is not None:
                self.loop.call_later(when, self._give_up, number, side)

    def _accept(self, connection: Connection) -> None:
        number = self._by_port[connection.remote.port]
        if 1 not in self.talkers[number]:
            self._talk(number, 1, connection)
            return
        # A late copy of the handshake's last ACK redeems its cookie again once the connection is
        # gone: who keeps nothing can't know better.
        if self.plan.options[1].syn_cookies != "always":
            self._report(f"talk {number} was accepted twice")
        connection.abort(discarded=True)
        self.stacks[1].push(connection)

    def _talk(self, number: int, side: Side, connection: Connection) -> None:
        talker = Watched(
            self._report,
            self.stacks[side],
            connection,
            self.plan.talks[number].sizes[side],
            f"{self.plan.seed} {number} {side}",
            self.plan.paces[side],
        )
        self.talkers[number][side] = talker
        talker.start()

    def _give_up(self, number: int, side: Side) -> None:
        if side in self.talkers[number]:
            self.talkers[number][side].close()


def one_seed(seed: int) -> list[str]:
    """Carry out the plan of `seed`; what was wrong, as text."""
    drawn = plan(seed)

    async def main() -> Run:
        run = Run(drawn)
        await run.take_place()
        return run

    run, quiet_at = run_until_quiet(main())
    problems = run.problems
    for side, tap in enumerate(run.taps):
        try:
            tap.verify()
        except AssertionError as broken:
            problems.append(f"side {side}: {broken}")
        if run.routers[side].packets > run.routers[side].budget:
            problems.append(f"side {side} sent more than {run.routers[side].budget} packets")
        known = {
            talkers[side].connection.local for talkers in run.talkers.values() if side in talkers
        }
        for row in run.stacks[side].connections():
            if row.local not in known or row.state == "TIME-WAIT":
                problems.append(f"side {side} keeps {row}")
    for number in range(len(drawn.talks)):
        problems += _judge(drawn, number, run.talkers[number])
    problems += _judge_end(drawn, run, quiet_at)
    return problems


def _patience_s(options: Options) -> float:
    """How long an idle connection waits for a peer that is not heard of, at most: a cut makes the
    peer back off, and be silent for longer than it lasts."""
    if not options.keepalive:
        return 3 * ENDURES_S
    return options.keepalive_idle_s + options.keepalive_probes * options.keepalive_interval_s


def _judge(drawn: Plan, number: int, talkers: dict[Side, Watched]) -> list[str]:
    """Every byte exactly once, or a documented error that the plan accounts for."""
    problems = []
    talk = drawn.talks[number]
    whole = {}
    for side, talker in talkers.items():
        size = talk.sizes[1 - side]
        expected = prefix_digest(f"{drawn.seed} {number} {1 - side}", size, talker.bytes_received)
        if talker.bytes_received > size or talker.received.digest() != expected:
            problems.append(f"talk {number}, side {side}: other bytes than were sent")
        if not talker.connection.ended and not _deserted(talk, talkers, side):
            problems.append(f"talk {number}, side {side}: never ended: {talker.connection}")
        whole[side] = talker.bytes_received == size
    excused = (
        len(talkers) < 2  # the handshake was never completed on the other side
        or talk.closes_s != (None, None)
        or any(options.user_timeout_s for options in drawn.options)
        or any(3 * drawn.longest_cut_s >= _patience_s(options) for options in drawn.options)
        # What overtakes the first segment after the SYN, which redeems a cookie, gets a RST.
        or drawn.options[1].syn_cookies == "always"
        or not all(talker.connection.established for talker in talkers.values())
    )
    for side, talker in talkers.items():
        error = talker.connection.error
        if error is None:
            if talker.connection.ended and not whole[side] and talk.closes_s == (None, None):
                problems.append(f"talk {number}, side {side}: closed before all had arrived")
        elif error.errno not in DOCUMENTED:
            problems.append(f"talk {number}, side {side}: {error!r}")
        elif not excused and not all(whole.values()):
            problems.append(f"talk {number}, side {side}: {error!r} for no reason in the plan")
    return problems


def _deserted(talk: Talk, talkers: dict[Side, Watched], side: Side) -> bool:
    """The other side gave up, its reset was lost, and this one has nothing to say that it could
    learn from: it waits, as in any TCP without keep-alive."""
    other = talkers.get(1 - side)
    if other is None:
        return talk.sizes[side] == 0
    gone = other.connection.error is not None or talk.closes_s[1 - side] is not None
    return gone and talkers[side].connection.unacked == 0


def _judge_end(drawn: Plan, run: Run, quiet_at: float) -> list[str]:
    """Once the weather is fair, all ends soon; and no timer outlives TIME-WAIT."""
    problems = []
    total = sum(sum(talk.sizes) for talk in drawn.talks)
    slowest_s = max(pace.interval_s * total / (pace.bytes_at_once or 1) for pace in drawn.paces)
    # A window or a buffer below the segment size is refilled at the pace of delayed
    # acknowledgments and of the override timeout of silly-window avoidance.
    buffers = [(initial_receive_buffer(each), initial_send_buffer(each)) for each in drawn.options]
    most = min(map(min, buffers))
    peace_s = 2 * RTO_CEILING_S + 2 * slowest_s + 1.2 * total / most + 60.0
    begun_s = max(talk.begins_s for talk in drawn.talks)
    latest = max(drawn.calm_s, begun_s) + peace_s
    ended_at = 0.0
    for number, talkers in run.talkers.items():
        for side, talker in talkers.items():
            if talker.ended_at is None:
                continue
            ended_at = max(ended_at, talker.ended_at)
            if talker.ended_at > latest:
                problems.append(
                    f"talk {number}, side {side} ended at {talker.ended_at:.1f}, after {latest:.1f}"
                )
    last = max(ended_at, drawn.calm_s) + 2 * TIME_WAIT_S + 1
    if any(talk.closes_s != (None, None) for talk in drawn.talks):
        last += ENDURES_S  # of an orphan whose end nobody watches
    if quiet_at > last:
        problems.append(f"quiet at {quiet_at:.1f}, after {last:.1f}")
    return problems


_known = {each.name for each in fields(Options)}
assert _CHOICES.keys() <= _known
