"""The file that SSLKEYLOGFILE names, followed as it grows: the secrets of TLS connections.

The format: draft-ietf-tls-keylogfile, a line for each secret. Any number of processes may append to
the file, it may come into being later, be truncated, or be replaced by another of the same name.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress

_READ_BYTES = 1 << 20
"""At most per look: the secrets of more than a thousand connections."""

# Not inherited; a FIFO does not hold us up; and what Windows calls binary, it does not translate.
_OPEN_FLAGS = os.O_RDONLY
for _name in ("O_CLOEXEC", "O_NONBLOCK", "O_NOINHERIT", "O_BINARY"):
    _OPEN_FLAGS |= getattr(os, _name, 0)

_LINE_BYTES = 1024
"""No line of a key log is longer."""

_LINE = re.compile(rb"[A-Z][A-Z0-9_]* [0-9A-Fa-f]+ [0-9A-Fa-f]+\r?")


class KeyLog:
    """Reads the lines that are added to the key log at `path` from now on.

    Those that are there already belong to connections of before. A look at a file with nothing new
    costs one system call. Lines that no key log has (comments, what a wrong file holds) are left
    out. Nothing here raises for what is wrong with the file.

    Counters: `keylog_lines` read, `keylog_ignored` lines left out, `keylog_failed` looks at a file
    that could not be read. One that is not there is no failure.
    """

    def __init__(
        self, path: str | os.PathLike[str], counters: dict[str, int] | None = None
    ) -> None:
        """`counters`: a dict to count in, which gets the three."""
        self.path = os.path.abspath(path)
        self.counters = {} if counters is None else counters
        self.counters |= {"keylog_lines": 0, "keylog_ignored": 0, "keylog_failed": 0}
        self._fd = -1
        self._identity: tuple[int, int] | None = None
        self._position = 0
        self._begun = b""
        try:
            self._position = self._open()
        except FileNotFoundError:
            pass
        except OSError:
            self.counters["keylog_failed"] += 1

    def __repr__(self) -> str:
        return f"<KeyLog {self.path} {self.counters}>"

    def read(self) -> bytes:
        """The whole lines that are new since the last call."""
        try:
            data = self._unread()
        except OSError:
            self.counters["keylog_failed"] += 1
            return b""
        if not data:
            return b""
        *lines, self._begun = (self._begun + data).split(b"\n")
        if len(self._begun) > _LINE_BYTES:
            self._begun = b""  # the rest of it will be no line either
            self.counters["keylog_ignored"] += 1
        known = [line for line in lines if len(line) <= _LINE_BYTES and _LINE.fullmatch(line)]
        self.counters["keylog_lines"] += len(known)
        self.counters["keylog_ignored"] += len(lines) - len(known)
        return b"".join(line + b"\n" for line in known)

    def _unread(self) -> bytes:
        data = b""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:  # who has it open may write to it still
            found = None
        except PermissionError:  # privileges were given up
            if self._fd < 0:
                raise
            found = None
        if found is not None and (found.st_dev, found.st_ino) == self._identity:
            if found.st_size == self._position:
                return b""
            if found.st_size < self._position:
                self._position, self._begun = 0, b""
            return self._read_on()
        if self._fd >= 0:
            data = self._read_on()
        if found is not None:
            self.close()
            self._open()
            data += self._read_on()
        return data

    def _read_on(self) -> bytes:
        os.lseek(self._fd, self._position, os.SEEK_SET)
        data = os.read(self._fd, _READ_BYTES)
        self._position += len(data)
        return data

    def _open(self) -> int:
        """Open what is there now; returns its size."""
        fd = os.open(self.path, _OPEN_FLAGS)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise OSError("a key log is a regular file")
        self._fd, self._identity = fd, (found.st_dev, found.st_ino)
        return found.st_size

    def close(self) -> None:
        """Idempotent."""
        fd, self._fd = self._fd, -1
        self._identity, self._position, self._begun = None, 0, b""
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)
