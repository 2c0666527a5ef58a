"""The ladder as text."""

from __future__ import annotations

from dataclasses import replace

from aiotcp.link.impair import Netem
from aiotcp.trace.events import Fault, Flow, Said, Segment, State, Trace
from aiotcp.trace.ladder import lines, text
from tests.support.watched import lose, transfer

MSS = 1448


def made(*events: Segment | State | Said | Fault, hosts: list[str] | None = None) -> Trace:
    flow = Flow("client", "192.0.2.1", 50000, "server", "192.0.2.2", 80)
    return Trace(hosts=hosts or ["client", "server"], flows=[flow], events=list(events))


async def test_a_transfer_reads_from_top_to_bottom() -> None:
    trace = await transfer(1000)
    assert text(trace, width=90) == (
        "           client                                           server\n"
        "    0.000  ├─ SYN seq=0 win=65535 mss=1460 ─────────────────────▶│  open\n"
        "    0.000  │ SYN-SENT                                            │\n"
        "    0.010  │◀─────────── SYN,ACK seq=0 ack=1 win=65535 mss=1460 ─┤  open_reply\n"
        "    0.010  │                                        SYN-RECEIVED │\n"
        "    0.020  ├─ ACK seq=1 ack=1 win=524288 ───────────────────────▶│  open_ack\n"
        "    0.020  │ ESTABLISHED                                         │\n"
        "    0.020  │ ! connected                                         │\n"
        "    0.020  ├─ FIN,ACK seq=1 ack=1 win=524288 len=1000 ──────────▶│  new_data\n"
        "    0.020  │ FIN-WAIT-1                                          │\n"
        "    0.030  │◀──────────────────── ACK seq=1 ack=1002 win=524288 ─┤  ack_fin\n"
        "    0.030  │                                         ESTABLISHED │\n"
        "    0.030  │                                          CLOSE-WAIT │\n"
        "    0.030  │                       ! read 1000 bytes and the end │\n"
        "    0.030  │◀──────────────── FIN,ACK seq=1 ack=1002 win=524288 ─┤  close\n"
        "    0.030  │                                            LAST-ACK │\n"
        "    0.040  ├─ ACK seq=1002 ack=2 win=524288 ────────────────────▶│  ack_fin\n"
        "    0.040  │ FIN-WAIT-2                                          │\n"
        "    0.040  │ TIME-WAIT                                           │\n"
        "    0.050  │                                              CLOSED │\n"
    )


async def test_what_is_lost_is_crossed_out() -> None:
    trace = await transfer(20 * MSS, outbound=Netem(filter=lose(3)))
    (crossed,) = [line for line in text(trace).splitlines() if "✗" in line]
    assert "seq=2897" in crossed
    assert crossed.endswith("new_data, lost")
    parts = {piece.part for line in lines(trace) for piece in line}
    assert parts >= {"time", "lane", "segment", "again", "lost", "state", "said", "why"}


async def test_no_line_is_wider_than_told() -> None:
    trace = await transfer(20 * MSS, outbound=Netem(filter=lose(3)))
    for width in (60, 80, 100, 200):
        assert max(map(len, text(trace, width=width).splitlines())) <= width


def test_long_reasons_do_not_make_a_line_wider() -> None:
    long = Segment(0, "a", "b", 0, "SYN,ACK", 0, 1, 9, 0, why="partial_ack_retransmit")
    lost = replace(long, fate="lost")
    late = replace(long, fate="late")
    told = text(made(long, lost, late, hosts=["a", "b"]), width=100).splitlines()[1:]
    assert [line.split("  ")[-1] for line in told] == [
        *("partial_ack_retransmit", "partial_ack_retransmit", "partial_ack_retransmi…")
    ]
    assert max(map(len, told)) <= 100


def test_numbers_that_do_not_fit_are_not_other_numbers() -> None:
    trace = made(
        Segment(0, "a", "b", 0, "ACK", 1, 1, 65535, 1400), hosts=["a", "b", "somebody else"]
    )
    narrow = text(trace, width=105)
    assert "├─ ACK seq=1 ack=1 win=65535 ────▶│" in narrow
    assert "│ len=1400                        │" in narrow
    assert "len=1400" in text(trace, width=120)


def test_what_a_trace_is_about_is_in_its_segments() -> None:
    options = ["mss=1460", "urg=5", "ts=1/2"]
    trace = made(
        Segment(0, "client", "server", 0, "ACK", 1, 1, 9, 5, options, push=True, ecn="ECT(0)")
    )
    trace.shows = ["psh", "urg", "ecn"]
    assert "─ PSH,ACK seq=1 ack=1 win=9 len=5 urg=5 ECT(0) mss=1460 ─" in text(trace, width=120)
    trace.shows = []
    assert "─ ACK seq=1 ack=1 win=9 len=5 mss=1460 ─" in text(trace, width=120)


def test_each_host_has_a_lane_and_arrows_pass_those_between() -> None:
    trace = made(
        Segment(0.0, "a", "c", 0, "SYN", 0, None, 100, 0),
        Segment(1.0, "c", "b", 0, "RST", 0, None, 0, 0),
        Said(2.0, "b", "hello"),
        hosts=["a", "b", "c"],
    )
    first, second, third = text(trace, width=95).splitlines()[1:]
    assert first.count("─") > 30
    assert first.index("├") < first.index("▶")
    assert second.strip().startswith("1.000  │")
    assert "◀" in second
    assert third.index("! hello") == second.index("◀") + 1


def test_faults_and_errors_are_told() -> None:
    told = text(
        made(
            Fault(0.5, "partition", until=2.0),
            Fault(1.0, "crashes", host="server"),
            State(3.0, "client", 0, "ESTABLISHED", "CLOSED", "ETIMEDOUT"),
            Segment(4.0, "client", "server", 0, "ACK", 1, 1, 9, 0, dropped="ack_too_old"),
        )
    )
    assert "# partition, until 2.000" in told
    assert "# crashes" in told
    assert "CLOSED (ETIMEDOUT)" in told
    assert "dropped: ack_too_old" in told
