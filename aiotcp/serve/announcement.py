"""What the program says once it serves: to people on stdout, to the one who waits on --ready-fd."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

import click

from aiotcp.serve.device import Device, doubts
from aiotcp.serve.problems import Problem
from aiotcp.serve.service import joined
from aiotcp.serve.settings import Settings


def announce(
    settings: Settings,
    device: Device,
    what: str,
    endpoints: Sequence[tuple[str, int]],
    commands: Sequence[Sequence[str]],
) -> None:
    """commands: for each endpoint, what to type to see it work."""
    try:
        _tell_people(device, what, endpoints, commands)
    except OSError:  # nobody reads it; nor must the rest, written at exit, fail there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _tell_ready(settings.ready_fd, endpoints)


def announce_live(url: str) -> None:
    """The address of the live view, this once."""
    with contextlib.suppress(OSError):
        click.echo(f"live     {url}")
        sys.stdout.flush()


def _tell_people(
    device: Device,
    what: str,
    endpoints: Sequence[tuple[str, int]],
    commands: Sequence[Sequence[str]],
) -> None:
    tun = device.tun
    offload = "on" if tun.checksum_offload else "off"
    has = ", ".join(device.host_addresses) or "set up by someone else"
    queues = f", {len(device.queues.tuns)} workers" if device.queues is not None else ""
    click.echo(f"device   {tun.name}: {has}; MTU {tun.mtu}, offload {offload}{queues}")
    for address, why in device.missing.items():
        click.echo(f"         without {address}: {why}")
    for doubt in doubts(device):
        click.echo(f"         warning: {doubt}")
    at = " and ".join(joined(*each) for each in endpoints)
    click.echo(f"serving  {what} at {at}")
    lines = [line for each in commands for line in each]
    for label, line in zip(["try", *[""] * len(lines)], lines, strict=False):
        click.echo(f"{label:9}{line}")


def _tell_ready(fd: int | None, endpoints: Sequence[tuple[str, int]]) -> None:
    if fd is None:
        return
    line = " ".join(("READY", *(joined(*each) for each in endpoints)))
    try:
        with os.fdopen(fd, "w") as ready:
            ready.write(line + "\n")
    except OSError as exc:
        raise Problem(f"--ready-fd {fd}: {exc.strerror}") from None
