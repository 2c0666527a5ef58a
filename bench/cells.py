"""What the numbers of the table are: each cell measures one thing, again in each round."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench import client, startup
from bench.client import Failed, NotHere
from bench.machine import BUILD
from bench.measure import Sample, Server, Work, command, measured, serving
from bench.serve import Setting

CROWD = 10_000
_QUIET_S = 2.0  # lazy timers of what went before have come up and found nothing to do


@dataclass
class Common:
    """What all measurements of a run have in common, and what some of them keep between rounds."""

    seconds: float = 1.0
    """Of each measurement."""
    mtu: int = 1500
    version: int = 4
    """Of IP."""
    veth: bool = False
    """Where the kernel's sockets are; see `Setting.veth`."""
    crowd: int = CROWD
    """Connections, where there are many."""
    kept: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """Closed by `done`, when a block of rows is."""
    _crowds: dict[int, Crowd] = field(default_factory=dict)
    _certificate: str = ""

    def setting(self, network: str, program: str, number: int = 1) -> Setting:
        return Setting(
            network, program, mtu=self.mtu, version=self.version, veth=self.veth, number=number
        )

    def certificate(self) -> str:
        """A file with a certificate of this run's own, and its key. Raises NotHere."""
        if not self._certificate:
            folder = Path(self.kept.enter_context(tempfile.TemporaryDirectory()))
            key, certificate = folder / "key.pem", folder / "certificate.pem"
            words = (
                "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
                f"-days 2 -subj /CN=bench -keyout {key} -out {certificate}"
            )
            try:
                subprocess.run(words.split(), capture_output=True, check=True)
            except (OSError, subprocess.CalledProcessError):
                raise NotHere("openssl could not make a certificate") from None
            certificate.write_text(certificate.read_text() + key.read_text())
            self._certificate = str(certificate)
        return self._certificate

    def among(self, connections: int) -> Crowd:
        """The server with so many connections; it stays until `done`."""
        if connections not in self._crowds:
            self._crowds[connections] = Crowd(self, connections, len(self._crowds) + 1)
        return self._crowds[connections]

    def done(self) -> None:
        self._crowds.clear()
        self._certificate = ""
        self.kept.close()


class Cell(Protocol):
    """Something that can be measured. Equal cells are measured once in a round."""

    @property
    def name(self) -> str:
        """Who does the work: "aiotcp", "raw TUN"."""
        ...

    def run(self, common: Common) -> Sample:
        """Raises NotHere, Failed."""
        ...


COMPILED = BUILD.parent / "compiled"
"""Where `make compiled` leaves a checkout whose core is compiled."""


def _compiled_build() -> Path:
    """`COMPILED`. Raises NotHere if it was made of an older source."""
    sources = (Path(__file__).parents[1] / "aiotcp").rglob("*.py")
    newest = max(source.stat().st_mtime for source in sources)
    try:
        made = (COMPILED / ".made").stat().st_mtime
    except FileNotFoundError:
        raise NotHere("there is none: make compiled") from None
    if made < newest:
        raise NotHere("made of an older source: make compiled")
    return COMPILED


@dataclass(frozen=True)
class Serves:
    """A server on some network, and the client on kernel sockets."""

    network: str
    program: str
    work: Work
    loop: str = "uvloop"
    offload: bool = True
    compiled: bool = False
    """With the core compiled by mypyc."""
    label: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        if self.compiled:
            return f"{self.network}, compiled"
        return self.label or {"kernel": "kernel sockets", "raw": "raw TUN"}.get(
            self.network, self.network
        )

    def run(self, common: Common) -> Sample:
        certificate = common.certificate() if self.work.mode.startswith("tls-") else ""
        setting = common.setting(self.network, self.program)
        chosen = vars(setting) | {
            "loop": self.loop,
            "offload": self.offload,
            "certificate": certificate,
            "many": self.work.connections > 1,
        }
        # There `python -m` finds that build, and the bench's programs beside it.
        folder = _compiled_build() if self.compiled else None
        return measured(command(Setting(**chosen)), self.work, common.seconds, folder)


PEERS = BUILD / "peers"
"""The environment that `make bench-peers` makes for other people's TCPs."""
_SCRIPTS = {"mitmproxy_rs": "mitmproxy_server.py", "PyTCP": "pytcp_server.py"}


@dataclass(frozen=True)
class Peer:
    """A server on another TCP in user space, and the client on kernel sockets."""

    name: str
    """"mitmproxy_rs" or "PyTCP"."""
    program: str
    """"discard", "source", "echo" or "line", on what that TCP has for streams."""
    work: Work

    def run(self, common: Common) -> Sample:
        if common.version == 6:
            raise NotHere("measured with IPv4 alone")
        setting = common.setting(self.name, self.program)
        script = Path(__file__).parent / "peers" / _SCRIPTS[self.name]
        words = (self.program, setting.client_address, setting.server_address)
        start = (str(PEERS / "bin" / "python"), "-O", str(script), *words)
        return measured(start, self.work, common.seconds)


class Crowd:
    """An echo server on aiotcp with many established connections, those of real kernel clients."""

    def __init__(self, common: Common, connections: int, number: int) -> None:
        self._connections = connections
        self._faults: list[str] = []
        setting = common.setting("aiotcp", "echo-protocol", number)
        self.server: Server = common.kept.enter_context(serving(command(setting), self._faults))
        self._echo = common.kept.enter_context(
            client.Echo(self.server.host, self.server.port, connections)
        )
        self._echo.turn(connections, 0.5)

    def cost(self, used: int, seconds: float) -> Sample:
        """Of a round trip, on the first `used` connections in turn: microseconds of CPU."""
        before = self.server.cpu_s()
        told = self._echo.turn(used, seconds)
        return Sample((self.server.cpu_s() - before) * 1e6 / max(told.count, 1))

    def idle(self, seconds: float) -> Sample:
        """Milliseconds of CPU for each second in which nothing happens."""
        time.sleep(_QUIET_S)
        before = self.server.cpu_s()
        time.sleep(seconds)
        return Sample((self.server.cpu_s() - before) * 1e3 / seconds)


@dataclass(frozen=True)
class Among:
    """What a round trip costs among established connections."""

    many: bool
    """`Common.crowd` of them, else one."""
    in_turn: bool = False
    """All of them take part in turn, else one does."""

    @property
    def name(self) -> str:
        if not self.many:
            return "the only connection"
        return "each of all in turn" if self.in_turn else "one connection among all"

    def run(self, common: Common) -> Sample:
        connections = common.crowd if self.many else 1
        return common.among(connections).cost(connections if self.in_turn else 1, common.seconds)


@dataclass(frozen=True)
class Idle:
    """What many established connections cost when nothing happens."""

    name: str = "aiotcp"

    def run(self, common: Common) -> Sample:
        return common.among(common.crowd).idle(common.seconds)


@dataclass(frozen=True)
class Virtual:
    """aiotcp to aiotcp in virtual time: bench.virtual, in a process of its own."""

    kind: str
    name: str

    def run(self, common: Common) -> Sample:
        simulated_s = max(10 * common.seconds, 1)
        done = subprocess.run(
            [sys.executable, "-m", "bench.virtual", self.kind, str(simulated_s)],
            stdout=subprocess.PIPE,
            timeout=600,
            check=False,
        )
        if done.returncode:
            raise Failed(f"bench.virtual ended with {done.returncode}")
        return Sample(json.loads(done.stdout)["simulated_per_cpu_s"])


@dataclass(frozen=True)
class Tests:
    """Other people's programs in virtual time: bench.seeds, in a process of its own."""

    kind: str
    name: str

    def run(self, common: Common) -> Sample:
        count = max(round(50 * common.seconds), 3)
        done = subprocess.run(
            [sys.executable, "-m", "bench.seeds", self.kind, str(count)],
            stdout=subprocess.PIPE,
            timeout=600,
            check=False,
        )
        if done.returncode:
            raise Failed(f"bench.seeds ended with {done.returncode}")
        (value,) = json.loads(done.stdout).values()
        return Sample(value)


@dataclass(frozen=True)
class Starts:
    """How long a program takes that only starts: bench.startup."""

    command: tuple[str, ...]
    name: str

    def run(self, common: Common) -> Sample:
        return Sample(startup.seconds(self.command) * 1e3)
