"""Imports point one way and files stay readable: the layout of docs/architecture.md, enforced."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "aiotcp").rglob("*.py"))

LEAVES = {"errors", "mypyc", "options", "ranges", "reasons", "words"}
STACK = {
    *("stack", "engine", "inbound", "clock", "addresses", "counters", "icmp", "info", "limits"),
    "halfopens",
    *("listeners", "loopback", "passive", "ports", "nstat", "tcpinfo", "timers", "timewaits"),
    *("transition", "taps", "tally", "waiting", "failures"),
}
TRANSPORTS = {
    *(
        "transport",
        "pump",
        "server",
        "sockets",
        "sockopts",
        "client",
        "opened",
        "anywhere",
        "readiness",
    ),
    *("threadcheck", "forever", "extrainfo", "views"),
}
ON_TOP = {
    *(
        "streams",
        "streamreader",
        "pieces",
        "tls",
        "routes",
        "residents",
        "dialing",
        "routing",
        "jointserver",
        "eventloop",
    ),
}

# What each part of the package may import of the others: the parts below it, never those above.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "options": {"ranges"},
    "mypyc": set(),
    "ranges": set(),
    "reasons": {"words"},
    "words": set(),
    "log": LEAVES,
    "wire": LEAVES,
    "link": LEAVES | {"wire"},
    "tcp": LEAVES | {"wire"},
}
for part in STACK:
    MAY_IMPORT[part] = LEAVES | {"wire", "tcp", "link", "log"} | STACK
for part in TRANSPORTS:
    MAY_IMPORT[part] = MAY_IMPORT["stack"] | TRANSPORTS
for part in ON_TOP:
    MAY_IMPORT[part] = MAY_IMPORT["transport"] | ON_TOP
MAY_IMPORT["trace"] = MAY_IMPORT["stack"]
MAY_IMPORT["sim"] = MAY_IMPORT["streams"] | {"trace"}
MAY_IMPORT["scenario"] = MAY_IMPORT["sim"] | {"sim"}
MAY_IMPORT["testing"] = MAY_IMPORT["sim"] | {"sim", "report"}
MAY_IMPORT["report"] = MAY_IMPORT["trace"] | {"trace"}
MAY_IMPORT["control"] = MAY_IMPORT["stack"] | {"trace"}
MAY_IMPORT["serve"] = MAY_IMPORT["streams"] | {"control", "trace", "report"}
MAY_IMPORT["cli"] = MAY_IMPORT["serve"] | MAY_IMPORT["scenario"] | {"serve", "scenario", "report"}
MAY_IMPORT["contrib"] = MAY_IMPORT["streams"]
MAY_IMPORT["__init__"] = MAY_IMPORT["streams"]

# The core's algorithms take numbers and return numbers; they know each other, and nothing else of
# the package.
ALGORITHMS = {
    *("seq", "rto", "congestion", "told", "delivery", "pacing"),
    *("lossbased", "reno", "cubic", "hystart", "cwv"),
    *("bbr", "bbr_model", "bbr_control", "bbr_loss", "bbr_probe", "bbr_probe_rtt", "bbr_filters"),
    *("newreno", "rack", "prr", "frto", "pacer", "repetitions"),
    *("ecn", "accecn", "accecn_echo", "autotune", "queueshare", "keepalive", "cork", "usertimeout"),
    *("plpmtud", "pmtucache", "fastopen", "digest"),
    *("reassembly", "window", "ackpolicy", "sendbuffer", "isn", "cookies", "challenge"),
    "memory",
}
STRUCTURES = {"flight", "scoreboard", "timeline"}
"""What they work on. Longer, but it knows as little of the rest."""

# What would make the core depend on a clock, a network, chance or a log.
IMPURE = {
    *("asyncio", "socket", "os", "time", "random", "secrets", "logging", "select", "threading"),
    *("datetime", "uuid", "structlog", "uvloop", "pyroute2"),
}

# Third-party packages that one module alone knows.
ONLY_IMPORTER = {"pyroute2": "aiotcp.link.network", "structlog": "aiotcp.log"}


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def part_of(module: str) -> str:
    """The part of the package that a dotted module name belongs to: its second component."""
    return module.split(".")[1] if "." in module else "__init__"


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Each module that the file imports, at its top, inside functions and for type checking."""
    return frozenset(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            for alias in node.names:
                candidate = ROOT.joinpath(*node.module.split("."), alias.name)
                is_module = candidate.with_suffix(".py").exists() or candidate.is_dir()
                yield f"{node.module}.{alias.name}" if is_module else node.module


def inside(path: Path) -> set[str]:
    return {name for name in imports(path) if name.split(".")[0] == "aiotcp"}


def outside(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)} - {"aiotcp"}


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_point_one_way(path: Path) -> None:
    part = part_of(dotted(path))
    assert part in MAY_IMPORT, f"{part}: say in MAY_IMPORT what it may import"
    upward = {name for name in inside(path) if part_of(name) not in MAY_IMPORT[part] | {part}}
    assert not upward


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if part_of(dotted(path)) in {"tcp", "wire"}],
    ids=dotted,
)
def test_the_core_is_sans_io(path: Path) -> None:
    assert not outside(path) & IMPURE


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in MODULES
        if path.parent.name == "tcp" and path.stem in ALGORITHMS | STRUCTURES
    ],
    ids=dotted,
)
def test_algorithms_stand_alone_and_are_short(path: Path) -> None:
    others = {name for name in inside(path) if part_of(name) not in LEAVES}
    assert not {name.rpartition(".")[2] for name in others} - ALGORITHMS - STRUCTURES
    lines = len(path.read_text().splitlines())
    assert lines <= (200 if path.stem in ALGORITHMS else 300)


@pytest.mark.parametrize(
    "path", [path for path in MODULES if part_of(dotted(path)) == "contrib"], ids=dotted
)
def test_adapters_are_short(path: Path) -> None:
    """Under 40 lines, without imports, docstrings and what is empty."""
    text = path.read_text()
    lines = {number for number, line in enumerate(text.splitlines(), 1) if line.strip()}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            lines.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
    assert len(lines) < 40


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_third_party_package_has_one_importer(path: Path) -> None:
    for package, importer in ONLY_IMPORTER.items():
        assert dotted(path) == importer or package not in outside(path)


@pytest.mark.parametrize(
    "path",
    sorted(
        path
        for folder in ("aiotcp", "tests", "bench", "bin", "examples")
        for path in (ROOT / folder).rglob("*.py")
    ),
    ids=dotted,
)
def test_no_file_is_over_500_lines(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= 500
