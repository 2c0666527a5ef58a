"""`aiotcp report`: a page of a capture or of a scenario, for a browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from aiotcp.trace.events import Trace

EXIT_CODES = (
    "Exit codes: 0 done; 1 the file can't be read or written, or is no capture, or there is no such"
    " scenario; 2 options that make no sense."
)


@click.command(epilog=EXIT_CODES)
@click.argument("what", metavar="FILE|SCENARIO")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    metavar="FILE",
    help="The page; - is stdout.",
)
@click.option("--seed", default="0", show_default=True, help="Of a scenario's network.")
@click.option("--flow", type=click.IntRange(min=1), metavar="N", help="This connection only.")
@click.option("--open", "show", is_flag=True, help="Show it in the browser.")
def command(what: str, output: Path, seed: str, flow: int | None, show: bool) -> None:
    """Make one HTML page, which needs nothing else, of a capture (pcapng or pcap, of ours or
    tcpdump's; - is stdin), or of a scenario that is played for it.

    It has the ladder, the time-sequence graph, windows, round trips and states, and of each segment
    the header, and the reason why it was sent."""
    from aiotcp.report import page

    if show and str(output) == "-":
        raise click.UsageError("--open shows a file, not what goes to stdout")
    trace = _trace(what, seed, flow)
    if flow is not None:
        from aiotcp.cli.ladder import among

        trace = trace.of_flow(among(trace, flow))
    text = page(trace)
    if str(output) == "-":
        click.echo(text.encode())  # as it says of itself
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise click.ClickException(f"{output}: {exc.strerror}") from None
    segments = len(trace.segments)
    click.echo(f"{output}: {segments} segment{'' if segments == 1 else 's'}", err=True)
    for note in trace.notes:
        click.echo(note, err=True)
    if show and not webbrowser.open(output.resolve().as_uri()):
        raise click.ClickException(f"no browser was found; open {output} in one")


def _trace(what: str, seed: str, flow: int | None) -> Trace:
    from aiotcp.scenario.model import BadScenario, find

    path = Path(what)
    is_file = path.exists() or "/" in what or path.suffix or what == "-"
    if is_file and path.suffix != ".toml":
        from aiotcp.report.page import MAX_SEGMENTS
        from aiotcp.trace.capturefile import NoCapture, read

        try:
            return read(path, max_events=MAX_SEGMENTS, flow=None if flow is None else flow - 1)
        except NoCapture as exc:
            raise click.ClickException(str(exc)) from None
        except OSError as exc:
            raise click.ClickException(f"{what}: {exc.strerror}") from None
    try:
        scenario = find(what)
    except (BadScenario, FileNotFoundError) as exc:
        raise click.ClickException(str(exc)) from None
    except OSError as exc:
        raise click.ClickException(f"{what}: {exc.strerror}") from None
    from aiotcp.scenario.player import play

    return play(scenario, seed=seed)
