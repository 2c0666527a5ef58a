"""aiotcp-serve --web --workers: one page for all of them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.serve.fleet import Fleet, calling, fleet
from tests.serve.support import TIMEOUT_S, ended
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]

ADDRESS = re.compile(r"live +(http://127\.0\.0\.1:\d+/[A-Za-z0-9_-]{24,}/)\n")
CONNECTIONS = 24
WORKERS = 3


def address_of(serving: Fleet) -> str:
    assert serving.program.process.stdout is not None
    for line in serving.program.process.stdout:
        if found := ADDRESS.fullmatch(line):
            return found[1]
    raise AssertionError("no address was printed")


@contextmanager
def told(url: str, flow: str = "") -> Iterator[Iterator[dict[str, Any]]]:
    """What a page hears."""
    with urlopen(f"{url}events{f'?flow={flow}' if flow else ''}", timeout=TIMEOUT_S) as answer:
        yield (
            json.loads(line.removeprefix(b"data: "))
            for line in answer
            if line.startswith(b"data: ")
        )


def table(url: str) -> dict[str, Any]:
    with told(url) as heard:
        found: dict[str, Any] = next(heard)["table"]
        return found


@pytest.mark.parametrize("control", ["a place of its own", "a path"])
def test_it_shows_the_connections_of_all_workers(control: str, tmp_path: Path) -> None:
    options = () if control == "a place of its own" else ("--control", str(tmp_path / "sock"))
    with fleet(tmp_path, "--web", *options, workers=WORKERS, stdout=subprocess.PIPE) as serving:
        url = address_of(serving)
        assert table(url) == {"all": 0, "rows": []}
        with calling(serving.endpoint, CONNECTIONS) as callers:
            found = table(url)
            assert found["all"] == len(found["rows"]) == CONNECTIONS
            assert {row[12] for row in found["rows"]} == set(range(WORKERS))
            assert len({row[0] for row in found["rows"]}) == CONNECTIONS
            ages = [row[9] for row in found["rows"]]
            assert ages == sorted(ages)
            # One of another worker than the one that has the page.
            chosen = next(row for row in found["rows"] if row[12] == 2)
            with told(url, chosen[0]) as heard:
                first = next(heard)
                assert first["news"]["title"].endswith(f" → {chosen[1]}")
                seen: list[int] = []
                for news in heard:
                    for each in callers:
                        each.ask()
                    seen += news["news"]["p"]["len"]
                    if any(seen):
                        break
                assert any(seen)
                # That worker crashes: the page goes on, without the connection.
                process = serving.program.process.pid
                children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
                serving.kill_and_wait_for_the_next(int(children[2]))
                over = next(news for news in heard if "over" in news.get("news", ()))
                assert over["news"] == {"over": True}
                left = next(news["table"] for news in heard if "table" in news)
                assert {row[12] for row in left["rows"]} == {0, 1}
        # The one that has the page crashes: its next one has it.
        serving.kill_and_wait_for_the_next(int(children[0]))
        assert set(table(url)) == {"all", "rows"}
        serving.terminate()


def test_what_can_not_be_is_said() -> None:
    code, said = ended("echo", "--web", "--workers", "2", "--control", "off")
    assert code == 2
    assert "not with --control off" in said
