"""The test bench itself: what must fail a test does fail it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aiotcp.sim import VirtualLoop

pytest_plugins = ["pytester"]


@pytest.fixture
def bench(pytester: pytest.Pytester) -> pytest.Pytester:
    root = Path(__file__).parents[2]
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        f"pythonpath = {root}"
    )
    pytester.makeconftest(root.joinpath("tests", "conftest.py").read_text())
    return pytester


async def test_a_coroutine_test_runs_in_virtual_time() -> None:
    assert isinstance(asyncio.get_running_loop(), VirtualLoop)


def test_real_loops_where_asked_for(bench: pytest.Pytester) -> None:
    bench.mkdir("tests").joinpath("live").mkdir()
    bench.path.joinpath("tests/live/test_live.py").write_text("async def test_live(): pass")
    bench.makepyfile(
        """
        import asyncio, pytest

        @pytest.mark.real_loop
        async def test_marked(): pass

        @pytest.mark.asyncio(loop_factories=["uvloop"])
        async def test_chosen():
            assert "uvloop" in type(asyncio.get_running_loop()).__module__

        def test_plain(loop_factory):
            loop_factory().close()
        """
    )
    result = bench.runpytest_inprocess("-v")
    result.assert_outcomes(passed=7)
    result.stdout.fnmatch_lines_random(
        [
            "*test_live[[]asyncio] PASSED*",
            "*test_live[[]uvloop] PASSED*",
            "*test_marked[[]asyncio] PASSED*",
            "*test_marked[[]uvloop] PASSED*",
        ]
    )


def test_a_call_of_the_exception_handler_fails_the_test(bench: pytest.Pytester) -> None:
    bench.makepyfile(
        """
        import asyncio, pytest

        async def test_during():
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)
            await asyncio.sleep(0)

        @pytest.mark.real_loop
        async def test_during_on_a_real_loop():
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)
            await asyncio.sleep(0)

        @pytest.fixture
        async def fails_late():
            yield
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)
            await asyncio.sleep(0)

        async def test_at_teardown(fails_late): pass

        async def test_expected():
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)
            await asyncio.sleep(0)
        """
    )
    result = bench.runpytest_inprocess()
    result.assert_outcomes(failed=3, passed=2, errors=1)
    result.stdout.fnmatch_lines(["*exception handler was called*", "*ZeroDivisionError*"])


def test_a_task_left_behind_fails_the_test(bench: pytest.Pytester) -> None:
    bench.makepyfile(
        """
        import asyncio, pytest

        async def forever():
            await asyncio.sleep(1e9)

        async def test_leaves_one():
            global kept
            kept = asyncio.create_task(forever())

        @pytest.fixture
        async def cleans_up():
            task = asyncio.create_task(forever())
            yield
            task.cancel()
            await asyncio.wait([task])

        async def test_whose_fixture_cleans_up(cleans_up): pass
        """
    )
    result = bench.runpytest_inprocess()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*tasks left pending*forever*"])


def test_a_test_that_hangs_fails(bench: pytest.Pytester) -> None:
    bench.makepyfile(
        """
        import asyncio, conftest, pytest

        conftest.TEST_TIMEOUT_S = 0.5

        @pytest.mark.real_loop
        async def test_hangs():
            await asyncio.get_running_loop().create_future()

        async def test_goes_round():
            while True:
                await asyncio.sleep(1)

        def test_waits():
            import threading
            threading.Event().wait()
        """
    )
    result = bench.runpytest_subprocess()
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(["*the test took more than 0.5 s*"])
