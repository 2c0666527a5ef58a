"""make bench: the table says what was measured, and what misses its floor."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from aiotcp.link.tun import Tun
from aiotcp.wire import tcp
from aiotcp.wire.frame import Frame
from aiotcp.wire.tcp import ACK, SYN, HeaderTemplate
from bench import __main__ as program
from bench import cells, client, rows
from bench.cells import Cell, Common
from bench.client import Failed, NotHere, read_wrk
from bench.measure import Sample
from bench.raw_responder import RawResponders
from bench.report import Found, markdown, summary, table
from bench.rows import BLOCKS, KEYS, Row, chosen


@dataclass(frozen=True)
class Known:
    """A cell that is not measured."""

    name: str

    def run(self, common: Common) -> Sample:
        raise NotImplementedError


OURS, KERNEL, RAW = Known("aiotcp"), Known("kernel sockets"), Known("raw TUN")
ROW = Row("in", "bulk", "Gbit/s", OURS, 0.5, references=(KERNEL,), beside=(RAW,), cpu_unit="GB")


def found(**values: list[float | None]) -> dict[Cell, Found]:
    by_name: dict[str, Cell] = {"ours": OURS, "kernel": KERNEL, "raw": RAW}
    return {
        by_name[name]: Found([None if each is None else Sample(each, 2 * each) for each in runs])
        for name, runs in values.items()
    }


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    row = summary(ROW, found(ours=[1, 4, 9], kernel=[2, 4, 6], raw=[10, 10, 10]))
    assert row["ratio"] == 1.0
    assert row["met"] is True
    assert row["ratio_per_cpu"] == 1.0
    ours, kernel, raw = row["cells"]
    assert (ours["median"], ours["lowest"], ours["highest"]) == (4, 1, 9)
    assert ours["cpu"] == 8
    assert (kernel["role"], raw["role"]) == ("reference", "beside")


def test_a_round_without_its_reference_does_not_count() -> None:
    row = summary(ROW, found(ours=[1, 9, 1], kernel=[4, None, 4], raw=[1, 1, 1]))
    assert row["ratio"] == 0.25
    assert row["met"] is False


def test_what_is_missing_is_said_and_nothing_is_compared() -> None:
    measured = found(ours=[1], kernel=[None], raw=[1])
    measured[KERNEL].missing = "there is no such thing"
    row = summary(ROW, measured)
    assert row["ratio"] is None
    assert row["met"] is None
    assert "not measured: there is no such thing" in text([row])
    assert "there is no such thing" in text([row], form=markdown)


def test_two_references_count_with_their_mean() -> None:
    row = Row("both", "both ways", "Gbit/s", OURS, 0.8, references=(KERNEL, RAW))
    assert summary(row, found(ours=[6], kernel=[2], raw=[6]))["ratio"] == 1.5


def test_a_ceiling_a_difference_and_a_number_of_its_own() -> None:
    less = Row("cost", "cost", "us", OURS, 1.25, references=(KERNEL,), at_most=True)
    assert summary(less, found(ours=[12], kernel=[10]))["met"] is True
    assert summary(less, found(ours=[13], kernel=[10]))["met"] is False
    more = Row("import", "import", "ms", OURS, 60, (KERNEL,), at_most=True, difference=True)
    assert summary(more, found(ours=[90], kernel=[40]))["ratio"] == 50
    alone = Row("virtual", "virtual", "s", OURS, 60)
    assert summary(alone, found(ours=[70, 50, 50]))["met"] is False


def text(rows: list[dict[str, object]], form=table) -> str:  # type: ignore[no-untyped-def]
    setting = {"runs": 3, "seconds": 1.0, "mtu": 1500, "version": 4, "veth": False}
    machine = {
        **{"processors": 2, "load_average": (1.5, 1, 1), "busy_elsewhere": 0.75},
        **{"kernel": "6.1", "python": "3.11", "uvloop": "0.2", "http": "h11"},
    }
    report = {"rows": rows, "setting": setting, "machine": machine}
    json.dumps(report)
    made: str = form(report)
    return made


def test_the_table_has_the_ratio_beside_the_floor_and_marks_what_misses_it() -> None:
    good = summary(ROW, found(ours=[5], kernel=[10], raw=[20]))
    bad = summary(ROW, found(ours=[4], kernel=[10], raw=[20]))
    lines = text([good, bad]).splitlines()
    ours = [line.split() for line in lines if line.startswith("    aiotcp")]
    assert [line[6:] for line in ours] == [["0.50", ">=", "0.5"], ["0.40!", ">=", "0.5"]]
    assert [line[5] for line in ours] == ["2.00", "2.50"]  # less CPU for each GB: better
    assert any("busy with other work: 0.75" in line for line in lines)
    assert any("on the loopback" in line for line in lines)


def test_the_table_for_the_docs_has_one_line_for_each_row() -> None:
    row = summary(ROW, found(ours=[5], kernel=[10], raw=[20]))
    last = text([row], form=markdown).splitlines()[-1]
    assert last == (
        "| bulk | 5.00 Gbit/s | kernel sockets: 10.0 | **0.50** | >= 0.5 | 2.00 | 10.0 s/GB "
        "| 20.0 s/GB | raw TUN: 20.0 |"
    )


def test_faults_are_shown() -> None:
    measured = found(ours=[5], kernel=[10], raw=[20])
    measured[OURS].samples = [Sample(5, faults=("3 sent again",))]
    assert "(3 sent again)" in text([summary(ROW, measured)])


def test_rows_are_chosen_by_name_and_pattern() -> None:
    assert len(set(KEYS)) == len(KEYS)
    assert [block.name for block in chosen([])] == [block.name for block in BLOCKS]
    keys = [row.key for block in chosen(["lines-*", "http"]) for row in block.rows]
    assert keys == ["lines-1", "lines-50", "http"]
    with pytest.raises(ValueError, match="no row is called nothing"):
        chosen(["nothing"])


def test_peers_are_shown_where_there_are_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beside() -> set[str]:
        return {cell.name for block in chosen(["lines-1"]) for cell in block.rows[0].beside}

    monkeypatch.setattr(rows, "PEERS", tmp_path / "peers")
    monkeypatch.setattr(rows, "COMPILED", tmp_path / "compiled")
    assert beside() == set()
    (tmp_path / "peers").mkdir()
    assert beside() == {"mitmproxy_rs", "PyTCP"}


def test_the_compiled_build_is_shown_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (rows, cells):
        monkeypatch.setattr(module, "COMPILED", tmp_path)
    first = chosen(["lines-1"])[0].rows[0].beside[0]
    assert first.name == "aiotcp, compiled"
    assert first != chosen(["lines-1"])[0].rows[0].ours
    with pytest.raises(NotHere, match="there is none"):
        first.run(Common())
    (tmp_path / ".made").touch()
    os.utime(tmp_path / ".made", (0, 0))
    with pytest.raises(NotHere, match="made of an older source"):
        first.run(Common())


def test_the_compiled_build_is_compared_with_the_reference_too() -> None:
    compiled = Known("aiotcp, compiled")
    row = replace(ROW, beside=(compiled, RAW))
    measured = found(ours=[5], kernel=[10], raw=[20]) | {compiled: Found([Sample(8, 1)])}
    made = summary(row, measured)
    assert made["cells"][2]["ratio"] == 0.8
    assert "| aiotcp, compiled: 8.00 (0.80); raw TUN: 20.0 |" in text([made], form=markdown)
    (line,) = [line for line in text([made]).splitlines() if "compiled" in line]
    assert line.split()[2:] == ["8.00", "8.00", "8.00", "1.00", "0.80"]


def test_what_the_device_makes_of_a_ratio_is_shown_beside() -> None:
    many = Known("raw TUN, 10 connections")
    row = replace(ROW, beside=(), limit=(many, RAW))
    measured = found(ours=[5, 5, 5], kernel=[10, 10, 10], raw=[10, 20, 40])
    measured[many] = Found([Sample(5), Sample(12), Sample(16)])
    made = summary(row, measured)
    assert made["ratio"] == 0.5
    assert made["cells"][-1]["ratio"] == 0.5
    assert "| raw TUN, 10 connections: 12.0 (0.50 of raw TUN) |" in text([made], form=markdown)
    (line,) = [line for line in text([made]).splitlines() if "raw TUN, 10" in line]
    assert line.split()[4:] == ["12.0", "5.00", "16.0", "0.50"]


def test_rows_of_several_connections_show_what_the_device_makes_of_them() -> None:
    (block,) = chosen(["in-10", "out-100"])
    into, out = block.rows
    for row, connections in ((into, 10), (out, 100)):
        assert row.limit is not None
        assert [cell.name for cell in row.limit] == [
            f"raw TUN, {connections} connections",
            "raw TUN with one",
        ]


def packet(source: int, seq: int, ack: int, flags: int, payload: bytes = b"") -> memoryview:
    frame = HeaderTemplate(bytes(4), source, bytes(4), 80).frame(
        seq, ack, flags, 2000, payload=(payload,), payload_length=len(payload), offload=False
    )
    return memoryview(frame.to_bytes())


class Device:
    """What a `RawResponder` needs of a TUN device."""

    mtu, gso_max_bytes, checksum_offload = 1500, 0, False

    def __init__(self) -> None:
        self.sent: list[tuple[int, int, int, int]] = []

    def send(self, frame: Frame) -> None:
        """Notes the port it is for, its numbers, and how much text it has."""
        whole = frame.to_bytes()
        segment = tcp.parse(memoryview(whole), 20, len(whole))
        port = int.from_bytes(whole[22:24], "big")
        self.sent.append((port, segment.seq, segment.ack, len(segment.payload)))


def opened(role: str, *ports: int) -> tuple[RawResponders, Device]:
    device = Device()
    responders = RawResponders(cast(Tun, device), role, 80)
    for port in ports:
        responders.receive(packet(port, 10 * port, 0, SYN))
    responders.flush()
    assert device.sent == [(port, 1000, 10 * port + 1, 0) for port in ports]
    device.sent.clear()
    return responders, device


def test_the_raw_responder_acknowledges_each_connection_of_a_batch_once() -> None:
    responders, device = opened("sink", 7, 8, 9)
    responders.receive(packet(8, 81, 1001, ACK, bytes(100)))
    responders.receive(packet(7, 71, 1001, ACK, bytes(10)))
    responders.receive(packet(8, 181, 1001, ACK, bytes(100)))
    responders.flush()
    assert device.sent == [(8, 1001, 281, 0), (7, 1001, 81, 0)]
    responders.flush()
    assert len(device.sent) == 2


def test_the_raw_responder_fills_the_window_of_each_connection() -> None:
    responders, device = opened("source", 7, 8)
    responders.receive(packet(8, 81, 1001, ACK))
    responders.flush()
    assert device.sent == [(8, 1001, 81, 1460)]  # the rest is less than a segment
    responders.receive(packet(7, 71, 1001, ACK))
    responders.receive(packet(8, 81, 2461, ACK))
    responders.flush()
    assert device.sent[1:] == [(7, 1001, 71, 1460), (8, 2461, 81, 1460)]


def test_wrk_is_read() -> None:
    good = "Running 1s test\n  1 threads\n  3215 requests in 1.05s, 461.96KB read\nRequests/sec: 3"
    assert read_wrk(good).count == 3215
    assert read_wrk(good).seconds == 1.05
    with pytest.raises(Failed, match="Non-2xx"):
        read_wrk(good + "\n  Non-2xx or 3xx responses: 4")
    with pytest.raises(Failed, match="unable to connect"):
        read_wrk("unable to connect to 10.0.0.1:http Connection refused")


@pytest.mark.parametrize(
    "options",
    [
        ("--runs", "0"),
        ("--runs", "-1"),
        ("--seconds", "0"),
        ("--seconds", "inf"),
        ("--seconds", "nan"),
        ("--mtu", "5"),
        ("--mtu", "70000"),
    ],
)
def test_what_can_not_be_measured_is_refused(
    options: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *options])
    with pytest.raises(SystemExit):
        program.arguments()
    assert f"argument {options[0]}: {options[1]} is " in capsys.readouterr().err


def test_a_compiler_that_there_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(client, "BUILD", tmp_path)
    monkeypatch.setenv("CC", "/nowhere/cc")
    with pytest.raises(NotHere, match=r"the C compiler /nowhere/cc \(CC\): No such file"):
        client.compiled()
