"""Giving up root once the TUN device is open: nothing after that needs any privilege."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from aiotcp.serve.problems import BadOptions, NoPermission

LATER = (
    *("aiotcp.icmp", "aiotcp.info", "aiotcp.nstat", "aiotcp.sockets", "aiotcp.taps"),
    *("aiotcp.tcp.accecn", "aiotcp.tcp.bbr", "aiotcp.tcp.cork", "aiotcp.tcp.icmp"),
    *("aiotcp.tcp.keepalive", "aiotcp.tcp.reno", "aiotcp.tcp.stateless", "aiotcp.tcpinfo"),
    "aiotcp.transition",
)
"""What a stack imports when somebody asks for it, which may be a peer."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who to become."""

    name: str
    uid: int
    gid: int
    groups: list[int]


def account(name: str) -> Account:
    """The account called `name`, with all its groups. Raises Problem if there is none."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise BadOptions(f"--user {name}: there is no such user") from None
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups)


def own_name() -> str:
    """Of the user that runs this, as `account` takes it. $USER may be missing, or another's."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return "nobody"


def become(user: Account) -> None:
    """Give up what this process may do beyond what `user` may; there is no way back.

    If all its ids are those of `user` already nothing happens: groups and capabilities that it was
    started with beyond theirs stay. Raises Problem if it may not change.
    """
    if (os.getresuid(), os.getresgid()) == ((user.uid,) * 3, (user.gid,) * 3):
        return
    for module in LATER:  # they may not be able to read it where it is installed
        import_module(module)
    try:
        # In this order: without uid 0 the groups can't be given up any more.
        os.setgroups(user.groups)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as exc:
        raise NoPermission(
            f"--user {user.name}: this process may not become that user ({exc.strerror}); "
            "only root may, and in a user namespace only users that are mapped into it",
        ) from None


def is_root() -> bool:
    """Whether this process reads files as the machine's root.

    Root of a user namespace (`unshare -Ur`) is not: its files are those of the user who made it.
    """
    if os.geteuid() != 0:
        return False
    try:
        first = Path("/proc/self/uid_map").read_text().split()
    except OSError:
        return True
    # "inside outside count": uid 0 in here is uid `outside` of the namespace that made this one.
    return len(first) < 2 or first[:2] == ["0", "0"]
