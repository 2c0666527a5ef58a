"""What is imported, and when: each name of `aiotcp` brings what it needs, a stack what every stack
needs, and the rest comes when it is asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import aiotcp
from aiotcp import link
from aiotcp.serve import privileges

LATER = {
    *("aiotcp.eventloop", "aiotcp.info", "aiotcp.log", "aiotcp.nstat", "aiotcp.tcpinfo"),
    *("aiotcp.sockets", "aiotcp.sockopts", "aiotcp.transition"),
    *("aiotcp.icmp", "aiotcp.tcp.icmp", "aiotcp.wire.icmp"),
    *("aiotcp.tcp.accecn", "aiotcp.tcp.accecn_echo", "aiotcp.tcp.cork", "aiotcp.tcp.keepalive"),
    *("aiotcp.tcp.cookies", "aiotcp.tcp.reno", "aiotcp.tcp.stateless"),
    *("aiotcp.link.fd", "aiotcp.link.impair", "aiotcp.link.network", "aiotcp.link.pcapng"),
    *("aiotcp.link.udp", "aiotcp.link.unix", "aiotcp.serve", "aiotcp.sim", "aiotcp.tcp.bbr"),
    *("click", "pyroute2", "starlette", "structlog", "uvicorn", "uvloop"),
}
STANDARD = {"bisect", "random"}
"""What of the standard library comes along that `import asyncio` has not brought."""


def brought_by(program: str) -> set[str]:
    """The modules that a program imports after asyncio, in a process of its own."""
    program = (
        "import asyncio, sys\n"
        "before = set(sys.modules)\n"
        f"{program}\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_a_stack_brings_nothing_that_only_some_programs_need() -> None:
    brought = brought_by("from aiotcp import Stack, open_connection, start_server")
    assert "aiotcp.tcp.connection" in brought
    assert not brought & LATER
    others = {name for name in brought if name.partition(".")[0] != "aiotcp"}
    standard = {name for name in others if name in sys.stdlib_module_names and name[0] != "_"}
    assert standard <= STANDARD


def test_what_a_stack_brings_later_is_there_before_privileges_are_given_up() -> None:
    """Who a server becomes may be unable to read it by then."""
    package = Path(aiotcp.__file__).parent
    later = set()
    for path in (*package.glob("*.py"), *package.glob("tcp/*.py"), *package.glob("wire/*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.ImportFrom) and node.module == "aiotcp.tcp":
                        later |= {f"aiotcp.tcp.{name.name}" for name in node.names}
                    elif isinstance(node, ast.ImportFrom):
                        later.add(node.module or "")
    ours = {name for name in later if name.partition(".")[0] == "aiotcp"}
    assert ours - set(privileges.LATER) == {"aiotcp.link.network"}  # an event loop's own device
    assert set(privileges.LATER) <= ours


@pytest.mark.parametrize(
    ("options", "module"),
    [
        ("keepalive=True", "keepalive"),
        ("ecn='accurate'", "accecn"),
        ("cc='reno'", "reno"),
        ("cc='bbr'", "bbr"),
    ],
)
@pytest.mark.parametrize("configured", [False, True])
def test_who_listens_has_what_its_connections_will_need(
    options: str, module: str, configured: bool
) -> None:
    """A program may change its root or its user before the first peer comes."""
    first = "" if configured else options
    program = (
        "from aiotcp import Options\n"
        "from aiotcp.tcp.listener import Listener\n"
        "from aiotcp.tcp.flow import Endpoint\n"
        f"listener = Listener(Endpoint('192.0.2.1', 80), Options({first}), 1,\n"
        "                    promote=print, close=print)\n"
    )
    if configured:
        assert f"aiotcp.tcp.{module}" not in brought_by(program)
        program += f"listener.configure({options})\n"
    assert f"aiotcp.tcp.{module}" in brought_by(program)


@pytest.mark.parametrize(
    "program",
    [
        "import aiotcp",
        "import aiotcp.cli.main",
        "import aiotcp.serve.main",
    ],
)
def test_who_has_no_part_in_a_stack_imports_none(program: str) -> None:
    brought = brought_by(program)
    assert "aiotcp" in brought
    assert not brought & {"aiotcp.link", "aiotcp.stack", "aiotcp.tcp.connection", "aiotcp.streams"}


def test_modules_are_found_below_the_package() -> None:
    brought_by("import aiotcp\naiotcp.link.Frame, aiotcp.errors, aiotcp.streams.Stack")


@pytest.mark.parametrize("module", [aiotcp, link])
def test_what_comes_later_is_there_for_all_who_ask(module: ModuleType) -> None:
    name = module.__name__
    names = module.__all__
    assert set(names) <= set(dir(module))
    for each in names:
        value = getattr(module, each)
        assert isinstance(value, bool) or value.__name__ == each
    brought_by(f"from {name} import *\n{', '.join(names)}\n")
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'Nothing'"):
        module.Nothing  # noqa: B018


def test_a_congestion_control_comes_with_the_first_that_chooses_it() -> None:
    program = (
        "from aiotcp.tcp.congestion import Start\n"
        "from aiotcp.tcp.controls import congestion_control\n"
        "start = Start(1460, 14600, 14600, 0.0, None, lambda: 0.5)\n"
        "assert congestion_control({name!r}, start).name == {name!r}\n"
    )
    assert "aiotcp.tcp.bbr" not in brought_by(program.format(name="cubic"))
    assert "aiotcp.tcp.bbr" in brought_by(program.format(name="bbr"))
