"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

PYTEST_ASYNCIO = ("pytest_asyncio.plugin",)
FUNCTION_SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function")
PROGRAM = """
import asyncio

async def serve():
    async def answer(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
    server = await asyncio.start_server(answer, port=80)
    await server.serve_forever()

async def ask(host):
    reader, writer = await asyncio.open_connection(host, 80)
    writer.write(b"hello\\n")
    try:
        return await reader.read()
    finally:  # it is cancelled where a test fails
        writer.close()

"""
WORKS = """
async def test_it(net):
    net.netem("delay 10ms 5ms loss 5%")
    net.host("server").run(serve())
    assert await net.host("client").run(ask("server")) == b"hello\\n"
"""
FAILS_AT_3 = """
async def test_it(net):
    net.host("server").run(serve())
    assert await net.host("client").run(ask("server")) == b"hello\\n"
    assert net.seed != 3
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(source: str, *args: str, plugins: tuple[str, ...] = ()) -> pytest.RunResult:
        pytester.makepyfile(PROGRAM + source)
        chosen = [part for name in ("aiotcp.testing.plugin", *plugins) for part in ("-p", name)]
        return pytester.runpytest_inprocess(*chosen, *args)

    return run


@pytest.mark.parametrize("mode", ["none", "strict", "auto", "anyio"])
def test_coroutines_run_in_virtual_time_whoever_else_would_run_them(run: object, mode: str) -> None:
    assert callable(run)
    if mode == "anyio":
        result = run(WORKS, plugins=("anyio.pytest_plugin",))
    elif mode == "none":
        result = run(WORKS)
    else:
        result = run(WORKS, f"--asyncio-mode={mode}", *FUNCTION_SCOPE, plugins=PYTEST_ASYNCIO)
    result.assert_outcomes(passed=1)


def test_methods_and_other_fixtures(run: object) -> None:
    assert callable(run)
    source = """
import pytest

class TestIt:
    @pytest.mark.parametrize("size", [1, 2])
    async def test_it(self, tmp_path, net, size):
        assert tmp_path.is_dir()
        assert net.host("a").address == "10.0.0.1"
        await net.sleep(3600)
        assert net.now == 3600

def test_of_another_kind(net):
    assert net.seed == 0
"""
    run(source).assert_outcomes(passed=3)


IN_A_FIXTURE = """
import pytest

@pytest.fixture
def server(net):
    net.netem("delay 10ms")
    host = net.host("server")
    host.start(serve)
    return host
"""


@pytest.mark.parametrize("mode", ["none", "auto"])
def test_a_fixture_prepares_hosts_and_programs(run: object, mode: str) -> None:
    """They begin with the test, which need not take `net` itself."""
    assert callable(run)
    source = """
async def test_it(net, server):
    asking = net.host("client").run(ask("server"))
    server.reboot()
    await asking

class TestIt:
    async def test_it(self, server):
        assert await server.run(ask("server")) == b"hello\\n"

def test_of_another_kind(server):
    assert server.up
"""
    asyncio = (f"--asyncio-mode={mode}", *FUNCTION_SCOPE)
    plugins: dict[str, object] = {"plugins": PYTEST_ASYNCIO} if mode == "auto" else {}
    result = run(IN_A_FIXTURE + source, "-Werror", *(asyncio if plugins else ()), **plugins)
    result.assert_outcomes(passed=3)


@pytest.mark.parametrize("what", ["net.host('a')", "server.run(serve())", "await net.sleep(1)"])
def test_a_fixture_that_is_a_coroutine_is_told(run: object, what: str) -> None:
    assert callable(run)
    source = f"""
@pytest.fixture
async def more(net, server):
    {what}

async def test_it(more):
    pass
"""
    chosen = ("--asyncio-mode=auto", *FUNCTION_SCOPE, "-Werror")
    result = run(IN_A_FIXTURE + source, *chosen, plugins=PYTEST_ASYNCIO)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*A fixture that uses `net` is a plain function;*"])


def test_each_seed_is_a_test_and_a_failure_tells_how_to_repeat_it(run: object) -> None:
    assert callable(run)
    result = run(FAILS_AT_3, "--aiotcp-seeds=5")
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*test_it[[]seed=3]*",
            "seed    3",
            "replay  pytest *.py::test_it --aiotcp-replay=3",
            "*server * client*",
            "*SYN seq=0*open",
        ]
    )
    assert "seed    2" not in result.stdout.str()


def test_replay_runs_the_one(run: object) -> None:
    assert callable(run)
    run(FAILS_AT_3, "--aiotcp-replay=3").assert_outcomes(failed=1)
    run(FAILS_AT_3, "--aiotcp-replay=4").assert_outcomes(passed=1)


def test_the_replay_of_a_test_with_parameters(run: object) -> None:
    assert callable(run)
    source = FAILS_AT_3.replace("async", "import pytest\n@pytest.mark.parametrize('n', [1])\nasync")
    result = run(source.replace("(net)", "(net, n)"), "--aiotcp-seeds=4")
    result.assert_outcomes(passed=3, failed=1)
    (line,) = (line for line in result.stdout.lines if line.startswith("replay "))
    _, _, nodeid, option = line.split()
    assert nodeid.endswith("::test_it[1]'")
    test = nodeid.strip("'").partition("::")[2]
    again = run(source.replace("(net)", "(net, n)"), "-k", test, option)
    again.assert_outcomes(failed=1)


def test_a_fault_that_never_applied_fails_the_test(run: object) -> None:
    assert callable(run)
    source = WORKS.replace("    net.netem", '    net.fault("drop every RST")\n    net.netem', 1)
    result = run(source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*declared, but never applied: 'drop every RST'"])


def test_a_fixture_of_that_name_of_somebody_elses(run: object) -> None:
    assert callable(run)
    source = """
import pytest

@pytest.fixture
def net():
    return "fish"

async def test_it(net):
    assert net == "fish"
"""
    result = run(source, "--asyncio-mode=auto", *FUNCTION_SCOPE, plugins=PYTEST_ASYNCIO)
    result.assert_outcomes(passed=1)


def test_no_seeds_are_refused(run: object) -> None:
    assert callable(run)
    result = run(WORKS, "--aiotcp-seeds=0")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_a_report_of_a_failure(run: object, pytester: pytest.Pytester) -> None:
    assert callable(run)
    result = run(FAILS_AT_3, "--aiotcp-replay=3", "--aiotcp-report=told")
    result.stdout.fnmatch_lines(["report  told/*test_it_seed=3.html"])
    (report,) = pytester.path.joinpath("told").iterdir()
    assert report.suffix == ".html"
    page = report.read_text()
    assert "::test_it --aiotcp-replay=3" in page
    assert "open_reply" in page


def test_a_report_that_cannot_be_written_fails_nothing_else(run: object) -> None:
    assert callable(run)
    source = "async def test_first(net):\n    assert 0\nasync def test_second(net):\n    pass\n"
    result = run(source, "--aiotcp-report=/dev/null/told")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["report  not written: /dev/null/told: Not a directory"])


def test_a_deadlock_is_told_without_the_lines_of_others(run: object) -> None:
    assert callable(run)
    source = """
async def silent():
    async def answer(reader, writer):
        await asyncio.Event().wait()
    await (await asyncio.start_server(answer, port=80)).serve_forever()

async def test_it(net):
    net.host("server").run(silent())
    await net.host("client").run(ask("server"))
"""
    result = run(source)
    result.assert_outcomes(failed=1)
    out = result.stdout.str()
    result.stdout.fnmatch_lines(
        [
            "aiotcp.sim.loop.Deadlock: deadlock at *",
            "  the test at *test_a_deadlock*.py:*",
            "  client: ask at *test_a_deadlock*.py:*, in *streams.py:*",
            "client:* to server:80: *, waits for *",
            "* aiotcp *",
        ]
    )
    assert "runner.run" not in out
