"""Running this command again in a network namespace of its own, which ends with it: nothing is
configured in the machine's own network."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import NoReturn

import click

_INSIDE = "AIOTCP_IN_PRIVATE_NETWORK"
_LOOPBACK_UP = ("sh", "-c", 'ip link set lo up 2>/dev/null; exec "$@"', "sh")


def inside() -> bool:
    """Whether this process runs in a namespace that was made for it."""
    return _INSIDE in os.environ


def again() -> NoReturn:
    """Go on as this command there, in the same process: signals for it find it. Raises
    ClickException where no namespace is to be had."""
    reasons = []
    for way in (["unshare", "-n"], ["unshare", "-Urn"]):
        try:
            tried = subprocess.run([*way, "true"], capture_output=True, text=True, check=False)
        except OSError as exc:
            raise click.ClickException(f"unshare (util-linux): {exc.strerror}") from None
        if tried.returncode == 0:
            command = [*way, *_LOOPBACK_UP, sys.executable, "-m", "aiotcp.cli", *sys.argv[1:]]
            os.execvpe(command[0], command, os.environ | {_INSIDE: "1"})
        reasons.append(f"{' '.join(way)}: {tried.stderr.strip()}")
    raise click.ClickException(
        "no network namespace of its own is to be had here; as root there is: " + "; ".join(reasons)
    )
