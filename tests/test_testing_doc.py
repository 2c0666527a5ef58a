"""What docs/testing.md shows works as it is shown: the programs, the commands, what they print."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.support.documents import ENVIRONMENT, TIMEOUT_S, Document

PAGE = Document("docs/testing.md")


def shown() -> list[tuple[list[str], list[str]]]:
    """Each command, and lines of what it prints."""
    found = []
    for block in re.findall(r"(?:^    .*\n)+", PAGE.text, re.MULTILINE):
        first, *rest = (line[4:] for line in block.splitlines())
        if first.startswith("$ "):
            found.append((shlex.split(first[2:]), rest))
    return found


def test_the_commands(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    for name in ("shop.py", "test_shop.py"):
        PAGE.write(name, tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    commands = shown()
    assert len(commands) == 3
    for (program, *args), lines in commands:
        assert program == "pytest"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "aiotcp.testing.plugin", *args],
            cwd=tmp_path,
            # The same with the checkout installed and without.
            env=ENVIRONMENT | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "80"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        printed = iter(done.stdout.splitlines())
        for line in lines:
            pattern = re.sub(r"([\[\]?*])", r"[\1]", line).replace("…", "*")
            assert any(fnmatchcase(each, pattern) for each in printed), (line, done.stdout)


def test_with_a_timeout_all_fifty_pass(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    PAGE.write("shop.py", tmp_path)
    test = PAGE.write("test_shop.py", tmp_path)
    test.write_text(test.read_text().replace(':8080")', ':8080", timeout=5)'))
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "aiotcp.testing.plugin", "--aiotcp-seeds=50"],
        cwd=tmp_path,
        env=ENVIRONMENT | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert "100 passed" in done.stdout, done.stdout


def test_without_pytest(tmp_path: Path) -> None:
    assert PAGE.run("without_pytest.py", tmp_path) == "(b'hello, world\\n', 4.0)\n"


def test_what_the_readme_shows(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    Document("README.md").write("test_service.py", tmp_path)
    (tmp_path / "service.py").write_text(
        """
import asyncio
import aiohttp
from aiohttp import web

async def hello(request):
    return web.Response(text="hello")

async def serve():
    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, port=8080).start()
    await asyncio.Event().wait()

async def fetch(url):
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.text()
"""
    )
    run_pytest = [sys.executable, "-m", "pytest", "-p", "aiotcp.testing.plugin"]
    done = subprocess.run(
        [*run_pytest, "-o", "pythonpath=."],
        cwd=tmp_path,
        env=ENVIRONMENT | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert "1 passed" in done.stdout, done.stdout
