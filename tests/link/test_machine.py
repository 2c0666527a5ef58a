"""What a stack's connections may hold, where nobody has said it (`Options.memory_limit`)."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from aiotcp import Stack
from aiotcp.link import machine, memory
from aiotcp.link.base import MEMORY_LIMIT, memory_limit
from aiotcp.link.fd import Fd
from aiotcp.link.wrapper import Wrapper

GIB = 1 << 30
UNLIMITED_V1 = (1 << 63) - 4096


class Host:
    """A machine: its memory, and what it says of control groups."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.total: int | None = 32 * GIB
        monkeypatch.setattr(os, "sysconf", self._sysconf, raising=False)

    def _sysconf(self, name: str) -> int:
        if self.total is None:
            raise ValueError("unrecognized configuration name")
        return {"SC_PHYS_PAGES": self.total // 4096, "SC_PAGE_SIZE": 4096}[name]

    def groups(self, ours: str, **limits: object) -> None:
        """ours: as /proc/self/cgroup has it. limits: files below the mount, with __ for a slash."""
        (self.root / "cgroup").write_text(ours)
        for name, value in limits.items():
            path = self.root / "fs" / name.replace("__", "/").replace("memory_", "memory.")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n")

    def allows(self) -> int:
        return machine.for_connections(self.root / "cgroup", self.root / "fs")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_of_the_machine_it_is_what_tcp_mem_ends_with(host: Host) -> None:
    assert host.allows() == 3 * GIB
    host.total = 1 * GIB
    assert host.allows() == 96 << 20


def test_where_nothing_is_known_it_is_the_usual_and_there_are_bounds(host: Host) -> None:
    host.total = None
    assert host.allows() == MEMORY_LIMIT
    host.total = -4096  # "no answer", in sysconf's words
    assert host.allows() == MEMORY_LIMIT
    host.total = 32 << 20
    assert host.allows() == machine.LEAST_BYTES
    host.total = 1 << 50
    assert host.allows() == 1 << 40


def test_a_container_sees_itself_at_the_root(host: Host) -> None:
    host.groups("0::/\n", memory_max=4 * GIB)
    assert host.allows() == 384 << 20
    host.total = None
    assert host.allows() == 384 << 20


def test_the_least_limit_of_all_groups_around_counts(host: Host) -> None:
    host.groups(
        "0::/system.slice/echo.service\n",
        system_slice__memory_max="max",
        **{"system.slice__memory_max": 8 * GIB, "system.slice__echo.service__memory_max": "max"},
    )
    assert host.allows() == 768 << 20
    host.groups("0::/system.slice/echo.service\n", **{"system.slice__memory_high": 2 * GIB})
    assert host.allows() == 192 << 20


def test_the_first_version_of_groups_counts_as_well(host: Host) -> None:
    lines = "9:name=systemd:/\n4:cpu,memory:/docker/abc\n0::/\n"
    host.groups(lines, memory__docker__abc__memory_limit_in_bytes=UNLIMITED_V1)
    assert host.allows() == 3 * GIB
    host.groups(lines, memory__docker__abc__memory_limit_in_bytes=4 * GIB)
    assert host.allows() == 384 << 20


def test_a_name_that_is_the_hosts_leads_to_the_root_too(host: Host) -> None:
    host.groups("4:memory:/docker/abc\n", memory__memory_limit_in_bytes=4 * GIB)
    assert host.allows() == 384 << 20


def test_what_can_not_be_read_is_no_limit(host: Host) -> None:
    host.groups("0::/../other\nnonsense\n\n1:cpu:/x\n", memory_max="?")
    assert host.allows() == 3 * GIB


def test_a_groups_name_may_be_any_bytes(host: Host) -> None:
    group = host.root / "fs" / os.fsdecode(b"caf\xe9\xc2\x85")
    group.mkdir(parents=True)
    (group / "memory.max").write_text(f"{4 * GIB}\n")
    (host.root / "cgroup").write_bytes(b"0::/caf\xe9\xc2\x85\n")
    assert host.allows() == 384 << 20


def test_what_stays_in_memory_has_the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "for_connections", lambda: pytest.fail("the machine was asked"))
    left, right = memory.pair()
    stacks = [Stack(link, addresses=["192.0.2.1"]) for link in (left, Wrapper(right))]
    assert [stack.memory.limit for stack in stacks] == [MEMORY_LIMIT, MEMORY_LIMIT]
    for stack in stacks:
        stack.abort()


def test_what_comes_from_outside_has_a_share_of_the_machines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "for_connections", lambda: GIB)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    link = Wrapper(Fd(ours.detach(), mtu=1500))
    assert memory_limit(link) == GIB
    link.link.processes = 4  # type: ignore[attr-defined]
    assert memory_limit(link) == GIB // 4
    link.link.processes = 256  # type: ignore[attr-defined]
    assert memory_limit(link) == machine.LEAST_BYTES
    stack = Stack(link, addresses=["192.0.2.1"], options={"memory_limit": 1 << 20})
    assert stack.memory.limit == 1 << 20
    stack.abort()
    theirs.close()
