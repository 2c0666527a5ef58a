"""How much of this machine's memory connections may take, as Linux works out its tcp_mem.

A limit of the control group (cgroup v2 and v1: a container, a service of systemd) counts for the
machine's memory where it is less; so does that of each group around it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from aiotcp.link.base import MEMORY_LIMIT

LEAST_BYTES: Final = 16 * 1024 * 1024
"""A machine's memory is not so small; and a limit of less than 170 MiB is Python's for the most."""
_MOST_BYTES: Final = 1 << 40  # `Options.memory_limit` ends there

_OURS: Final = Path("/proc/self/cgroup")
_GROUPS: Final = Path("/sys/fs/cgroup")
_V1_LIMITS: Final[tuple[str, ...]] = ("memory.limit_in_bytes",)
_V2_LIMITS: Final[tuple[str, ...]] = ("memory.max", "memory.high")
"""Beyond the first it is killed; beyond the second it is slowed down until it has paged out."""


def for_connections(ours: Path = _OURS, groups: Path = _GROUPS) -> int:
    """Bytes that all connections of this process may hold: of what the machine has, and we may use,
    3/32, as tcp_mem's last number is (tcp(7), tcp_init_mem()). 512 MiB where neither is known.

    ours: where the system says in which control groups we are. groups: where these are mounted.
    """
    known = [*_physical(), *_limits(ours, groups)]
    if not known:
        return MEMORY_LIMIT
    return min(max(min(known) // 32 * 3, LEAST_BYTES), _MOST_BYTES)


def _physical() -> Iterator[int]:
    # Not on all systems; -1 where it is not known.
    with suppress(AttributeError, OSError, ValueError):
        pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        if pages > 0 and page > 0:
            yield pages * page


def _limits(ours: Path, groups: Path) -> Iterator[int]:
    """Those of our groups and of all around them. A group that is not found there is a container's,
    which sees itself at the root: to go up from its name leads there as well (cgroups(7))."""
    try:
        lines = os.fsdecode(ours.read_bytes())  # a group's name is a file's: any bytes
    except OSError:
        return
    for line in lines.split("\n"):
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:
            root, names = groups, _V2_LIMITS
        elif "memory" in controllers.split(","):
            root, names = groups / "memory", _V1_LIMITS
        else:
            continue
        inner = root / group.lstrip("/")
        for around in (inner, *inner.parents):
            if not around.is_relative_to(root):
                break
            for name in names:
                with suppress(OSError, ValueError):  # "max" is no number
                    yield int((around / name).read_text())
