"""What a trace is made of: segments and their fates, states, what programs did, and measurements.

Times are seconds since the trace began. Sequence and acknowledgment numbers are relative to each
side's initial sequence number, as tcpdump and Wireshark show them: a SYN is 0, the first byte 1;
unless `Trace.absolute` says that they are as on the wire.
Everything here becomes JSON and comes back from it (`Trace.to_json`, `Trace.from_json`), with the
same names.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any, Self

LOST, LATE, CORRUPTED, DUPLICATED, UNDERWAY = "lost", "late", "corrupted", "duplicated", "underway"
MARKED, STRIPPED = "marked", "stripped"
"""Fates of a segment that did not simply arrive; `late` is one that a later one overtook, `marked`
one that a router marked as having met congestion, `stripped` one that arrived without options."""

PUSH, ECN = "psh", "ecn"


@dataclass(frozen=True, slots=True)
class Flow:
    """One connection: who opened it, and to whom. `client` and `server` are names of hosts."""

    client: str
    client_address: str
    client_port: int
    server: str
    server_address: str
    server_port: int

    def __str__(self) -> str:
        client = _end(self.client, self.client_address, self.client_port)
        return f"{client} → {_end(self.server, self.server_address, self.server_port)}"

    @property
    def ends(self) -> str:
        """The same with addresses."""
        client = end_text(self.client_address, self.client_port)
        return f"{client} → {end_text(self.server_address, self.server_port)}"


def end_text(address: str, port: int) -> str:
    """`192.0.2.1:80`, `[2001:db8::1]:80`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _end(host: str, address: str, port: int) -> str:
    text = end_text(address, port)
    return text if host in (address, text) else f"{host}:{port}"


@dataclass(slots=True)
class Segment:
    """One TCP segment on its way from `sender` to `receiver` (names of hosts)."""

    at: float
    """When it was sent; in a capture taken at the receiver, when it came."""
    sender: str
    receiver: str
    flow: int
    """Which of `Trace.flows`."""
    flags: str
    """Names of the flags that are set, low bit first: "SYN,ACK"."""
    seq: int
    ack: int | None
    """None without ACK."""
    window: int
    """Bytes, scaled as both sides agreed."""
    length: int
    """Bytes of text."""
    options: list[str] = field(default_factory=list)
    """Those that tell something: "mss=1460", "sack=1461-2921" (relative), "ts=17/4"."""
    why: str = ""
    """The sender's reason (`reasons.Why`); empty where the sender is not ours."""
    fate: str = ""
    """Empty: it arrived, in order, as it was. Else one of the words above."""
    arrived: list[float] = field(default_factory=list)
    """When it came to `receiver`, each time; empty if it did not, or nobody watched there."""
    dropped: str = ""
    """Why the receiver discarded it (`reasons.Drop`), if it did and that is known."""
    again: bool = False
    """Whether it repeats numbers that were sent before."""
    push: bool = False
    """Whether PSH is set, which `flags` leaves out: nearly every segment with text has it."""
    ecn: str = ""
    """ECN codepoint of the IP header: "", "ECT(0)", "ECT(1)", "CE"."""
    header: str = ""
    """The IP and TCP headers, hexadecimal."""
    kind: str = "segment"

    def text(self, shows: Collection[str] = ()) -> str:
        """As a line of a ladder has it: flags, numbers, window, length; and what `shows` names (see
        `Trace.shows`)."""
        flags = self.flags
        if self.push and PUSH in shows:
            names = flags.split(",")
            behind = sum(name in ("FIN", "SYN", "RST") for name in names)
            flags = ",".join([*names[:behind], "PSH", *names[behind:]])
        text = f"{flags} seq={self.seq}"
        if self.ack is not None:
            text += f" ack={self.ack}"
        if "RST" not in self.flags:
            text += f" win={self.window}"
        if self.length:
            text += f" len={self.length}"
        for option in self.options:
            if option.partition("=")[0] in shows:
                text += f" {option}"
        if self.ecn and ECN in shows:
            text += f" {self.ecn}"
        return text


@dataclass(slots=True)
class State:
    """A host's side of a connection entered a state (RFC 9293 3.3.2)."""

    at: float
    host: str
    flow: int
    old: str
    new: str
    error: str = ""
    """Why it went to CLOSED, if not by closing on both sides: "ECONNRESET"."""
    kind: str = "state"


@dataclass(slots=True)
class Said:
    """What a program on a host did, or was told."""

    at: float
    host: str
    text: str
    kind: str = "said"


@dataclass(slots=True)
class Fault:
    """Something was done to the network or to a host: a partition, a crash, a scripted loss."""

    at: float
    text: str
    host: str = ""
    """The host that it happened to; empty for the network's."""
    until: float | None = None
    """When it ended, for what lasts."""
    kind: str = "fault"


@dataclass(slots=True)
class Sample:
    """What one side of a connection knew at one moment. Bytes, and seconds."""

    at: float
    host: str
    flow: int
    state: str
    cwnd: int
    ssthresh: int | None
    """None while it is arbitrarily high."""
    in_flight: int
    snd_wnd: int
    rcv_wnd: int
    srtt: float | None
    rttvar: float | None
    rto: float
    waits: str = ""
    """What the connection waits for."""
    until: float | None = None
    """When its next timer is due."""
    kind: str = "sample"


Event = Segment | State | Said | Fault
_KINDS: dict[str, type[Event]] = {
    "segment": Segment,
    "state": State,
    "said": Said,
    "fault": Fault,
}


@dataclass(slots=True)
class Trace:
    """Everything that was seen, in the order in which it happened."""

    hosts: list[str] = field(default_factory=list)
    """Names; the order of the lanes in a ladder, left to right."""
    flows: list[Flow] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    title: str = ""
    title_zh: str = ""
    """The title in Chinese, if it has one."""
    question: dict[str, str] = field(default_factory=dict)
    """What it is the answer to, by language, `en` and `zh`; empty if nobody asked."""
    answer: dict[str, str] = field(default_factory=dict)
    seed: str = ""
    replay: str = ""
    """The command that makes it happen again."""
    epoch: float | None = None
    """Wall-clock time, seconds since 1970, of `at == 0`; None in virtual time."""
    notes: list[str] = field(default_factory=list)
    """What a reader should know: packets that could not be read, what was left out."""
    absolute: bool = False
    """Whether sequence and acknowledgment numbers are as on the wire, and not relative."""
    shows: list[str] = field(default_factory=list)
    """What else a segment's text tells, because this trace is about it: names of options ("mss",
    "sack", "urg"), "psh", "ecn"."""

    @property
    def segments(self) -> list[Segment]:
        return [event for event in self.events if isinstance(event, Segment)]

    def of_flow(self, flow: int) -> Trace:
        """The same trace with one connection's segments, states and samples only; what programs
        did, and faults, stay."""
        return Trace(
            hosts=self.hosts,
            flows=self.flows,
            events=[
                event
                for event in self.events
                if not isinstance(event, Segment | State) or event.flow == flow
            ],
            samples=[sample for sample in self.samples if sample.flow == flow],
            title=self.title,
            title_zh=self.title_zh,
            question=self.question,
            answer=self.answer,
            seed=self.seed,
            replay=self.replay,
            epoch=self.epoch,
            notes=self.notes,
            absolute=self.absolute,
            shows=self.shows,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings; `from_json` takes them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Raises KeyError or TypeError for what `to_json` did not make."""
        plain = (
            "hosts",
            "title",
            "title_zh",
            "question",
            "answer",
            "seed",
            "replay",
            "epoch",
            "notes",
            "absolute",
            "shows",
        )
        rest = {key: data[key] for key in plain}
        return cls(
            flows=[Flow(**flow) for flow in data["flows"]],
            events=[_KINDS[event["kind"]](**event) for event in data["events"]],
            samples=[Sample(**sample) for sample in data["samples"]],
            **rest,
        )
