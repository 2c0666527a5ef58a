"""uvicorn as programs use it: from the command line, and under `aiotcp.run()`. curl asks."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import aiotcp
from aiotcp.link import network
from aiotcp.routing import StackLoop
from tests.integration.web_app import CHUNK, application
from tests.integration.world import PEM, STACK, until
from tests.support.hosts import V4, V6, Side
from tests.support.netns import has_ipv6

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60
PORT = 8000


@contextmanager
def uvicorn_serving(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`uvicorn web_app:app` with a loop of ours, from when it serves to the end of the block."""
    command = [sys.executable, "-m", "uvicorn", "tests.integration.web_app:app"]
    command += ["--loop", "aiotcp.eventloop:factory", "--port", str(PORT), *arguments]
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        told = []
        for line in process.stderr:
            told.append(line)
            if "running on" in line:
                break
        else:
            pytest.fail("".join(told))
        yield process
    finally:
        process.kill()
        process.communicate()


def curl(*arguments: str) -> bytes:
    done = subprocess.run(
        ["curl", "-sS", "--fail", "--max-time", str(TIMEOUT_S), "--cacert", str(PEM), *arguments],
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_uvicorn_from_the_command_line(tls: bool) -> None:
    options = ["--ssl-certfile", str(PEM), "--ssl-keyfile", str(PEM)] if tls else []
    with uvicorn_serving("--host", STACK, *options) as process:
        base = f"{'https' if tls else 'http'}://{STACK}:{PORT}"
        assert json.loads(curl(f"{base}/client"))["host"] == V4.host
        assert curl(f"{base}/stream/20") == 20 * CHUNK
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    assert "the application has shut down" in stdout
    assert "Finished server process" in stderr
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("side", [V4, V6], ids=lambda side: side.name)
@pytest.mark.parametrize("new_loop", [aiotcp.EventLoop, aiotcp.AsyncioEventLoop])
def test_uvicorn_under_run(side: Side, tls: bool, new_loop: Callable[..., StackLoop]) -> None:
    if side is V6 and not has_ipv6():
        pytest.skip("the kernel has no IPv6")
    app = application()
    options: dict[str, Any] = {"ssl_certfile": PEM, "ssl_keyfile": PEM} if tls else {}

    async def main() -> bytes:
        config = uvicorn.Config(app, host=side.stack, port=PORT, log_config=None, **options)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started or serving.done())
        host = f"[{side.stack}]" if ":" in side.stack else side.stack
        answer = await asyncio.to_thread(
            curl, "--insecure", f"{'https' if tls else 'http'}://{host}:{PORT}/client"
        )
        server.should_exit = True
        await serving
        return answer

    stack = aiotcp.Stack(network.open_tun()[0])
    seen = json.loads(aiotcp.run(main(), stack=stack, loop_factory=new_loop))
    assert seen["host"] == side.host
    assert seen["scheme"] == ("https" if tls else "http")
    assert app.state.lifespan == ["startup", "shutdown"]
