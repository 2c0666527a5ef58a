"""`aiotcp info`: which stacks are running."""

from __future__ import annotations

import time
from pathlib import Path

import click

from aiotcp.cli import output
from aiotcp.cli.asking import NoAnswer
from aiotcp.control.client import running


@click.command(epilog="Exit codes: 0 there is one; 1 there is none.")
@click.option("--json", "json", is_flag=True, help="For programs: all there is.")
@click.option(
    "--socket",
    "sockets",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="PATH",
    help="Ask at this control socket only; repeat for more.",
)
def command(json: bool, sockets: tuple[Path, ...]) -> None:
    """Show the stacks that are running, and that this user may ask."""
    silent: list[str] = []
    found = running(sockets or None, silent)
    if json:
        output.as_json(
            [
                {
                    "pid": each.pid,
                    "processes": [{**info, "socket": str(path)} for path, info in each.members],
                }
                for each in found
            ]
        )
    if not found:
        raise NoAnswer("\n".join(silent) or "no stack is running that this user may ask")
    if json:
        return
    rows = [("PID", "Up", "Conns", "Device", "Addresses", "Program")]
    for each in found:
        infos = [info for _, info in each.members]
        first = infos[0]
        workers = f", {len(infos)} workers" if first.get("group") else ""
        rows.append(
            (
                str(each.pid),
                _age(time.time() - min(info["since"] for info in infos)),
                str(sum(info["connections"] for info in infos)),
                str(first.get("device") or "-"),
                ",".join(first["addresses"]),
                " ".join(filter(None, (first["name"], first.get("what")))) + workers,
            )
        )
    widths = [max(len(row[n]) for row in rows) for n in range(6)]
    out = output.console()
    for number, row in enumerate(rows):
        text = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        output.line(out, (text, "" if number else "bold"))


def _age(seconds: float) -> str:
    whole = max(int(seconds), 0)
    for unit, sign in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= unit:
            return f"{whole // unit}{sign}"
    return f"{whole}s"
