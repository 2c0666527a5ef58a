"""`aiotcp ss`: what Linux's ss shows of the kernel's connections, of a running stack's."""

from __future__ import annotations

import functools
import socket
import time
from pathlib import Path
from typing import Any

import click

from aiotcp.cli import output, sstext
from aiotcp.cli.asking import EXIT_CODES, NoAnswer, choose, which_stack
from aiotcp.cli.ssfilter import ALL, USUAL, Filter, FilterError, parse
from aiotcp.control.client import Client, ControlError, Running
from aiotcp.serve.standard import Seconds

Row = dict[str, Any]

_LONGEST_S = 86400.0
_HEAD = ("State", "Recv-Q", "Send-Q", "Local Address", "Port", "Peer Address", "Port", "Process")


@click.command(epilog=EXIT_CODES)
@click.option("-t", "--tcp", is_flag=True, help="TCP: there is nothing else.")
@click.option("-n", "--numeric", is_flag=True, help="Ports and rates as numbers.")
@click.option("-a", "--all", "every", is_flag=True, help="All states, LISTEN and TIME-WAIT, too.")
@click.option("-l", "--listening", is_flag=True, help="LISTEN only.")
@click.option("-i", "--info", is_flag=True, help="tcp_info, and what the connection waits for.")
@click.option("-o", "--options", "timers", is_flag=True, help="The timer that runs.")
@click.option("-e", "--extended", is_flag=True, help="That, the user, and how old it is.")
@click.option("-m", "--memory", is_flag=True, help="What is in the buffers, and their sizes.")
@click.option("-p", "--processes", is_flag=True, help="Whose it is.")
@click.option("-H", "--no-header", is_flag=True, help="Without the line of titles.")
@click.option("-O", "--oneline", is_flag=True, help="A line for each connection.")
@click.option("-4", "--ipv4", is_flag=True, help="IPv4 only.")
@click.option("-6", "--ipv6", is_flag=True, help="IPv6 only.")
@click.option("-s", "--summary", is_flag=True, help="How many there are.")
@click.option("--json", "json", is_flag=True, help="For programs: all there is, and in base units.")
@click.option(
    "-w",
    "--watch",
    type=Seconds(min=0.05, max=_LONGEST_S),
    metavar="SECONDS",
    help="Again and again, until Ctrl-C; with --json, a line each time.",
)
@which_stack
@click.argument("filter", nargs=-1, type=click.UNPROCESSED, metavar="[FILTER]")
def command(
    filter: tuple[str, ...],
    pid: int | None,
    sockets: tuple[Path, ...],
    watch: float | None,
    json: bool,
    every: bool,
    listening: bool,
    **shown: Any,
) -> None:
    """Show the connections of a running stack, as ss(8) does those of the kernel.

    FILTER is that of ss: `state STATE`, `exclude STATE`, and conditions on addresses and ports,
    as in

      aiotcp ss -tin state established '( sport = :80 or sport = :443 )' dst 192.0.2.0/24

    With -i, one word more than ss has: waits, what happens next if nobody does anything, and
    until, the seconds to then.
    """
    try:
        wanted = parse(filter)
    except FilterError as exc:
        raise click.UsageError(str(exc)) from None
    states = wanted.states or (ALL if every else frozenset({"LISTEN"}) if listening else USUAL)
    which = Filter(states, _with_family(wanted, shown["ipv4"], shown["ipv6"]).test)
    if shown["summary"]:
        which = Filter(ALL, which.test)
    stack = choose(pid, sockets)
    with _Sources(stack) as sources:
        try:
            while True:
                rows = sources.rows(which, info=json or shown["info"] or shown["memory"])
                if json:
                    at = time.time()
                    output.as_json(
                        rows if watch is None else {"at": at, "rows": rows}, lines=watch is not None
                    )
                elif shown["summary"]:
                    _summary(rows)
                else:
                    _show(rows, shown, again=watch is not None)
                if watch is None:
                    return
                time.sleep(watch)
        except KeyboardInterrupt:
            if watch is None:
                raise
        except ControlError as exc:
            raise NoAnswer(str(exc)) from None


def _with_family(wanted: Filter, ipv4: bool, ipv6: bool) -> Filter:
    if ipv4 == ipv6:
        return wanted
    return Filter(
        wanted.states,
        lambda row: (":" in row["local"]["address"]) == ipv6 and wanted.test(row),
    )


class _Sources:
    """Connections to the processes of a stack, kept open while they are needed."""

    def __init__(self, stack: Running) -> None:
        self._clients: list[tuple[Client, dict[str, Any]]] = []
        try:
            for path, info in stack.members:
                self._clients.append((Client(path), info))
        except ControlError as exc:
            self.__exit__()
            raise NoAnswer(str(exc)) from None

    def __enter__(self) -> _Sources:
        return self

    def __exit__(self, *exc: object) -> None:
        for client, _ in self._clients:
            client.close()

    def rows(self, which: Filter, *, info: bool) -> list[Row]:
        """Raises ControlError."""
        assert which.states is not None
        found: list[Row] = []
        for client, about in self._clients:
            process: Row = {"pid": about["pid"], "uid": about["uid"], "name": about["name"]}
            shown = client.items("ss", states=sorted(which.states), info=info)
            for row in shown:
                if which.test(row):
                    found.append({**row, "process": process})
        # A listener is every worker's.
        return sorted(found, key=lambda row: row["state"] != "LISTEN")


def _summary(rows: list[Row]) -> None:
    counts = {state: sum(row["state"] == state for row in rows) for state in ALL}
    orphans = sum(bool(row.get("orphan")) for row in rows)
    out = output.console()
    output.line(out, (f"Total: {len(rows)}", ""))
    output.line(
        out,
        (
            f"TCP:   {len(rows)} (estab {counts['ESTAB']}, synrecv {counts['SYN-RECV']}, "
            f"orphaned {orphans}, timewait {counts['TIME-WAIT']}, listening {counts['LISTEN']})",
            "",
        ),
    )


def _show(rows: list[Row], shown: dict[str, Any], *, again: bool) -> None:
    out = output.console()
    if again and out.is_terminal:
        out.clear()
    numeric = shown["numeric"]
    cells = [
        (
            row["state"],
            str(row["recv_q"]),
            str(row["send_q"]),
            _address(row["local"]["address"]),
            _port(row["local"]["port"], numeric),
            _address(row["peer"]["address"]),
            _port(row["peer"]["port"], numeric),
            sstext.process(row) if shown["processes"] else "",
        )
        for row in rows
    ]
    titles = [] if shown["no_header"] else [_HEAD]
    widths = [max((len(each[n]) for each in (*titles, *cells)), default=0) for n in range(8)]
    columns = None if shown["oneline"] else output.columns()
    for title in titles:
        for text in _aligned(title, widths, columns):
            output.line(out, (text, "bold"))
    for row, cell in zip(rows, cells, strict=True):
        more = _more(row, shown)
        state = output.STATES.get(row["state"], output.ENDING)
        first, *others = _aligned(cell, widths, columns)
        beside = " ".join(part for part in more[:1] if part)
        parts = [(first[: widths[0]], state), (first[widths[0] :], "")]
        for text in others:
            output.line(out, *parts)
            parts = [(text, "")]
        parts += [("  ", ""), (beside, "dim")]
        below = [part for part in more[1:] if part]
        if shown["oneline"]:
            parts += [(" " + part, "") for part in below]
        if shown["oneline"]:
            output.line(out, *parts)
            continue
        output.line(out, *parts, hang=widths[0] + 2)
        if below:
            output.line(out, ("         " + " ".join(below), ""), hang=9)
    if again and not out.is_terminal:
        output.line(out)


def _more(row: Row, shown: dict[str, Any]) -> list[str]:
    """What stands beside a connection, and then what below."""
    beside = []
    if (shown["timers"] or shown["extended"]) and row["timer"]:
        beside.append(sstext.timer(row["timer"]))
    if shown["extended"]:
        beside.append(sstext.extended(row))
    below = []
    if shown["memory"]:
        below.append(sstext.memory(row))
    if shown["info"]:
        numeric = shown["numeric"]
        below.append(sstext.info(row, numeric=numeric, options=shown["timers"]))
    return [" ".join(beside), *below]


def _aligned(cells: tuple[str, ...], widths: list[int], columns: int | None) -> list[str]:
    """As ss: addresses to the right, up to their colon, and ports to the left behind it. In lines
    of so many columns."""
    state, recv, send, local, local_port, peer, peer_port, process = (
        f"{cell:>{width}}" if n in (3, 5) else f"{cell:<{width}}"
        for n, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    lines = [state]
    for part in (recv, send, f"{local}:{local_port}", f"{peer}:{peer_port}", process):
        if columns is not None and len(f"{lines[-1]}  {part}") > columns:
            lines.append(" " * widths[0])
            part = f"{part.lstrip():<{len(part)}}"
        lines[-1] += f"  {part}"
    return [line.rstrip() for line in lines if not line.isspace()]


def _address(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@functools.cache
def _service(port: int) -> str:
    try:
        return socket.getservbyport(port, "tcp")
    except OSError:
        return str(port)


def _port(port: int, numeric: bool) -> str:
    if not port:
        return "*"
    return str(port) if numeric else _service(port)
