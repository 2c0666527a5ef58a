"""Where the control sockets of running stacks are.

In the first of these that can be had, as PID.sock: `$XDG_RUNTIME_DIR/aiotcp`; for root
`/run/aiotcp`; `aiotcp-UID` in the directory for temporary files. Only their owner may look into
them, and one that belongs to somebody else is not used.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

RUN = Path("/run/aiotcp")
_NAME = "aiotcp"
PATH_BYTES = 107  # sun_path of unix(7), without the zero at its end
_LONGEST_NAME = "4194304-99.sock"  # the greatest PID, and one of many stacks


def _user() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else 0


def own_directories() -> list[Path]:
    """Where this user's programs put their sockets, best first."""
    places = []
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isabs(runtime):
        places.append(Path(runtime, _NAME))
    if _user() == 0:
        places.append(RUN)
    places.append(Path(tempfile.gettempdir(), f"{_NAME}-{_user()}"))
    return places


def usable_directory() -> Path:
    """The first of them, made if need be. Raises OSError if none can be had."""
    refused: OSError | None = None
    for place in own_directories():
        try:
            if place.name == _NAME and place.parent != RUN.parent and not _is_ours(place.parent):
                continue  # another user's $XDG_RUNTIME_DIR, kept by su or sudo
            if len(os.fsencode(place / _LONGEST_NAME)) > PATH_BYTES:
                raise OSError(errno.ENAMETOOLONG, f"{place}: too long for a socket")
            with suppress(FileExistsError):
                place.mkdir(mode=0o700)
            if not _is_ours(place):
                raise PermissionError(f"{place} belongs to somebody else, or is open to others")
            if not os.access(place, os.W_OK | os.X_OK):
                raise PermissionError(f"{place} is not writable")
        except OSError as exc:
            refused = refused or exc
        else:
            return place
    raise refused or FileNotFoundError("there is no directory for sockets")


def new_path() -> Path:
    """For one more stack of this process. Raises OSError."""
    directory = usable_directory()
    number = 1
    while True:
        path = directory / (
            f"{os.getpid()}.sock" if number == 1 else f"{os.getpid()}-{number}.sock"
        )
        if not path.exists() or not is_answered(path):
            return path
        number += 1


def sockets() -> list[Path]:
    """Those that this user may ask; root, everybody's. Some may have nobody behind them."""
    places = own_directories()
    if _user() == 0:
        places += sorted(Path("/run/user").glob(f"*/{_NAME}"))
        places += sorted(Path(tempfile.gettempdir()).glob(f"{_NAME}-*"))
    found: dict[Path, None] = {}
    for place in places:
        with suppress(OSError):
            if _is_ours(place) or (_user() == 0 and not place.is_symlink()):
                found.update(dict.fromkeys(_in(place)))
    return list(found)


def _in(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.glob("*.sock")):
        with suppress(OSError):
            if stat.S_ISSOCK(path.lstat().st_mode):
                yield path


def is_answered(path: Path) -> bool:
    """Whether a process has the socket at `path`; one that has ended leaves it behind."""
    import socket

    with socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)  # a full queue of one that is busy is an answer, too
        try:
            asking.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def _is_ours(directory: Path) -> bool:
    """Whether it is a directory of this user's that no other user can write to."""
    found = directory.lstat()
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == _user()
        and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )
