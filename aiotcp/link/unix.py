"""IP packets in datagrams between unix sockets, one in each: two processes of one host, or two
containers that share a directory.

    link = Unix("/run/a/left.sock", peer="/run/a/right.sock")     # the other end: the reverse

Who may write to the directory decides who can be an end; the kernel tells the path that a datagram
comes from, and nobody can forge it. For two ends made by one program, `aiotcp.link.fd.Fd` on
`socket.socketpair()` needs no paths.

Works where Python has `socket.AF_UNIX`: not on Windows.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import TypeAlias

from aiotcp.errors import os_error
from aiotcp.link.descriptor import SocketLink, packets_in
from aiotcp.wire.frame import Frame

Path: TypeAlias = str | bytes | os.PathLike[str]

_QUEUE_SETTING = "/proc/sys/net/unix/max_dgram_qlen"
"""Linux: how many datagrams, and one more, wait in a unix socket, whatever their size."""


class Unix(SocketLink):
    r"""A unix datagram socket of its own, bound to a path, and the one peer that it talks to.

    path: where the socket is bound; made absolute. What a program that is gone has left there is
        replaced. A name that begins with "\0" is Linux's abstract one.
    peer: the path that the other end binds, in the same spelling; made absolute. Datagrams of
        others are discarded and counted. It may come, go and come again: meanwhile packets are
        drops.
    mtu: bytes of the largest packet, the same at both ends; 576 to 65535. There is no wire that
        would limit it: large packets make transfers faster.

    `close()` removes the path, if it is this socket's still.

    Counters: those of `DescriptorLink`, and `received_foreign`, datagrams that were not the peer's,
    and `received_empty`.

    Raises OSError: EADDRINUSE (a socket is alive there, or something that is none), ENOENT (no
    directory), EACCES, "AF_UNIX path too long"; NotImplementedError where there is no AF_UNIX;
    ValueError for an MTU out of range.
    """

    def __init__(self, path: Path, peer: Path, *, mtu: int = 1500) -> None:
        if not hasattr(socket, "AF_UNIX"):
            raise NotImplementedError("this system has no unix sockets")
        self.path, self.peer = _named(path), _named(peer)
        self._inode: tuple[int, int] | None = None
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            super().__init__(sock, mtu, drops=("received_foreign", "received_empty"))
            if isinstance(self.path, str):
                _remove_stale(self.path)
            try:
                sock.bind(self.path)
            except OSError as exc:
                if exc.errno is None:  # AF_UNIX path too long
                    raise
                raise os_error(exc.errno, str(path)) from None
            self._inode = _inode_of(self.path)
        except BaseException:
            sock.close()
            raise

    def __repr__(self) -> str:
        state = "closed" if self._closed else "lost" if self._lost else "open"
        return f"<Unix {self.path!r} {state} peer={self.peer!r} mtu={self.mtu}>"

    @property
    def receive_queue_packets(self) -> int | None:
        """Linux' max_dgram_qlen, which is 10 unless it is told otherwise, or what the socket's
        buffer holds."""
        if self._closed:
            return None
        fit = packets_in(self._sock, self.mtu)
        try:
            with open(_QUEUE_SETTING) as setting:
                return min(int(setting.read()) + 1, fit)
        except (OSError, ValueError):
            return fit

    def _read(self, slot: memoryview) -> int | None:
        try:
            length, source = self._sock.recvfrom_into(slot)
        except (BlockingIOError, InterruptedError):
            return None
        if source != self.peer:
            self.counters["received_foreign"] += 1
            return 0
        if not length:
            self.counters["received_empty"] += 1
        return length

    def _write(self, frame: Frame) -> None:
        self._sock.sendto(frame.to_bytes(), self.peer)

    def _release(self) -> None:
        if self._inode is not None and self._inode == _inode_of(self.path):
            try:
                os.unlink(self.path)
            except OSError:
                pass
        super()._release()


def _named(path: Path) -> str | bytes:
    """As recvfrom(2) tells it: a path in text, an abstract name in bytes."""
    if isinstance(path, bytes) and not path.startswith(b"\0"):
        path = os.fsdecode(path)
    elif isinstance(path, str) and path.startswith("\0"):
        path = path.encode()
    return path if isinstance(path, bytes) else os.path.abspath(path)


def _inode_of(path: str | bytes) -> tuple[int, int] | None:
    """What tells the file at `path` from others; None for an abstract name, or if there is none."""
    if isinstance(path, bytes):
        return None
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody has open. Raises OSError (EADDRINUSE) for one that is alive and
    for anything that is no socket."""
    try:
        mode = os.stat(path, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISSOCK(mode):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
                return
            except OSError:  # of another type, connected to somebody: alive
                pass
    raise os_error(errno.EADDRINUSE, path)
