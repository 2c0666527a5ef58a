"""The counters of a stack under Linux's names."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from aiotcp.counters import Counters
from aiotcp.nstat import ROWS, nstat
from aiotcp.options import Options
from aiotcp.tcp.tcb import State
from aiotcp.wire.tcp import ACK, RST, SYN
from tests.support.conversation import Peer

ROOT = Path(__file__).parents[1]


def counted(peer: Peer, before: dict[str, int] | None = None) -> dict[str, int]:
    """What is not zero, or has changed since `before`."""
    now = peer.stack.nstat()
    before = before or dict.fromkeys(now, 0)
    return {
        name.removeprefix("TcpExt"): count - before[name]
        for name, count in now.items()
        if count != before[name] and not name.startswith("Ip")
    }


def test_the_names_are_the_kernel_s() -> None:
    known: set[str] = set()
    for table in ("snmp", "netstat"):
        rows = Path(f"/proc/net/{table}").read_text().splitlines()
        for head in rows[::2]:
            group, _, names = head.partition(": ")
            known.update(group + name for name in names.split())
    newer = {"IcmpOutRateLimitHost"}  # than some kernels that this runs on
    assert {row.name for row in ROWS} - newer <= known
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_the_page_about_counters_is_up_to_date() -> None:
    """If not: make docs."""
    script = ROOT / "bin" / "counters_doc.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert (ROOT / "docs" / "counters.md").read_text() == done.stdout


async def test_openings() -> None:
    async with Peer() as peer:
        await peer.connects()
        assert counted(peer) == {
            **{"TcpPassiveOpens": 1, "TcpCurrEstab": 1},
            **{"TcpInSegs": 2, "TcpOutSegs": 1},
        }
        before = peer.stack.nstat()
        peer.sends(RST, seq=1)
        assert counted(peer, before) == {"TcpEstabResets": 1, "TcpCurrEstab": -1, "TcpInSegs": 1}


async def test_attempts_that_come_to_nothing() -> None:
    async with Peer() as peer:
        peer.opens(options=Options(syn_retries=1))
        await peer.sees(SYN)
        await peer.sees(SYN, after=1)
        await peer.wait(2.1)
        assert counted(peer) == {
            **{"TcpActiveOpens": 1, "TcpAttemptFails": 1, "TcpOutSegs": 2, "TcpRetransSegs": 1},
            **{"TCPSynRetrans": 1, "TCPTimeouts": 1, "TCPAbortOnTimeout": 1},
        }
        before = peer.stack.nstat()
        listener, _ = peer.listens(80)
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        peer.sends(RST, seq=1)
        listener.close()
        assert counted(peer, before) == {"TcpAttemptFails": 1, "TcpInSegs": 2, "TcpOutSegs": 1}


async def test_losses_and_their_repair() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=1000, sack=True)
        before = peer.stack.nstat()
        app.write(b"y" * 3000)
        for _ in range(3):
            await peer.sees(ACK, length=1000)
        peer.sends(ACK, ack=1, sack=[(1001, 3001)])
        await peer.sees(ACK, seq=1, length=1000, why="fast_retransmit")
        await peer.sees(ACK, seq=1, length=1000, within=0.3, why="rto_retransmit")
        peer.sends(ACK, ack=3001, sack=[(1, 1001)])
        assert counted(peer, before) == {
            **{"TcpInSegs": 2, "TcpOutSegs": 5, "TcpRetransSegs": 2},
            **{"TCPSackRecovery": 1, "TCPFastRetrans": 1, "TCPSlowStartRetrans": 1},
            **{"TCPTimeouts": 1, "TCPDSACKRecv": 1},
        }


async def test_a_repair_that_was_for_nothing() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=1000, sack=True)
        before = peer.stack.nstat()
        app.write(b"y" * 3000)
        for _ in range(3):
            await peer.sees(ACK, length=1000)
        peer.sends(ACK, ack=1, sack=[(1001, 3001)])
        await peer.sees(ACK, seq=1, length=1000, why="fast_retransmit")
        peer.sends(ACK, ack=3001, sack=[(1, 1001)])
        assert counted(peer, before) == {
            **{"TcpInSegs": 2, "TcpOutSegs": 4, "TcpRetransSegs": 1},
            **{"TCPSackRecovery": 1, "TCPFastRetrans": 1},
            **{"TCPDSACKRecv": 1, "TCPDSACKUndo": 1},
        }


async def test_a_tail_loss_probe_and_reordering() -> None:
    async with Peer() as peer:
        app = peer.opens()
        await peer.sees(SYN)
        await peer.wait(0.05)
        peer.sends(SYN | ACK, mss=1000, sack_permitted=True)
        await peer.sees(ACK)
        before = peer.stack.nstat()
        app.write(b"y" * 2000)
        for _ in range(2):
            await peer.sees(ACK, length=1000)
        await peer.sees(ACK, seq=1001, length=1000, within=0.3, why="tail_loss_probe")
        peer.sends(ACK, ack=2001)
        app.write(b"y" * 2000)
        for _ in range(2):
            await peer.sees(ACK, length=1000)
        assert counted(peer, before) == {
            **{"TcpInSegs": 1, "TcpOutSegs": 5, "TcpRetransSegs": 1, "TCPLossProbes": 1}
        }
        before = peer.stack.nstat()
        await peer.wait(0.001)
        peer.sends(ACK, ack=2001, sack=[(3001, 4001)])
        peer.sends(ACK, ack=4001)
        assert counted(peer, before) == {
            **{"TcpInSegs": 2, "TCPSACKReorder": 1},
            "TCPLossProbeRecovery": 1,  # as no D-SACK said otherwise
        }
        peer.sends(RST, seq=1)
        assert counted(peer, before)["TCPSACKReorder"] == 1  # though the connection is gone


async def test_strangers() -> None:
    async with Peer() as peer:
        peer.sends(ACK, seq=0, ack=0)
        await peer.sees(RST)
        assert counted(peer) == {"TcpInSegs": 1, "TcpOutSegs": 1, "TcpOutRsts": 1}


@pytest.mark.parametrize(
    ("path", "established", "resets", "failed"),
    [
        ("SYN-SENT ESTABLISHED", 1, 0, 0),
        ("SYN-SENT ESTABLISHED CLOSE-WAIT", 1, 0, 0),
        ("SYN-RECEIVED ESTABLISHED CLOSE-WAIT LAST-ACK CLOSED", 0, 0, 0),
        ("SYN-RECEIVED ESTABLISHED FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT CLOSED", 0, 0, 0),
        ("SYN-RECEIVED ESTABLISHED CLOSE-WAIT CLOSED", 0, 1, 0),
        ("SYN-RECEIVED ESTABLISHED CLOSED", 0, 1, 0),
        ("CLOSED SYN-SENT SYN-RECEIVED CLOSED", 0, 0, 1),
        ("LISTEN SYN-RECEIVED LISTEN", 0, 0, 1),
    ],
)
def test_states_are_counted(path: str, established: int, resets: int, failed: int) -> None:
    counters = Counters()
    states = [State(word) for word in path.split()]
    for old, new in itertools.pairwise(states):
        counters.moved(old, new)
    table = nstat(counters)
    assert table["TcpCurrEstab"] == established
    assert table["TcpEstabResets"] == resets
    assert table["TcpAttemptFails"] == failed
