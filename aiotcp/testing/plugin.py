"""The pytest plugin: the fixture `net`, seeds, replay, and what a failure tells.

A coroutine test that takes `net` runs in virtual time, whatever other plugin would run coroutines
otherwise. With `--aiotcp-seeds=N` it runs N times, once for each seed; `--aiotcp-replay=SEED` runs
that one alone. Of a failure the seed, the command that repeats it and, with `--aiotcp-report=DIR`,
the path of a report are told.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # at run time when a test asks for it: pytest loads plugins for everybody
    from aiotcp.testing.net import Net
    from aiotcp.trace.events import Trace

_NET = pytest.StashKey["Net"]()
_LAST_LINES = 40
"""Of the ladder, in a failure's report."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("aiotcp", "TCP in virtual time")
    group.addoption(
        "--aiotcp-seeds",
        type=_positive,
        default=1,
        metavar="N",
        help="run each test that takes `net` with the seeds 0 to N-1",
    )
    group.addoption(
        "--aiotcp-replay", type=int, metavar="SEED", help="run them with this seed alone"
    )
    group.addoption(
        "--aiotcp-report",
        type=Path,
        metavar="DIR",
        help="write a report of each failure into this folder",
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(f"at least one seed is wanted, not {number}")
    return number


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "aiotcp_seed" not in metafunc.fixturenames:
        return  # it has no `net`, or one of somebody else's
    count = metafunc.config.getoption("--aiotcp-seeds")
    if count > 1 and metafunc.config.getoption("--aiotcp-replay") is None:
        ids = [f"seed={seed}" for seed in range(count)]
        metafunc.parametrize("aiotcp_seed", range(count), ids=ids, indirect=True)


@pytest.fixture
def aiotcp_seed(request: pytest.FixtureRequest) -> int:
    """The seed of `net`; 0 unless the command line says otherwise."""
    replay = request.config.getoption("--aiotcp-replay")
    seed: int = getattr(request, "param", replay if replay is not None else 0)
    return seed


@pytest.fixture
def net(request: pytest.FixtureRequest, aiotcp_seed: int) -> Iterator[Net]:
    """The network of this test (`aiotcp.testing.Net`)."""
    from aiotcp.testing.net import Net

    reported = request.config.getoption("--aiotcp-report") is not None
    made = request.node.stash[_NET] = Net(aiotcp_seed, samples=reported)
    yield made
    made.discard()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Coroutine tests that take `net`, or a fixture that does, are ours, before pytest-asyncio's
    or anyio's."""
    made = pyfuncitem.stash.get(_NET, None)
    if made is None or pyfuncitem.funcargs.get("net", made) is not made:
        return None  # none, or somebody else's fixture of that name
    test = inspect.unwrap(pyfuncitem.obj)
    if not inspect.iscoroutinefunction(test):
        return None
    from aiotcp.testing.net import run

    __tracebackhide__ = True
    args = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    if pyfuncitem.instance is not None and not inspect.ismethod(test):
        test = functools.partial(test, pyfuncitem.instance)
    run(lambda _: test(**args), net=made)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    made = item.stash.get(_NET, None)
    if made is None or report.when != "call" or not report.failed:
        return report
    import traceback

    from aiotcp.sim import Deadlock, TooLong
    from aiotcp.testing.net import FaultNeverApplied
    from aiotcp.trace import ladder

    exc = call.excinfo.value if call.excinfo is not None else None
    if isinstance(exc, Deadlock | TooLong | FaultNeverApplied):  # no line of the test's raised it
        report.longrepr = "".join(traceback.format_exception_only(exc)).rstrip()
    trace = made.trace()
    replay = f"pytest {_quoted(_bare(item))} --aiotcp-replay={made.seed}"
    told = [f"seed    {made.seed}", f"replay  {replay}"]
    folder = item.config.getoption("--aiotcp-report")
    if folder is not None:
        trace.title = item.nodeid
        trace.replay = replay
        told.append(f"report  {_write(folder, item, trace)}")
    lines = ladder.text(trace).splitlines()
    left_out = len(lines) - _LAST_LINES
    if left_out > 0:
        lines = [lines[0], f"           … {left_out} lines before", *lines[-_LAST_LINES:]]
    report.sections.append(("aiotcp", "\n".join([*told, "", *lines])))
    return report


def _bare(item: pytest.Item) -> str:
    """The test's id without the seed in it, which `--aiotcp-replay` gives."""
    head, bracket, parameters = item.nodeid.partition("[")
    if not bracket:
        return head
    rest = [p for p in parameters.removesuffix("]").split("-") if not p.startswith("seed=")]
    return f"{head}[{'-'.join(rest)}]" if rest else head


def _quoted(nodeid: str) -> str:
    return f"'{nodeid}'" if set(nodeid) & set(" []'\"$&;()*?") else nodeid


def _write(folder: Path, item: pytest.Item, trace: Trace) -> str:
    """Where it is, or why it is not: that must not end the whole run."""
    from aiotcp import report

    name = f"{_bare(item)}_seed={trace.seed}"
    name = "".join(sign if sign.isalnum() or sign in "._-=" else "_" for sign in name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return str(report.write(trace, folder / f"{name}.html"))
    except OSError as exc:
        return f"not written: {exc.filename or folder}: {exc.strerror}"
