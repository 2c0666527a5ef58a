"""aiotcp-serve --web: who may see it, and what a browser shows during a transfer."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from aiotcp.serve import privileges
from tests.serve.support import ROOT, TIMEOUT_S, Program, ended, serving
from tests.serve.support import public as public
from tests.support.chromium import Chromium, obstacle
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]

ADDRESS = re.compile(r"live +(http://127\.0\.0\.1:\d+/([A-Za-z0-9_-]{24,})/)\n")


def address_of(program: Program) -> str:
    """As it is printed, once."""
    assert program.process.stdout is not None
    for line in program.process.stdout:
        if found := ADDRESS.fullmatch(line):
            return found[1]
    raise AssertionError("no address was printed")


def status(url: str, **headers: str) -> int:
    try:
        with urlopen(Request(url, headers=headers), timeout=TIMEOUT_S) as answer:
            return int(answer.status)
    except HTTPError as exc:
        return exc.code


@contextmanager
def download(url: str, rate: str) -> Iterator[None]:
    """Something that goes on, at so many bytes a second."""
    process = subprocess.Popen(["curl", "-sS", "-o", "/dev/null", "--limit-rate", rate, url])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_only_who_knows_the_token_sees_it() -> None:
    with serving("echo", "--web", stdout=subprocess.PIPE) as program:
        url = address_of(program)
        base, token = url[: url.index("/", 7)], url.split("/")[3]
        assert status(url) == 200
        for path in ("/", f"/{token[:-1]}/", "/x/", "/x/events", f"/{token}/other"):
            assert status(base + path) == 404, path
        assert status(f"{url}events?flow=nothex") == 400
        with urlopen(url, timeout=TIMEOUT_S) as answer:
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Referrer-Policy"] == "no-referrer"
        with urlopen(f"{url}events", timeout=TIMEOUT_S) as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            told = json.loads(answer.readline().removeprefix(b"data: "))
            assert told["table"] == {"all": 0, "rows": []}
            # Who is still listening does not keep it from ending.
            program.signal(15)
            assert program.wait() == 0


def test_without_it_nothing_listens() -> None:
    with serving("echo", stdout=subprocess.PIPE) as program:
        listening = Path(f"/proc/{program.process.pid}/net/tcp").read_text().splitlines()[1:]
        assert [line for line in listening if line.split()[3] == "0A"] == []


def test_what_can_not_be_is_said() -> None:
    assert ended("echo", "--web", "nonsense")[0] == 2
    assert "not HOST:PORT" in ended("echo", "--web", "nonsense")[1]
    code, told = ended("echo", "--web", "203.0.113.1:80")
    assert code == 2
    assert "--web 203.0.113.1:80: " in told


@pytest.mark.skipif(not privileges.is_root(), reason="becomes another user: needs root")
@pytest.mark.parametrize("workers", [1, 2])
def test_what_it_reads_it_has_read_before_it_becomes_somebody_else(
    workers: int, tmp_path: Path
) -> None:
    """tmp_path is for its owner only."""
    shutil.copytree(ROOT / "aiotcp", tmp_path / "aiotcp")
    options = ("--user", "nobody", "--workers", str(workers), "--web")
    with serving("echo", *options, stdout=subprocess.PIPE, cwd=tmp_path, root=tmp_path) as program:
        url = address_of(program)
        host, port = program.endpoints[0].rsplit(":", 1)
        with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
            with urlopen(f"{url}events", timeout=TIMEOUT_S) as answer:
                told = json.loads(answer.readline().removeprefix(b"data: "))
            ((flow, *_),) = told["table"]["rows"]
            with urlopen(f"{url}events?flow={flow}", timeout=TIMEOUT_S) as answer:
                seen: list[str] = []
                while "new_data" not in seen:
                    connection.sendall(b"hello")
                    assert connection.recv(5, socket.MSG_WAITALL) == b"hello"
                    line = answer.readline()
                    assert line, "it has ended"
                    if line.startswith(b"data: "):
                        seen += json.loads(line.removeprefix(b"data: "))["news"]["words"]
        program.signal(15)
        assert program.wait() == 0


@pytest.mark.skipif(not privileges.is_root(), reason="serves files as another user: needs root")
@pytest.mark.skipif(obstacle() is not None, reason=obstacle() or "")
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_browser_shows_a_transfer_as_it_happens(public: Path, tmp_path: Path) -> None:
    with open(public / "big", "wb") as file:
        file.truncate(8 << 30)
    options = ("--root", str(public), "--user", "nobody", "--web")
    with serving("http", *options, stdout=subprocess.PIPE) as program:
        url = address_of(program)
        big = f"http://{program.endpoints[0]}/big"
        with (
            download(big, "3M"),
            download(big, "20k"),
            Chromium(tmp_path / "profile") as chromium,
        ):
            page = chromium.open(url)
            page.until("live.rows.filter((row) => row[4] > 0).length >= 2")
            assert page.run("document.querySelector('main').hidden")
            assert "Choose a connection" in page.run("document.body.innerText")
            page.until("live.rows.some((row) => row[4] > 2e6)")
            busiest = page.run("[...live.rows].sort((a, b) => b[4] - a[4])[0][0]")
            page.click_on(f"document.querySelector('.pick[data-flow=\"{busiest}\"]')")
            page.until("D.p.at.length > 100")
            # So many updates within so many seconds of the page's own clock.
            often = page.run(
                """(async () => {
                    const count = live.updates, began = performance.now();
                    await new Promise((done) => {
                        const look = () => live.updates >= count + 8 ? done() : setTimeout(look, 5);
                        look();
                    });
                    return 8000 / (performance.now() - began);
                })()"""
            )
            print(f"{often:.1f} updates a second")
            page.until("plots.win.data[1].some((cwnd) => cwnd > 0)")
            page.until("D.p.why.some((why) => W(why) === 'new_data')")
            assert page.run("lanes.map((lane) => lane[4].state)") == ["ESTABLISHED"]
            page.click_on("document.getElementById('pause')")
            page.run("choose(['p', D.p.why.findIndex((why) => W(why) === 'new_data')], 'keys')")
            told = page.run("document.getElementById('detail').innerText")
            assert "Data that a program has written" in told
            assert "0000  45 00" in told
            page.screenshot(tmp_path / "live.png")
            page.click_on("document.getElementById('pause')")
            page.until("D.p.at.length > 30 && !live.paused")
            assert page.errors == []
        program.signal(15)
        assert program.wait() == 0
