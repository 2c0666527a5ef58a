"""Hosts with names, and links between them that can be bad, cut, and mended: all of it simulated.

    network = Network(seed=7)
    a, b = network.host("a"), network.host("b")
    network.link("a", "b").netem("delay 40ms 5ms loss 1%")
    network.fault("drop the third data segment from a")
    network.partition("a", "b")
    ...
    network.heal()

Every host reaches every other one, over a link of the two that is perfect until it is told
otherwise. What happens on it depends on its settings, its packets and the seed alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from aiotcp.addresses import pack, unpack
from aiotcp.link.base import Receiver
from aiotcp.link.netem import CLEAR, Netem, Path
from aiotcp.link.netemwords import netem as read_netem
from aiotcp.options import Options
from aiotcp.sim.faults import CORRUPT, DELAY, DROP, MARK, STRIP, Fault, Faults
from aiotcp.sim.middlebox import damaged, marked, stripped
from aiotcp.streams import Stack
from aiotcp.trace.events import CORRUPTED, LATE, LOST, MARKED, STRIPPED
from aiotcp.trace.watch import Recording
from aiotcp.wire.frame import Frame

if TYPE_CHECKING:
    from aiotcp.sim.gateway import Gateway

NETWORK_V4 = ip_network("10.0.0.0/16")
"""Hosts that name no address get one of these, from 10.0.0.1 up."""


class UnknownHost(KeyError):
    """No host has this name."""

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError's own is a representation


class Port:
    """Where a host is plugged in: the link of its stack.

    Counters: `sent_packets`, `received_packets`, and the drops `send_closed` (the host is gone),
    `send_no_host` (nobody has the destination address), `cut` (a partition), `fault` (a rule).
    """

    gso_max_bytes = 0

    def __init__(self, network: Network, host: Host, mtu: int) -> None:
        self.mtu = mtu
        # Nothing damages a packet in memory but a fault, which completes its checksum before.
        self.checksum_offload = not network.checksums
        self.counters = dict.fromkeys(
            ("sent_packets", "received_packets", "send_closed", "send_no_host", "cut", "fault"), 0
        )
        self.host = host
        self.open = True
        self.last_sent: Frame | None = None
        self._network = network
        self._receiver: Receiver | None = None
        self._arrived: list[Frame] = []

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        if self._receiver is not None or not self.open:
            raise RuntimeError("the port is taken, or closed")
        self._receiver = receiver
        self._network.bind(loop)

    def send(self, frame: Frame) -> None:
        if not self.open:
            self.counters["send_closed"] += 1
            return
        self.counters["sent_packets"] += 1
        self._network.carry(self, frame)

    def close(self) -> None:
        self.open = False
        self._receiver = None
        self._arrived.clear()

    # What comes: a port is the exit of the paths that lead to it.

    def put(self, frame: Frame) -> None:
        """Deliver on the next turn of the loop: a sender is in the middle of its output."""
        if not self._arrived:
            self._network.loop.call_soon(self._deliver)
        self._arrived.append(frame)

    def put_held(self, frames: Sequence[Frame]) -> None:
        """Deliver now, as one batch."""
        self._arrived += frames
        self._deliver()

    def _deliver(self) -> None:
        arrived, self._arrived = self._arrived, []
        receiver = self._receiver
        if receiver is None or not arrived:
            return
        for frame in arrived:
            self.counters["received_packets"] += 1
            receiver.receive(memoryview(frame.to_bytes()), frame.checksum_start > 0)
        receiver.flush()


class Host:
    """One machine of the network: its name, its addresses, its stack while it is up."""

    def __init__(
        self,
        network: Network,
        name: str,
        addresses: list[str],
        options: Options,
        mtu: int,
        initial_number: int | None,
    ) -> None:
        self.name = name
        self.addresses = addresses
        self.options = options
        self.mtu = mtu
        self.initial_number = initial_number
        self.up = False
        self._network = network
        self._boots = 0
        self.stack: Stack
        self.boot()

    def __repr__(self) -> str:
        return f"<Host {self.name} {' '.join(self.addresses)}{'' if self.up else ' (down)'}>"

    @property
    def address(self) -> str:
        """The first of its addresses."""
        return self.addresses[0]

    def boot(self) -> None:
        """Start, with the memory of nothing. Idempotent."""
        if self.up:
            return
        self.up = True
        self._boots += 1
        self.port = Port(self._network, self, self.mtu)
        self._network.plug(self)
        self.stack = self._network.recording.stack(
            Stack,
            self.port,
            host=self.name,
            addresses=self.addresses,
            options=self.options,
            seed=f"{self._network.seed} {self.name} {self._boots}".encode(),
        )
        self.stack.initial_number = self.initial_number
        if self._network.bound:  # to a loop that may not run yet
            self.stack.bind(self._network.loop)

    def crash(self) -> None:
        """Vanish: no packet leaves any more, nobody is told, not even the host's programs."""
        self.up = False
        self.port.close()
        self._network.recording.forget(self.name)
        self._network.crashed.append(self.stack)


def _netem(words: str | Netem) -> Netem:
    if isinstance(words, Netem):
        return words
    if not isinstance(words, str):
        raise TypeError(f"netem takes words, as in 'delay 40ms loss 1%', or a Netem, not {words!r}")
    return read_netem(words)


class Link:
    """What is between two hosts, in both directions."""

    def __init__(self, network: Network, one: str, other: str) -> None:
        self.ends = (one, other)
        self._network = network

    def __repr__(self) -> str:
        return f"<Link {self.ends[0]} {self.ends[1]}>"

    def netem(self, words: str | Netem, *, source: str | None = None) -> Netem:
        """Set what happens to packets from now on, in netem's words (see `netemwords`); of both
        directions, or of packets from `source` only. Raises ValueError, or TypeError for what is
        neither words nor a Netem."""
        settings = _netem(words)
        for way in self._ways(source):
            self._network.way(*way).netem = settings
        return settings

    def cut(self, *, source: str | None = None) -> None:
        """Nothing passes any more, from `source` or in both directions. What is under way still
        arrives."""
        self._network.cuts.update(self._ways(source))

    def heal(self, *, source: str | None = None) -> None:
        """Take `cut` back."""
        self._network.cuts.difference_update(self._ways(source))

    def _ways(self, source: str | None) -> list[tuple[str, str]]:
        one, other = self.ends
        if source is None:
            return [(one, other), (other, one)]
        if source not in self.ends:
            raise ValueError(f"{source!r} is at no end of the link between {one!r} and {other!r}")
        return [(source, other if source == one else one)]


class Network:
    """See the module's text.

    seed: of everything that is drawn, here and in the hosts' stacks.
    recording: what happens is noted there.
    checksums: every packet is as on a wire, its checksum complete, and nobody vouches for it: what
        a `gateway` needs.
    """

    def __init__(
        self, *, seed: object = 0, recording: Recording | None = None, checksums: bool = False
    ) -> None:
        self.seed = seed
        self.checksums = checksums
        self.recording = recording or Recording(samples=False)
        self.hosts: dict[str, Host] = {}
        self.faults = Faults()
        self.cuts: set[tuple[str, str]] = set()
        """Directions that nothing passes: from, to."""
        self._partitions: list[list[list[str]]] = []
        self.default = CLEAR
        """What new links are like."""
        self.crashed: list[Stack] = []
        self.loop: asyncio.AbstractEventLoop
        self.bound = False
        self._ports: dict[bytes, Port | Gateway] = {}
        self._gateways: dict[str, Gateway] = {}
        self._ways: dict[tuple[str, str], Path] = {}
        self._counters: dict[tuple[str, str], dict[str, int]] = {}

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Live on `loop`, with the hosts that there are and those to come."""
        if self.bound and self.loop is loop:
            return
        self.loop, self.bound = loop, True
        for host in self.hosts.values():
            if host.up:
                host.stack.bind(loop)

    # -- building -----------------------------------------------------------------------------

    def host(
        self,
        name: str,
        *,
        addresses: Iterable[str] = (),
        options: Options | Mapping[str, Any] | None = None,
        mtu: int = 1500,
        initial_number: int | None = None,
    ) -> Host:
        """A new host, up. Without addresses it gets the next of 10.0.0.1, 10.0.0.2 and so on.
        `initial_number`: see `PacketStack.initial_number`.

        Raises ValueError for a name or an address that another host has.
        """
        if name in self.hosts:
            raise ValueError(f"there is a host {name!r} already")
        own = [str(ip_address(address)) for address in addresses]
        if not own:
            taken = {address for host in self.hosts.values() for address in host.addresses}
            own = [next(str(each) for each in NETWORK_V4.hosts() if str(each) not in taken)]
        for address in own:
            if pack(address) in self._ports:
                owner = self._ports[pack(address)].host.name
                raise ValueError(f"{address} is the address of host {owner!r}")
        made = self.hosts[name] = Host(self, name, own, Options.of(options), mtu, initial_number)
        for sides in self._partitions:
            self._separate(sides)
        return made

    def link(self, one: str, other: str) -> Link:
        """What is between two hosts. Raises KeyError for a name that no host has."""
        for name in (one, other):
            self._check(name)
        if one == other:
            raise ValueError("a link is between two hosts")
        return Link(self, one, other)

    def netem(self, words: str | Netem) -> None:
        """Set what happens to packets on every link, those of hosts to come included."""
        self.default = _netem(words)
        for way in self._ways.values():
            way.netem = self.default

    def fault(self, sentence: str) -> Fault:
        """State a scripted fault (see `faults`); returns the rule, whose `applied` counts. Raises
        ValueError for a sentence that is not understood, or names no host."""
        rule = self.faults.add(sentence)
        if rule.sender and rule.sender not in self.names:
            self.faults.rules.remove(rule)
            raise ValueError(f"{rule.sentence!r}: no host is called {rule.sender!r}")
        return rule

    @property
    def names(self) -> list[str]:
        """Of all hosts, and of gateways."""
        return [*self.hosts, *self._gateways]

    def _check(self, name: str) -> None:
        if name not in self.names:
            known = ", ".join(self.names) or "none yet"
            raise UnknownHost(f"no host is called {name!r}; there are {known}")

    def partition(self, *groups: str | Iterable[str]) -> None:
        """Separate groups of hosts: nothing passes between them. A host named alone is a group of
        one; hosts that are not named, those to come included, are a group together. Without
        arguments every host is alone."""
        sides = [[group] if isinstance(group, str) else list(group) for group in groups]
        for side in sides:
            for name in side:
                self._check(name)
        self._partitions.append(sides)
        self._separate(sides)

    def _separate(self, sides: list[list[str]]) -> None:
        named = {name for side in sides for name in side}
        others = [name for name in self.names if name not in named]
        sides = [*sides, others] if sides else [[name] for name in others]
        self.cuts |= {
            (one, other)
            for side in sides
            for another in sides
            if side is not another
            for one in side
            for other in another
        }

    def heal(self) -> None:
        """Everybody reaches everybody again. Settings of links and faults stay as they are."""
        self.cuts.clear()
        self._partitions.clear()

    def counters(self, source: str, target: str) -> dict[str, int]:
        """What has happened to packets of one direction: `packets`, `loss`, `corrupt` and so on."""
        self.way(source, target)
        prefix = len("path_")
        return {name[prefix:]: count for name, count in self._counters[source, target].items()}

    # -- carrying -----------------------------------------------------------------------------

    def plug(self, host: Host | Gateway) -> None:
        """The host's port is where its addresses are."""
        for address in host.addresses:
            self._ports[pack(address)] = host.port
        if not isinstance(host, Host):
            self._gateways[host.name] = host

    def way(self, source: str, target: str) -> Path:
        """One direction of one link; made when it is first needed."""
        found = self._ways.get((source, target))
        if found is None:
            counters = self._counters[source, target] = {}
            found = Path(
                "path",
                f"{self.seed} {source} {target}",
                self.default,
                _Exit(self, target),
                counters,
            )
            found.loop = self.loop
            found.on_drop = self._dropped
            self._ways[source, target] = found
        return found

    def carry(self, port: Port | Gateway, frame: Frame) -> None:
        """A packet of a host sets out."""
        port.last_sent = frame
        header = frame.header
        target = self._ports.get(header[16:20] if header[0] >> 4 == 4 else header[24:40])
        if target is None:
            port.counters["send_no_host"] += 1
            self.recording.doom(frame, LOST)
            return
        source, name = port.host.name, target.host.name
        way = self.way(source, name)
        rule = self.faults.meet(source, frame.to_bytes()) if self.faults.rules else None
        if (source, name) in self.cuts:
            port.counters["cut"] += 1
            self.recording.doom(frame, LOST)
            return
        if rule is None:
            way.enter(frame)
            return
        port.counters["fault"] += 1
        if rule.action == DROP:
            self.recording.doom(frame, LOST)
        elif rule.action == DELAY:
            self.recording.doom(frame, LATE)
            self.loop.call_later(rule.by_s, way.enter, frame)
        elif rule.action == CORRUPT:
            self.recording.doom(frame, CORRUPTED)
            way.enter(damaged(frame))
        elif rule.action == MARK:
            changed = marked(frame)
            self.recording.doom(frame, MARKED if changed else LOST)
            if changed:
                way.enter(changed)
        elif rule.action == STRIP:
            bare = stripped(frame)
            self.recording.becomes(frame, bare.header, STRIPPED)
            way.enter(bare)
        else:
            way.enter(frame)
            way.enter(frame)

    def _dropped(self, frame: Frame) -> None:
        self.recording.doom(frame, LOST)

    def port_of(self, name: str) -> Port | Gateway:
        """Where the host is plugged in now."""
        gateway = self._gateways.get(name)
        return gateway if gateway is not None else self.hosts[name].port

    async def aclose(self, grace: float = 0.0) -> None:
        """End every host, those that crashed as well. Idempotent."""
        for stack in (*self.crashed, *(host.stack for host in self.hosts.values())):
            await stack.aclose(grace)
        for way in self._ways.values():
            way.close()

    def addresses_of(self, name: str) -> list[str] | None:
        """What a name resolves to; None if no host has it."""
        host = self.hosts.get(name)
        return list(host.addresses) if host is not None else None

    def name_of(self, address: bytes) -> str:
        port = self._ports.get(address)
        return port.host.name if port is not None else unpack(address)


class _Exit:
    """The end of a path: whatever port its host has when a packet comes."""

    def __init__(self, network: Network, host: str) -> None:
        self._network = network
        self._host = host

    def put(self, frame: Frame) -> None:
        self._network.port_of(self._host).put(frame)

    def put_held(self, frames: Sequence[Frame]) -> None:
        self._network.port_of(self._host).put_held(frames)
