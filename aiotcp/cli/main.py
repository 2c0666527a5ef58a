"""The group of `aiotcp`'s subcommands. A subcommand is imported when it is used, not before: each
needs something else, and `--help` none of it."""

from __future__ import annotations

import errno
import io
import signal
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import click

from aiotcp.serve.standard import open_standard_files
from aiotcp.serve.start import interruptible
from aiotcp.tcp import COMPILED

EXIT_CODES = "Exit codes: 0 done; 1 failed; 2 options that make no sense; 130 Ctrl-C; 141 nobody \
reads the output any more."
_INTERRUPTED, _NO_READER = 128 + signal.SIGINT, 128 + signal.SIGPIPE


_ENDED_BY_CTRL_C = frozenset({"run", "report", "ladder", "doctor", "info", "stat"})
"""They have nothing to put in order. An exception may come anywhere, in the middle of a loop that
closes or where it is lost: so the signal itself ends them, which shells call 130."""


_PUT_IN_ORDER = frozenset({"ss", "capture", "nc"})
"""For these Ctrl-C is an exception once they are imported; `serve` says itself from when on."""


class _Command(NamedTuple):
    module: str
    help: str


_COMMANDS = {
    "serve": _Command("aiotcp.serve.main:cli", "Serve on a TUN device: the same as aiotcp-serve."),
    "run": _Command("aiotcp.cli.run:command", "Play a scenario, and check what happens."),
    "ss": _Command("aiotcp.cli.ss:command", "The connections of a running stack."),
    "stat": _Command("aiotcp.cli.stat:command", "What a running stack has counted, and dropped."),
    "capture": _Command("aiotcp.cli.capture:command", "The packets of a running stack, as pcapng."),
    "info": _Command("aiotcp.cli.info:command", "Which stacks are running."),
    "ladder": _Command("aiotcp.cli.ladder:command", "Draw what a capture shows."),
    "report": _Command("aiotcp.cli.report:command", "Make a page of a capture or a scenario."),
    "nc": _Command("aiotcp.cli.nc:command", "Connect or listen, from a stack of its own."),
    "doctor": _Command("aiotcp.cli.doctor:command", "What this machine lacks, and how to mend it."),
}
"""In the order of --help; those whose module is not there are left out."""


class _Lazily(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return [name for name, command in _COMMANDS.items() if find_spec(_module(command))]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(context):
            return None
        module, _, attribute = _COMMANDS[name].module.partition(":")
        found = getattr(import_module(module), attribute)
        assert isinstance(found, click.Command)
        if name in _PUT_IN_ORDER:
            interruptible()
        return found

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            sys.exit(_INTERRUPTED)
        except BrokenPipeError:
            from aiotcp.cli import output

            output.to_nowhere()
            sys.exit(_NO_READER)

    def format_commands(
        self, context: click.Context, formatter: click.formatting.HelpFormatter
    ) -> None:
        rows = [(name, _COMMANDS[name].help) for name in self.list_commands(context)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _module(command: _Command) -> str:
    return command.module.partition(":")[0]


@click.command(
    cls=_Lazily,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"{EXIT_CODES} A subcommand that has others says so in its own --help.",
)
@click.version_option(
    package_name="aiotcp",
    message="%(prog)s, version %(version)s" + (", compiled" if COMPILED else ""),
)
def cli() -> None:
    """See what TCP does: a stack of our own, and all that it can tell."""


def main() -> None:
    """The console script."""
    open_standard_files()
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN  # by a shell, behind &
    if not ignored and _ENDED_BY_CTRL_C.intersection(sys.argv[1:2]):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # for terminals without the signs of a ladder
    try:
        cli(prog_name="aiotcp")
    except OSError as exc:  # subcommands tell of their own; a closed pipe is click's
        if exc.errno != errno.ENOSPC:
            raise
        sys.stderr.write(f"Error: stdout: {exc.strerror}\n")
        sys.exit(1)
