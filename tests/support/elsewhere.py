"""A program of ours as it would find Python on another system: run as a script, with its name.

What the standard library needs is imported first, since it has its own ways on each system. Then
modules and names that the other system's Python does not have are taken away, all of aiotcp but
what is Linux' is imported, and a transfer runs over a memory link in virtual time and over UDP.
Prints what was imported and what arrived.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import importlib
import os
import pkgutil
import random
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from typing import Any

LINUX_ONLY = (
    *(f"aiotcp.link.{name}" for name in ("tun", "queues", "steering", "network")),
    *("aiotcp.serve", "aiotcp.cli", "aiotcp.scenario.live"),
)

ABSENT_MODULES = {
    "darwin": ("pyroute2",),
    "win32": (
        *("pyroute2", "uvloop", "fcntl", "resource", "pwd", "grp", "termios", "tty", "pty"),
        *("syslog", "crypt", "readline"),
    ),
}

# Of the names in socket that begin so, those that there are.
PREFIXES = ("SO_", "SOCK_", "TCP_", "IP_", "IPV6_", "MSG_", "AF_", "PF_", "SCM_", "CAN_", "SOL_")
BOTH = {
    *("SO_ACCEPTCONN", "SO_BROADCAST", "SO_DEBUG", "SO_DONTROUTE", "SO_ERROR", "SO_KEEPALIVE"),
    *("SO_LINGER", "SO_OOBINLINE", "SO_RCVBUF", "SO_RCVLOWAT", "SO_RCVTIMEO", "SO_REUSEADDR"),
    *("SO_SNDBUF", "SO_SNDLOWAT", "SO_SNDTIMEO", "SO_TYPE", "TCP_MAXSEG", "TCP_NODELAY"),
    *("SOCK_STREAM", "SOCK_DGRAM", "SOCK_RAW", "SOCK_RDM", "SOCK_SEQPACKET", "SOL_SOCKET"),
    *("SOL_IP", "SOL_TCP", "SOL_UDP", "AF_INET", "AF_INET6", "AF_UNSPEC"),
    *("IP_HDRINCL", "IP_OPTIONS", "IP_RECVDSTADDR", "IP_TOS", "IP_TTL", "IPV6_CHECKSUM"),
    *("IPV6_HOPLIMIT", "IPV6_TCLASS", "IPV6_UNICAST_HOPS", "IPV6_V6ONLY"),
    *("MSG_CTRUNC", "MSG_DONTROUTE", "MSG_OOB", "MSG_PEEK", "MSG_TRUNC", "MSG_WAITALL"),
}
NAMES = {
    # Of the options of TCP, Windows has these only in its later releases.
    "win32": BOTH,
    "darwin": BOTH
    | {"AF_UNIX", "AF_ROUTE", "SO_REUSEPORT", "TCP_FASTOPEN", "TCP_KEEPCNT", "TCP_KEEPINTVL"}
    | {"MSG_DONTWAIT", "MSG_EOR", "MSG_NOSIGNAL"},
}
ABSENT_METHODS = {"win32": ("sendmsg", "recvmsg", "recvmsg_into"), "darwin": ()}

# POSIX', and two that all have.
ERRORS = {
    *("E2BIG", "EACCES", "EADDRINUSE", "EADDRNOTAVAIL", "EAFNOSUPPORT", "EAGAIN", "EALREADY"),
    *("EBADF", "EBUSY", "ECANCELED", "ECHILD", "ECONNABORTED", "ECONNREFUSED", "ECONNRESET"),
    *("EDEADLK", "EDESTADDRREQ", "EDOM", "EEXIST", "EFAULT", "EFBIG", "EHOSTDOWN"),
    *("EHOSTUNREACH", "EILSEQ", "EINPROGRESS", "EINTR", "EINVAL", "EIO", "EISCONN", "EISDIR"),
    *("ELOOP", "EMFILE", "EMLINK", "EMSGSIZE", "ENAMETOOLONG", "ENETDOWN", "ENETRESET"),
    *("ENETUNREACH", "ENFILE", "ENOBUFS", "ENODEV", "ENOENT", "ENOEXEC", "ENOLCK", "ENOMEM"),
    *("ENOPROTOOPT", "ENOSPC", "ENOSYS", "ENOTCONN", "ENOTDIR", "ENOTEMPTY", "ENOTSOCK"),
    *("ENOTTY", "ENXIO", "EOPNOTSUPP", "EOVERFLOW", "EPERM", "EPIPE", "EPROTO"),
    *("EPROTONOSUPPORT", "EPROTOTYPE", "ERANGE", "EROFS", "ESHUTDOWN", "ESPIPE", "ESRCH"),
    *("ETIMEDOUT", "EWOULDBLOCK", "EXDEV"),
}

ABSENT_IN_OS = {
    "darwin": ("pipe2", "posix_fadvise", "sched_setaffinity", "setns", "unshare", "memfd_create"),
    "win32": (
        *("O_CLOEXEC", "O_NONBLOCK", "O_DIRECTORY", "O_NOFOLLOW", "O_SYNC", "set_blocking"),
        *("readv", "writev", "pread", "preadv", "pwrite", "pwritev", "pipe2", "sendfile"),
        *("getuid", "geteuid", "getgid", "setuid", "setgid", "setgroups", "chown", "fork"),
        *("uname", "sched_setaffinity", "sched_getaffinity", "setns", "unshare", "getloadavg"),
    ),
}
ABSENT_SIGNALS = {"darwin": (), "win32": ("SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "setitimer")}
ABSENT_IN_SELECT = {"darwin": ("epoll",), "win32": ("epoll", "poll")}


def take_away(system: str) -> None:
    paired, family = socket.socketpair, socket.AF_UNIX

    def socketpair(*_: object) -> tuple[socket.socket, socket.socket]:
        """What an event loop needs for itself, by the means of this system."""
        return paired(family)

    for module in ABSENT_MODULES[system]:
        sys.modules[module] = None  # type: ignore[assignment]
    for name in dir(socket):
        if name.startswith(PREFIXES) and name not in NAMES[system]:
            delattr(socket, name)
    for method in ABSENT_METHODS[system]:
        setattr(socket.socket, method, property(_absent))
    socket.socketpair = socketpair  # type: ignore[assignment]
    for name in set(errno.errorcode.values()) - ERRORS:
        delattr(errno, name)
    for where, absent in (
        (os, ABSENT_IN_OS[system]),
        (signal, ABSENT_SIGNALS[system]),
        (select, ABSENT_IN_SELECT[system]),
    ):
        for name in absent:
            if hasattr(where, name):
                delattr(where, name)
    sys.platform = system


def _absent(_: object) -> None:
    raise AttributeError


def import_all() -> int:
    import aiotcp

    names = [
        found.name
        for found in pkgutil.walk_packages(aiotcp.__path__, "aiotcp.", onerror=lambda _: None)
        if not found.name.startswith(LINUX_ONLY)
    ]
    for name in names:
        if not name.startswith("aiotcp.contrib."):  # each needs a library of its own
            importlib.import_module(name)
    return len(names)


def append(path: str, line: str) -> None:
    with open(path, "a") as file:
        file.write(line)


async def transfer(client: Any, server: Any, host: str, size: int) -> int:
    data = random.Random(1).randbytes(size)
    arrived = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = await reader.read()
        writer.close()
        arrived.set_result(hashlib.sha256(received).digest())

    await server.start_server(serve, host, 7)
    _, writer = await client.open_connection(host, 7)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    writer.write(data)
    writer.write_eof()
    assert await arrived == hashlib.sha256(data).digest()
    writer.close()
    await writer.wait_closed()
    return size


def main(system: str) -> None:
    take_away(system)
    append("keys.log", "")
    print("imported", import_all() > 100)

    from aiotcp import Stack, run, sim
    from aiotcp.link import Capture, Impair, Netem, Udp, Unix, pair

    async def in_memory() -> int:
        left, right = pair()
        with tempfile.TemporaryFile() as file:
            bad = Impair(left, outbound=Netem(delay=0.01, loss=0.01))
            captured = Capture(bad, file, keylog="keys.log")
            append("keys.log", f"CLIENT_RANDOM {'00' * 32} {'11' * 48}\n")
            async with (
                Stack(captured, addresses=["192.0.2.1"]) as client,
                Stack(right, addresses=["192.0.2.2"]) as server,
            ):
                size = await transfer(client, server, "192.0.2.2", 300_000)
            assert captured.counters["keylog_failed"] == 0
            assert captured.counters["keylog_lines"] == 1
            return size

    print("memory", sim.run(in_memory()))

    async def over_udp() -> int:
        async with Stack(far, addresses=["2001:db8::2"]) as server:
            return await transfer(near_stack, server, "2001:db8::2", 1_000_000)

    far = Udp(("127.0.0.1", 0))
    near = Udp(("127.0.0.1", 0), peer=far.address)
    near_stack = Stack(near, addresses=["2001:db8::1"])
    print("udp", run(over_udp(), stack=near_stack))

    try:
        Unix("a.sock", peer="b.sock").close()
    except NotImplementedError as exc:
        print("unix", exc)
    else:
        print("unix")


if __name__ == "__main__":
    assert ssl.OPENSSL_VERSION
    assert subprocess.PIPE
    main(sys.argv[1])
