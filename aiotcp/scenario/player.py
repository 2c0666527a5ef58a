"""Playing a scenario among stacks of ours, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

from aiotcp import sim
from aiotcp.addresses import pack
from aiotcp.scenario.model import Scenario
from aiotcp.scenario.programs import Programs, Sockets, Streams
from aiotcp.scenario.script import FLAGS, FORGER, NETWORK, Step
from aiotcp.sim.network import Network
from aiotcp.tcp.seq import MASK
from aiotcp.trace.events import Trace
from aiotcp.trace.story import differences, story
from aiotcp.trace.watch import Recording
from aiotcp.wire import icmp, tcp
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import HeaderTemplate

_FLAGS = {name: getattr(tcp, name) for name in FLAGS}
_FLOOD = ip_address("100.64.0.0")
"""A flood's segments come from the addresses behind this one (RFC 6598), which is nobody's."""
_UNREACHABLE_V4 = {"network": 0, "host": 1, "port": 3}
_UNREACHABLE_V6 = {"network": 0, "host": 3, "port": 4}


def play(scenario: Scenario, *, seed: object = 0) -> Trace:
    """What happens in this scenario, each time the same for one seed.

    Raises LookupError for a script that speaks of a connection which there is not, and
    AssertionError if a byte came out other than it was written; or if none did, where the scenario
    is about that.
    """
    return sim.run(Play(scenario, seed).run())


def judge(scenario: Scenario, trace: Trace) -> str:
    """What is different from what the scenario says must be seen: a diff, empty if nothing is."""
    lines = [line for line in story(trace) if float(line.split()[0]) >= scenario.since]
    return differences(scenario.sees, lines)


class Play:
    """One scenario as it is played: its network, the programs on its hosts, and what is seen."""

    def __init__(self, scenario: Scenario, seed: object, *, checksums: bool = False) -> None:
        self.scenario = scenario
        self.until = scenario.until
        self.recording = Recording(absolute=scenario.absolute)
        self.network = Network(
            seed=f"{scenario.id} {seed}", recording=self.recording, checksums=checksums
        )
        self.network.netem(scenario.link)
        self.streams = Streams()
        self.programs: dict[str, Programs] = {}
        self.played: list[Programs] = []
        """All that there ever were."""
        for name in scenario.hosts:
            self.recording.knows(name, [])  # in the order of their lanes
        trace = self.recording.trace
        trace.shows = list(scenario.shows)
        trace.title, trace.title_zh = scenario.title["en"], scenario.title["zh"]
        trace.question, trace.answer = dict(scenario.question), dict(scenario.answer)
        trace.seed = str(seed)
        trace.replay = f"aiotcp run {scenario.id} --seed {seed}"

    async def run(self) -> Trace:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.network.bind(loop)
        self.recording.begins(loop)
        self.starts_hosts(loop)
        try:
            at = -1.0
            for step in self.scenario.steps:
                if step.at != at:  # else in one turn of the loop: what is written leaves together
                    await _until(began + step.at)
                    at = step.at
                await self._do(step)
            await _until(began + self.until)
            trace = self.recording.finish()
        finally:
            self.recording.stop()
            for programs in self.played:
                programs.end()
            await self.network.aclose()
        if bool(self.streams.wrong) != self.scenario.corrupts:
            raise AssertionError("; ".join(self.streams.wrong) or "all came out as it was written")
        return trace

    def starts_hosts(self, loop: asyncio.AbstractEventLoop) -> None:
        """All hosts, with their programs."""
        for name, machine in self.scenario.machines.items():
            self.has_host(name, [machine.address] if machine.address else ())
            self.starts(name)

    def has_host(self, name: str, addresses: Sequence[str]) -> None:
        """A host of ours, as the scenario has it."""
        machine = self.scenario.machines[name]
        self.network.host(
            name,
            addresses=addresses,
            options=self.scenario.hosts[name],
            mtu=machine.mtu,
            initial_number=machine.isn,
        )

    def starts(self, name: str) -> None:
        """Programs of a host of ours, which know of nothing."""
        host = self.network.hosts[name]
        self.has_programs(name, host.address, host.stack)

    def has_programs(self, name: str, address: str, sockets: Sockets) -> None:
        """`sockets` are what they open connections by."""
        made = self.programs[name] = Programs(
            name,
            address,
            sockets,
            lambda text: self.recording.said(name, text),
            self.streams,
            self.address_of,
        )
        self.played.append(made)

    def address_of(self, name: str) -> str:
        """Of a host."""
        return self.network.hosts[name].address

    async def _do(self, step: Step) -> None:
        try:
            if step.who == NETWORK:
                self._network_does(step)
            elif step.verb == "forge":
                self._forge(**step.args)
            elif step.verb == "flood":
                self._flood(**step.args)
            elif step.verb in ("crash", "reboot", "kill"):
                self.befalls(step)
            else:
                await self.programs[step.who].do(step.verb, step.nth, step.args)
        except LookupError as exc:
            raise LookupError(f"{step.line}: {exc.args[0]}") from None

    def befalls(self, step: Step) -> None:
        """Something happens to a whole host."""
        host = self.network.hosts[step.who]
        if step.verb == "kill":
            self.recording.fault("is told to end", step.who)
            self._closing = asyncio.ensure_future(host.stack.end_programs(grace=60))
            return
        if host.up:
            self.programs[step.who].stop()
            host.crash()
            self.recording.fault("crashes", step.who)
        if step.verb == "reboot":
            host.boot()
            self.starts(step.who)
            self.recording.fault("is up again", step.who)

    def _network_does(self, step: Step) -> None:
        network, args = self.network, step.args
        if step.verb == "fault":
            network.fault(step.args["rule"].sentence)
            return
        self.recording.fault(" ".join(step.line.split()[2:]))
        source, target = args.get("source"), args.get("target")
        if step.verb == "heal":
            network.heal()
        elif step.verb == "break":
            if source is None:
                network.partition()
            else:
                network.link(source, str(target)).cut(source=source)
        elif step.verb == "netem":
            if source is None:
                network.netem(args["netem"])
            else:
                network.link(source, str(target)).netem(args["netem"], source=source)
        else:
            self._report(args["what"], args["to"])

    def _report(self, what: str, to: str) -> None:
        """A router answers the host's last packet (RFC 792, RFC 4443 3.1)."""
        port = self.network.port_of(to)
        if port.last_sent is None:
            raise LookupError(f"{to} has sent nothing yet")
        packet = port.last_sent.to_bytes()
        if packet[0] >> 4 == 4:
            type_, code = icmp.V4_UNREACHABLE, _UNREACHABLE_V4[what]
        else:
            type_, code = icmp.V6_UNREACHABLE, _UNREACHABLE_V6[what]
        port.put(icmp.error(packet, type_, code))

    def _forge(
        self,
        flags: str,
        from_host: str,
        from_port: int,
        to_host: str,
        to_port: int,
        seq: int,
        ack: int = 0,
        window: int = 65535,
        data: bytes = b"",
    ) -> None:
        """Somebody sends a segment in the name of a host, or from an address that is none's:
        numbers are relative where the two have a connection, else as they are."""
        stranger = from_host not in self.scenario.hosts
        address = from_host if stranger else self.address_of(from_host)
        ours, theirs = pack(address), pack(self.address_of(to_host))
        base, far_base = self.recording.conversations.bases((ours, from_port), (theirs, to_port))
        template = HeaderTemplate(ours, from_port, theirs, to_port)
        bits = sum(_FLAGS[flag] for flag in {*flags.split(",")})
        packet = template.frame(
            base + seq & MASK,
            far_base + ack & MASK if bits & tcp.ACK else 0,
            bits,
            window,
            payload=[data],
            payload_length=len(data),
            offload=False,
        ).to_bytes()
        if stranger:
            self.recording.knows(FORGER, [address])
            self.recording.hears(FORGER)
            self.recording.sent(packet, "")
            from_host = FORGER
        else:
            text = f"{flags} seq={seq}" + (f" ack={ack}" if bits & tcp.ACK else "")
            text += f" len={len(data)}" if data else ""
            self.recording.fault(f"somebody sends {text} to {to_host} in the name of {from_host}")
        self.network.way(from_host, to_host).enter(Frame(packet, (), len(packet)))

    def _flood(self, to_host: str, to_port: int, count: int) -> None:
        """SYNs, each from another address that is nobody's."""
        for number in range(1, count + 1):
            self._forge("SYN", str(_FLOOD + number), 1024 + number, to_host, to_port, number << 16)


async def _until(at: float) -> None:
    """What happens at that moment has happened then."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(max(at - loop.time(), 0))
    await asyncio.sleep(1e-9)
