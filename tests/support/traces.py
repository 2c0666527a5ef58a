"""Traces to draw: what a report must cope with."""

from __future__ import annotations

import functools

from aiotcp import sim
from aiotcp.link.impair import Netem
from aiotcp.trace.events import Fault, Flow, Said, Segment, State, Trace
from tests.support.watched import transfer


@functools.cache
def lossy(size: int, loss: float = 0.01) -> Trace:
    """A transfer that loses some. 4,500,000 bytes are about 5,000 segments."""
    trace = sim.run(transfer(size, outbound=Netem(loss=loss)))
    trace.title = "A transfer over a lossy path"
    trace.seed = "3"
    trace.replay = "aiotcp run lossy --seed 3"
    return trace


def three() -> Trace:
    """Two connections among three hosts, a partition, a crash, and a segment that is discarded."""
    hosts = ["client", "proxy", "server"]
    flows = [
        Flow("client", "192.0.2.1", 50000, "proxy", "192.0.2.2", 80),
        Flow("proxy", "2001:db8::2", 50001, "server", "2001:db8::3", 8080),
    ]
    made = Trace(hosts=hosts, flows=flows, title="A proxy </script> & its server", seed="7")
    header = bytes(range(40)).hex()

    def sent(
        at: float, way: tuple[str, str], flow: int, flags: str, seq: int, **more: object
    ) -> None:
        values = {"ack": None, "window": 65535, "length": 0, "arrived": [at + 0.01]} | more
        made.events.append(
            Segment(at, *way, flow, flags, seq, header=header, **values)  # type: ignore[arg-type]
        )

    there, back = ("client", "proxy"), ("proxy", "client")
    on, off = ("proxy", "server"), ("server", "proxy")
    sent(0.00, there, 0, "SYN", 0, why="open", options=["mss=1460"])
    made.events.append(State(0.0, "client", 0, "CLOSED", "SYN-SENT"))
    sent(0.01, back, 0, "SYN,ACK", 0, ack=1, why="open_reply")
    sent(0.02, there, 0, "ACK", 1, ack=1, why="open_ack")
    made.events.append(State(0.02, "client", 0, "SYN-SENT", "ESTABLISHED"))
    sent(0.02, there, 0, "ACK", 1, ack=1, length=120, why="new_data")
    made.events.append(Said(0.03, "proxy", "GET </script><b>&amp; @DATA@ @SCRIPT@"))
    sent(0.03, on, 1, "SYN", 0, why="open")
    made.events.append(Fault(0.035, "partition proxy | server", until=1.2))
    sent(0.04, off, 1, "SYN,ACK", 0, ack=1, why="open_reply", fate="lost", arrived=[])
    sent(1.03, on, 1, "SYN", 0, why="open_retransmit", again=True, fate="lost", arrived=[])
    sent(3.03, on, 1, "SYN", 0, why="open_retransmit", again=True)
    sent(3.04, off, 1, "SYN,ACK", 0, ack=1, why="open_reply")
    sent(3.05, on, 1, "ACK", 1, ack=1, why="open_ack")
    made.events.append(Fault(3.1, "crash", host="server"))
    sent(3.2, on, 1, "ACK", 1, ack=1, length=120, why="new_data", dropped="tcp_checksum")
    sent(3.3, off, 1, "RST", 1, ack=None, why="rst_no_connection")
    made.events.append(State(3.31, "proxy", 1, "ESTABLISHED", "CLOSED", "ECONNRESET"))
    made.events.append(Said(3.31, "proxy", "502 Bad Gateway"))
    return made


def dual() -> Trace:
    """A capture of two hosts that talk by IPv4 and by IPv6."""
    made = Trace(title="dual.pcap")
    for number, (client, server) in enumerate(
        (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2"))
    ):
        made.hosts += client, server
        made.flows.append(Flow(client, client, 50000, server, server, 80))
        made.events.append(Segment(float(number), client, server, number, "SYN", 0, None, 9, 0))
    return made
