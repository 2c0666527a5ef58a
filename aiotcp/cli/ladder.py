"""`aiotcp ladder`: what a capture shows, drawn as a ladder."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from aiotcp.cli import output
from aiotcp.trace import ladder
from aiotcp.trace.capturefile import NoCapture, read
from aiotcp.trace.events import Trace

_LINES_AT_A_TIME = 500

STYLES = {
    "time": "bright_black",
    "lane": "bright_black",
    "segment": "",
    "again": "yellow",
    "lost": "red",
    "state": "green",
    "said": "cyan",
    "fault": "magenta",
    "why": "blue",
    "error": "red",
}
"""How the parts of a ladder look (`aiotcp.trace.ladder.Piece`)."""


@click.command(epilog="Exit codes: 0 done; 1 the file can't be read, or is no capture; 2 options.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--flow", type=click.IntRange(min=1), metavar="N", help="This connection only.")
@click.option("--flows", is_flag=True, help="List the connections, with their numbers.")
@click.option(
    "--width",
    type=click.IntRange(ladder.MIN_WIDTH, ladder.MAX_WIDTH),
    metavar="COLUMNS",
    help="[default: the terminal's, or 100]",
)
@click.option("--json", "json", is_flag=True, help="For programs: the trace, with all there is.")
def command(file: Path, flow: int | None, flows: bool, width: int | None, json: bool) -> None:
    """Draw the segments of FILE, a pcapng or pcap file of ours, tcpdump's or Wireshark's (- is
    stdin, and gzip's are read as they are): a lane for each host, a line for each segment, and in
    captures of ours, why it was sent."""
    try:
        trace = read(file, flow=None if flow is None else flow - 1)
    except OSError as exc:
        raise click.ClickException(f"{file}: {exc.strerror}") from None
    except NoCapture as exc:
        raise click.ClickException(str(exc)) from None
    if flow is not None:
        trace = of_flow(trace, among(trace, flow))
    if json:
        output.as_json(trace.to_json())
    elif flows:
        out = output.console()
        for number, each in enumerate(trace.flows, 1):
            segments = sum(segment.flow == number - 1 for segment in trace.segments)
            output.line(out, (f"{number:4}  ", "bold"), (f"{each}", ""), (f"  {segments}", "dim"))
    else:
        show(trace, width)


def among(trace: Trace, flow: int) -> int:
    """The index of a connection that the user has given by its number. Raises UsageError."""
    count = len(trace.flows)
    if flow > count:
        there = {0: "is no connection", 1: "is one connection"}.get(
            count, f"are {count} connections"
        )
        raise click.UsageError(f"--flow {flow}: there {there}")
    return flow - 1


def of_flow(trace: Trace, flow: int) -> Trace:
    """One connection, and of the hosts only those that take part in it."""
    chosen = trace.of_flow(flow)
    ends = (trace.flows[flow].client, trace.flows[flow].server)
    chosen.hosts = [host for host in trace.hosts if host in ends]
    return chosen


def show(trace: Trace, width: int | None = None) -> None:
    """Print the ladder, in colours where they are wanted."""
    out = output.console()
    if width is None:
        width = output.columns() or ladder.USUAL_WIDTH
    inks = output.inks(out, STYLES.values())
    inked = {part: inks[style] for part, style in STYLES.items() if inks[style] != ("", "")}
    made: list[str] = []
    for pieces in ladder.lines(trace, width=width):
        line = "".join([piece.text for piece in pieces]).rstrip()
        if inked:
            line = _coloured(pieces, len(line), inked)
        made.append(line)
        if len(made) == _LINES_AT_A_TIME:
            _print(made)
    _print(made)


def _coloured(pieces: list[ladder.Piece], length: int, inked: dict[str, tuple[str, str]]) -> str:
    """The first so many characters of them."""
    line = ""
    for text, part in pieces:
        if text := text[:length]:
            length -= len(text)
            before, after = inked.get(part, ("", ""))
            line += before + text + after
    return line


def _print(lines: list[str]) -> None:
    if lines:
        lines.append("")
        click.echo("\n".join(lines), nl=False, color=True, file=sys.stdout)  # our colours
        lines.clear()
