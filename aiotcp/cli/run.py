"""`aiotcp run`: a scenario is played, shown, and held against what it says must happen."""

from __future__ import annotations

import sys
import time

import click

from aiotcp.cli import output, privately
from aiotcp.cli.ladder import show
from aiotcp.cli.wrapping import wrapped
from aiotcp.scenario.model import LANGUAGES, BadScenario, Scenario, find, shipped
from aiotcp.scenario.player import judge, play
from aiotcp.trace import ladder
from aiotcp.trace.events import Trace

_DIFFERENT = 1
WORDS = {
    "en": {
        "seen": "This is what must be seen.",
        "not seen": "This is not what must be seen:",
        "same": "With Linux as the {host} it is the same.",
        "differs": "With Linux as the {host} (+) instead of us (-):",
        "passed": "{passed} of {count} happened as they must",
    },
    "zh": {
        "seen": "这正是必须看到的内容。",
        "not seen": "这与必须看到的内容不同：",
        "same": "由 Linux 扮演 {host} 时，结果相同。",
        "differs": "由 Linux（+）代替本项目（-）扮演 {host} 时：",
        "passed": "{count} 个场景中有 {passed} 个符合预期",
    },
}
"""What is said about a scenario."""

_PARTS = {"+": "green", "-": "red"}


@click.command(
    epilog="Exit codes: 0 everything happened as it must; 1 something did not; 2 options, or a "
    "scenario that can't be read."
)
@click.argument("names", nargs=-1, metavar="[NAME|FILE]...")
@click.option(
    "--all", "everything", is_flag=True, help="All that come with aiotcp, a line for each."
)
@click.option("--list", "listing", is_flag=True, help="Which there are.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything that is drawn.")
@click.option(
    "--on",
    "place",
    type=click.Choice(["sim", "tun"]),
    default="sim",
    show_default=True,
    help="sim: among stacks of ours, in virtual time. tun: one host is this machine's kernel, in a "
    "network namespace of its own, in real time; of those that say what must be seen then.",
)
@click.option(
    "--diff",
    "against",
    type=click.Choice(["linux"]),
    help="Play it with the kernel in one host's place as well, and list what is different.",
)
@click.option(
    "--lang",
    "language",
    type=click.Choice(LANGUAGES),
    default="en",
    show_default=True,
    help="Language of the question, its answer, and what is said about both.",
)
@click.option(
    "--width",
    type=click.IntRange(ladder.MIN_WIDTH, ladder.MAX_WIDTH),
    metavar="COLUMNS",
    help="[default: the terminal's, or 100]",
)
@click.option("--json", "json", is_flag=True, help="For programs: traces, and what was different.")
def command(
    names: tuple[str, ...],
    everything: bool,
    listing: bool,
    seed: int,
    place: str,
    against: str | None,
    language: str,
    width: int | None,
    json: bool,
) -> None:
    """Play scenarios in virtual time: situations of TCP, each with the question that it answers, a
    script, and what must be seen. NAME is one of --list, FILE one of your own (TOML).

    Shows a ladder: segments with relative numbers, lost ones crossed out, the states of both sides,
    why each segment was sent, and what programs were told.
    """
    if listing:
        _list(language, json)
        return
    if everything and names:
        raise click.UsageError(f"--all plays {names[0]}, too: say either --all or names")
    if not everything and not names:
        raise click.UsageError("say which: NAME, FILE or --all; --list shows the names")
    scenarios = [_found(name) for name in (shipped() if everything else names)]
    kernel = place == "tun" or against is not None
    if kernel:
        if everything:
            scenarios = [each for each in scenarios if each.live is not None]
        for each in scenarios:
            if each.live is None:
                raise click.UsageError(f"{each.id} is not for kernels: it has no [live]")
        if not privately.inside():
            privately.again()
    results = []
    different = 0
    for scenario in scenarios:
        began = time.perf_counter()
        trace, difference = _played(scenario, seed, place)
        took = time.perf_counter() - began
        from_linux = _compared(scenario, seed) if against is not None else ""
        different += bool(difference)
        if json:
            results.append(
                {
                    "id": scenario.id,
                    "seed": seed,
                    "on": place,
                    "different": difference,
                    "linux": from_linux,
                    "trace": trace.to_json() if trace is not None else None,
                }
            )
        elif len(scenarios) > 1 or everything:
            _line(scenario, difference, took, language)
        else:
            _whole(scenario, trace, difference, language, width)
        if against is not None and not json:
            _show_linux(scenario, from_linux, language)
    if json:
        output.as_json(results)
    elif len(scenarios) > 1:
        passed = len(scenarios) - different
        click.echo(WORDS[language]["passed"].format(passed=passed, count=len(scenarios)))
    sys.exit(_DIFFERENT if different else 0)


def _found(name: str) -> Scenario:
    try:
        return find(name)
    except (BadScenario, FileNotFoundError) as exc:
        raise click.UsageError(str(exc)) from None
    except OSError as exc:
        raise click.UsageError(f"{name}: {exc.strerror}") from None


def _played(scenario: Scenario, seed: int, place: str) -> tuple[Trace | None, str]:
    """The trace, and what is different from what must be seen."""
    from aiotcp.scenario import live

    try:
        if place == "tun":
            trace = live.play(scenario, seed=seed)
            return trace, live.judge(scenario, trace)
        trace = play(scenario, seed=seed)
    except (AssertionError, LookupError) as exc:
        return None, str(exc.args[0] if exc.args else exc)
    except OSError as exc:
        raise click.ClickException(f"no TUN device: {exc.strerror or exc}") from None
    return trace, judge(scenario, trace)


def _compared(scenario: Scenario, seed: int) -> str:
    """What is different with the kernel in one host's place."""
    from aiotcp.scenario import live

    try:
        return live.compare(play(scenario, seed=seed), live.play(scenario, seed=seed))
    except (AssertionError, LookupError) as exc:
        return f"+ {exc.args[0] if exc.args else exc}"


def _show_linux(scenario: Scenario, difference: str, language: str) -> None:
    assert scenario.live is not None
    out = output.console()
    words = WORDS[language]
    if not difference:
        output.line(out, (words["same"].format(host=scenario.live.kernel), "green"))
        return
    output.line(out, (words["differs"].format(host=scenario.live.kernel), "bold"))
    _show_difference(difference)
    for reason in scenario.live.differs:
        output.line(out, (reason[language], "dim"))


def _list(language: str, json: bool) -> None:
    scenarios = [find(name) for name in shipped()]
    if json:
        output.as_json(
            [
                {
                    "id": each.id,
                    "group": each.group,
                    "title": dict(each.title),
                    "question": dict(each.question),
                    "rfc": list(each.rfc),
                }
                for each in scenarios
            ]
        )
        return
    out = output.console()
    widest = max(len(each.id) for each in scenarios)
    group = ""
    for each in scenarios:
        if each.group != group:
            group = each.group
            output.line(out, (group, "bold"))
        output.line(
            out,
            (f"  {each.id:<{widest}}  ", "cyan"),
            (each.question[language], ""),
            hang=widest + 4,
        )


def _line(scenario: Scenario, difference: str, took: float, language: str) -> None:
    out = output.console()
    verdict = ("differs  ", "red") if difference else ("ok       ", "green")
    title = scenario.title[language]
    name, seconds = (f"{scenario.id:<28}", "cyan"), (f"{took:6.3f} s  ", "dim")
    output.line(out, verdict, name, seconds, (title, ""), hang=9)
    if difference:
        _show_difference(difference)


def _whole(
    scenario: Scenario, trace: Trace | None, difference: str, language: str, width: int | None
) -> None:
    out = output.console()
    words = WORDS[language]
    output.line(out, (scenario.title[language], "bold"), hang=0)
    output.line(out, (scenario.question[language], "italic"), hang=0)
    click.echo()
    if trace is not None:
        show(trace, width)
        click.echo()
    for line in wrapped(scenario.answer[language], width or output.columns() or ladder.USUAL_WIDTH):
        output.line(out, (line, ""))
    if scenario.rfc:
        output.line(out, (", ".join(scenario.rfc), "dim"), hang=0)
    click.echo()
    if difference:
        output.line(out, (words["not seen"], "red"))
        _show_difference(difference)
    else:
        output.line(out, (words["seen"], "green"))


def _show_difference(difference: str) -> None:
    out = output.console()
    for line in difference.splitlines():
        output.line(out, (line, _PARTS.get(line[:1], "dim")))
