"""A TUN device made for trial, in a network namespace of its own that goes with the process:
`python -m aiotcp.cli.trial` prints what came of it, as JSON."""

from __future__ import annotations

import ctypes
import json
import os
from typing import Any

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000


def unshare(flags: int) -> None:
    """Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def attempt() -> dict[str, Any]:
    """namespace: "root", "user" (in a user namespace) or why there is none. Then, of the device,
    `tun`: its name, or why there is none; `offload`; `steering`: "" or why not."""
    found: dict[str, Any] = {}
    try:
        unshare(CLONE_NEWNET)
        found["namespace"] = "root"
    except OSError as exc:
        found["root"] = exc.strerror
        try:
            unshare(CLONE_NEWUSER | CLONE_NEWNET)
            found["namespace"] = "user"
        except OSError as also:
            found["user"] = also.strerror
            return found
    from aiotcp.link.queues import open_queues

    try:
        queues = open_queues(2, "aiotcpdoctor")
    except OSError as exc:
        found["error"] = exc.strerror
        return found
    found["tun"] = queues.name
    found["offload"] = bool(queues.tuns[0].gso_max_bytes)
    found["steering"] = queues.unsteered
    queues.close()
    return found


if __name__ == "__main__":
    print(json.dumps(attempt()))
