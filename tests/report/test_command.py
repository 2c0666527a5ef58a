"""`aiotcp report`: of a capture, of a scenario, and of what is neither."""

from __future__ import annotations

import struct
import webbrowser
from pathlib import Path

import pytest

from aiotcp.scenario.model import SHIPPED
from tests.cli.support import invoke
from tests.report.test_page import data_of
from tests.support import traces


def test_of_a_scenario_by_its_name_and_by_its_file(tmp_path: Path) -> None:
    for n, what in enumerate(("open-active", str(SHIPPED / "open-active.toml"))):
        file = tmp_path / f"{n}.html"
        result = invoke("report", what, "-o", str(file), "--seed", "5")
        assert result.exit_code == 0, result.output
        data = data_of(file.read_text("utf-8"))
        assert data["replay"] == "aiotcp run open-active --seed 5"
        assert result.output == f"{file}: {len(data['p']['at'])} segments\n"


def test_two_runs_of_one_seed_give_the_same_page(tmp_path: Path) -> None:
    pages = [invoke("report", "open-active", "-o", "-").output for _ in range(2)]
    assert pages[0] == pages[1]


def test_of_a_capture(capture: Path) -> None:
    result = invoke("report", str(capture), "-o", "-")
    assert result.exit_code == 0, result.output
    data = data_of(result.output)
    assert data["title"] == capture.name
    assert len(data["p"]["at"]) > 3
    assert len(set(data["p"]["flow"])) == 1


def test_one_connection(capture: Path) -> None:
    assert invoke("report", str(capture), "-o", "-", "--flow", "1").exit_code == 0
    result = invoke("report", str(capture), "-o", "-", "--flow", "2")
    assert result.exit_code == 2
    assert "--flow 2: there is one connection" in result.output


def test_errors_say_what_is_wrong(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pcapng"
    text = tmp_path / "text.pcap"
    text.write_text("no capture at all, but long enough")
    bad = tmp_path / "bad.toml"
    bad.write_text("hosts = 3")
    for what, told in (
        (str(nothing), "No such file or directory"),
        (str(text), "neither pcapng nor pcap"),
        (str(bad), str(bad)),
        ("open-activ", "open-active, "),
    ):
        result = invoke("report", what, "-o", str(tmp_path / "never.html"))
        assert result.exit_code == 1, what
        assert told in result.output
    assert not (tmp_path / "never.html").exists()
    result = invoke("report", "open-active", "-o", str(tmp_path / "no" / "page.html"))
    assert result.exit_code == 1
    assert "page.html: No such file or directory" in result.output
    assert invoke("report").exit_code == 2
    assert invoke("report", "open-active", "-o", "-", "--open").exit_code == 2


def test_it_is_opened_if_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def browse(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", browse)
    file = tmp_path / "page.html"
    assert invoke("report", "open-active", "-o", str(file), "--open").exit_code == 0
    assert opened == [file.as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    result = invoke("report", "open-active", "-o", str(file), "--open")
    assert result.exit_code == 1
    assert f"no browser was found; open {file}" in result.output


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """A capture of the headers of one connection, as tcpdump writes pcap."""
    file = tmp_path / "of-ours.pcap"
    blocks = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)]
    for segment in traces.lossy(1000, 0.0).segments:
        packet = bytes.fromhex(segment.header) + bytes(segment.length)
        micros = round(segment.at * 1e6)
        blocks.append(struct.pack("<IIII", micros // 10**6, micros % 10**6, *[len(packet)] * 2))
        blocks.append(packet)
    file.write_bytes(b"".join(blocks))
    return file
